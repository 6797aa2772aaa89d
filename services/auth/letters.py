"""The words of the letters that auth sends."""

from services.auth.accounts import Letter
from services.common.mail import Mail

_FOOTER = "This is an automatic message; nobody reads answers to it.\n"

_NOTICE = "If this was not you, choose a new password at once: {reset}\n\nThat signs you out everywhere.\n"

_WORDS: dict[Letter, tuple[str, str]] = {
    Letter.VERIFY_EMAIL: (
        "Verify your e-mail address",
        "Follow this link to verify your e-mail address; it holds for 24 hours:\n\n{link}\n\n"
        "If you made no account, do nothing.\n",
    ),
    Letter.RESET_PASSWORD: (
        "Choose a new password",
        "Follow this link to choose a new password; it holds for 30 minutes and works once:\n\n{link}\n\n"
        "If you did not ask for it, do nothing: your password stays as it is.\n",
    ),
    Letter.PASSWORD_CHANGED: ("Your password was changed", "Your password was changed.\n\n" + _NOTICE),
    Letter.FACTOR_ADDED: ("A second factor was added", "A new way to sign in was added to your account.\n\n" + _NOTICE),
    Letter.FACTOR_REMOVED: (
        "A second factor was removed",
        "A way to sign in was removed from your account.\n\n" + _NOTICE,
    ),
    Letter.CODES_GUESSED: (
        "Somebody may know your password",
        "Somebody signed in with your password and then gave several wrong codes.\n\n" + _NOTICE,
    ),
}

_INVITATION = (
    "You are invited to {organization}",
    "Hello,\n\n{organization} asks you to join as a member. Follow this link to accept; it holds for seven days and "
    "works once:\n\n{link}\n\nIf you do not know them, do nothing.\n\n" + _FOOTER,
)

_PAGES = {Letter.VERIFY_EMAIL: "verify-email", Letter.RESET_PASSWORD: "reset-password"}


def write(letter: Letter, to: str, name: str, public_url: str, token: str) -> Mail:
    """A letter in plain text. The token stands behind `#`, which browsers send to no server."""
    subject, text = _WORDS[letter]
    link = f"{public_url}/{_PAGES[letter]}#{token}" if letter in _PAGES else ""
    body = text.format(link=link, reset=f"{public_url}/forgot-password")
    return Mail(to, subject, f"Hello {name},\n\n{body}\n{_FOOTER}")


def write_invitation(to: str, organization: str, public_url: str, token: str) -> Mail:
    """The letter to somebody who may have no account yet. The name was chosen by others: it becomes one line."""
    subject, text = _INVITATION
    name = " ".join(organization.split())
    link = f"{public_url}/accept-invitation#{token}"
    return Mail(to, subject.format(organization=name), text.format(organization=name, link=link))
