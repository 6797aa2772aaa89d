"""What dealing with service accounts and API keys is refused for."""

from services.common.errors import AlreadyExists, NotFound, PreconditionFailed, Unauthenticated


class ServiceAccountNotFound(NotFound):
    """The organization has no such service account."""

    reason = "SERVICE_ACCOUNT_NOT_FOUND"
    resource_type = "service account"
    message = "There is no such service account in this organization."


class ServiceAccountNameTaken(AlreadyExists):
    """Another service account has the name."""

    reason = "SERVICE_ACCOUNT_NAME_TAKEN"
    message = "Another service account has this name already."


class ApiKeyNotFound(NotFound):
    """The organization has no such key, or the caller may not know of it."""

    reason = "API_KEY_NOT_FOUND"
    resource_type = "API key"
    message = "There is no such API key."


class ApiKeyInvalid(Unauthenticated):
    """The key opens nothing; why is for the audit log only."""

    reason = "API_KEY_INVALID"
    message = "The API key is not valid here."


class ApiKeyEnded(PreconditionFailed):
    """A key that is revoked or expired has no successor."""

    reason = "API_KEY_INVALID"
    message = "The API key has ended; make a new one."
