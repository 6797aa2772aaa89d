"""What signing in by another provider refuses, and why."""

from services.common.errors import (
    InvalidInput,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    Unauthenticated,
    Unavailable,
)


class IdentityProviderNotFound(NotFound):
    """The organization has no provider."""

    reason = "IDENTITY_PROVIDER_NOT_FOUND"
    resource_type = "identity_provider"
    message = "This organization has no sign-in by another provider."


class IdentityProviderInvalid(InvalidInput):
    """What stands at the issuer's address is no provider that can be used."""

    reason = "IDENTITY_PROVIDER_INVALID"
    message = "This is no OpenID provider that can be used here."


class IdentityProviderUnavailable(Unavailable):
    """The provider does not answer, or not as one."""

    reason = "IDENTITY_PROVIDER_UNAVAILABLE"
    message = "The other sign-in does not answer; try again in a moment."


class ProviderSignInInvalid(Unauthenticated):
    """The attempt is unknown, too old or another browser's, or the answer does not hold."""

    reason = "PROVIDER_SIGN_IN_INVALID"
    message = "This sign-in took too long or was not begun here; begin again."


class ProviderSignInRefused(Unauthenticated):
    """The provider, or the person there, said no."""

    reason = "PROVIDER_SIGN_IN_REFUSED"
    message = "The other sign-in was refused or given up there."


class IdentityNotAllowed(PermissionDenied):
    """The provider vouches for the person, and the organization does not let them in."""

    reason = "IDENTITY_NOT_ALLOWED"
    message = "This organization does not let you in by this sign-in."


class IdentityNotLinked(PreconditionFailed):
    """An account has the address, and nobody has linked it."""

    reason = "IDENTITY_NOT_LINKED"
    message = "There is an account with this address: sign in to it, then link it."
