"""What second factors refuse, and why."""

from services.common.errors import NotFound, PreconditionFailed, Unauthenticated


class ChallengeInvalid(Unauthenticated):
    """The challenge is unknown, answered, tried too often or too old."""

    reason = "MFA_CHALLENGE_INVALID"
    message = "This sign-in took too long or too many tries; begin again."


class CodeInvalid(Unauthenticated):
    """The code is wrong, used or too old."""

    reason = "MFA_CODE_INVALID"
    message = "This code is wrong or was used already."


class TotpEnabled(PreconditionFailed):
    """An authenticator app is set up already."""

    reason = "TOTP_ENABLED"
    message = "An authenticator app is set up already; remove it first."


class TotpNotEnabled(PreconditionFailed):
    """No authenticator app is set up, or setting it up took too long."""

    reason = "TOTP_NOT_ENABLED"
    message = "No authenticator app is set up."


class EmailNotVerified(PreconditionFailed):
    """The e-mail address is not verified yet."""

    reason = "EMAIL_NOT_VERIFIED"
    message = "Verify your e-mail address first: follow the link that was sent to it."


class PasswordNeedsFactor(PreconditionFailed):
    """The password is too short to stand without a second factor."""

    reason = "PASSWORD_NEEDS_SECOND_FACTOR"
    message = "Your password is too short to be the only proof; choose one of 15 characters or more first."


class PasskeyInvalid(Unauthenticated):
    """The passkey is unknown, or its device's answer does not hold."""

    reason = "PASSKEY_INVALID"
    message = "This passkey was not accepted."


class PasskeyNotFound(NotFound):
    """The person has no such passkey."""

    reason = "PASSKEY_NOT_FOUND"
    resource_type = "passkey"
    message = "You have no such passkey."
