"""What the pages where people let programs in refuse, and why."""

from services.common.errors import InvalidInput, PermissionDenied, PreconditionFailed


class ConsentRequestInvalid(InvalidInput):
    """A program asks for access in a way that is not offered."""

    reason = "CONSENT_REQUEST_INVALID"
    message = "The program that sent you here asks for access in a way that is not offered."


class UserCodeInvalid(PreconditionFailed):
    """The code that a device shows is unknown, answered or too old."""

    reason = "USER_CODE_INVALID"
    message = "This code is wrong, used or too old; have your device show a new one."


class NotTheirs(PermissionDenied):
    """A program that was let in cannot let in others."""

    reason = "PERMISSION_MISSING"
    message = "Sign in to Deskmesh itself to let a program in."
