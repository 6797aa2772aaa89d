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


class TooManyTokens(Exhausted):
    """Calls of a key, a person or an organization use, or may yet use, more tokens of models than they may."""

    reason = "RATE_LIMITED"
    message = "This API key, person or organization uses too many tokens a minute; slow down."


class TooManyTokensAtOnce(TooManyTokens):
    """One call may use more tokens than a limit ever has room for: waiting does not help, asking for fewer does."""

    def __init__(self, *, wanted: int, most: int) -> None:
        super().__init__(f"This call may use {wanted} tokens, and the limit is {most} a minute; ask for fewer.")


class TooManyWrongKeys(Exhausted):
    """One address tried too many keys that were none."""

    reason = "RATE_LIMITED"
    message = "Too many wrong API keys; wait before you try again."
