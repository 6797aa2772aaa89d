"""What the gateway refuses, and why."""

from services.common.errors import Exhausted, Unauthenticated


class ApiKeyInvalid(Unauthenticated):
    """The key is malformed, or auth does not take it."""

    reason = "API_KEY_INVALID"
    message = "The API key is not valid here."


class TwoProofs(Unauthenticated):
    """A request says twice, and differently, who sends it."""

    reason = "TOKEN_INVALID"
    message = "Send either an access token or an API key, not both."


class TooManyCalls(Exhausted):
    """A key, or all keys of its organization together, called more often than they may."""

    reason = "RATE_LIMITED"
    message = "This API key, or its organization, calls too often; slow down."


class TooManyWrongKeys(Exhausted):
    """One address tried too many keys that were none."""

    reason = "RATE_LIMITED"
    message = "Too many wrong API keys; wait before you try again."
