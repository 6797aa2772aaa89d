"""What auth refuses, and why."""

from services.common.errors import (
    AlreadyExists,
    Exhausted,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    Unauthenticated,
)


class CredentialsInvalid(Unauthenticated):
    """E-mail or password is wrong; which one is never said."""

    reason = "CREDENTIALS_INVALID"
    message = "E-mail address or password is wrong."


class RefreshTokenInvalid(Unauthenticated):
    """The refresh token buys nothing."""

    reason = "REFRESH_TOKEN_INVALID"
    message = "Your session has ended; sign in again."


class TooManyAttempts(Exhausted):
    """Too many failed sign-ins from one place."""

    reason = "RATE_LIMITED"
    message = "Too many attempts; wait before you try again."


class EmailTaken(AlreadyExists):
    """Somebody has the address already."""

    reason = "EMAIL_TAKEN"
    message = "This e-mail address has an account already."


class SlugTaken(AlreadyExists):
    """Another organization has the slug."""

    reason = "ORGANIZATION_SLUG_TAKEN"
    message = "This short name is taken."


class OrganizationNotFound(NotFound):
    """No organization has the slug."""

    reason = "ORGANIZATION_NOT_FOUND"
    resource_type = "organization"
    message = "There is no such organization."


class UserNotFound(NotFound):
    """The user is no member of the caller's organization."""

    reason = "USER_NOT_FOUND"
    resource_type = "user"
    message = "There is no such person in this organization."


class PasswordWeak(InvalidInput):
    """The password is one that attackers try first."""

    reason = "PASSWORD_WEAK"
    message = "This password is too easy to guess; choose another one."


class MailLinkInvalid(PreconditionFailed):
    """The token of a link is unknown, used or too old."""

    reason = "MAIL_LINK_INVALID"
    message = "This link is used or too old; ask for a new one."


class LastOwner(PreconditionFailed):
    """An organization always keeps an owner."""

    reason = "LAST_OWNER"
    message = "The last owner of an organization cannot leave or lose the role."


class RoleNotFound(NotFound):
    """The organization has no such role of its own."""

    reason = "ROLE_NOT_FOUND"
    resource_type = "role"
    message = "There is no such role in this organization."


class RoleNameTaken(AlreadyExists):
    """Another role, built-in or custom, has the name."""

    reason = "ROLE_NAME_TAKEN"
    message = "Another role has this name already."


class RoleInUse(PreconditionFailed):
    """Somebody still holds the role, or is invited to, or a group gives it."""

    reason = "ROLE_IN_USE"
    message = "Take the role from everybody who holds it or is invited to it, and from groups, then delete it."


class QuotaReached(Exhausted):
    """The organization has as many records of a kind as it may have; waiting does not help."""

    reason = "QUOTA_REACHED"
    message = "The organization has as many of these as it may have; delete some first."


class PermissionNotHeld(PermissionDenied):
    """Somebody tried to give away what they do not have."""

    reason = "PERMISSION_NOT_HELD"
    message = "You can only give others permissions that you hold yourself."


class OnlyOwners(PermissionDenied):
    """Owners are made and unmade by owners."""

    reason = "PERMISSION_MISSING"
    message = "Only an owner can change who is an owner."
