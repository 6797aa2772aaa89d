"""What makes a password good enough, after NIST SP 800-63B-4, section 3.1.1.2.

Length is what counts: 15 characters where the password is the only proof, 8 beside a second factor. No rules of what
kinds of characters it holds. What attackers try first is refused: leaked and common passwords, words, keyboard walks,
repetitions and dates, and what is made of the person's own name and address. How long an attacker would take is
estimated offline by zxcvbn.
"""

import unicodedata

from zxcvbn import zxcvbn

from services.auth.domain import normalize_email
from services.auth.errors import PasswordWeak
from services.auth.guessable import GUESSABLE_PASSWORDS

MINIMUM_ALONE = 15
MINIMUM_WITH_FACTOR = 8
# Guesses an attacker who knows the patterns needs; below it the password falls within an hour of offline work.
GUESSES_ALONE = 1e9
# A second factor ends guessing online, where alone such a password meets an attacker.
GUESSES_WITH_FACTOR = 1e6
# The estimate takes time that grows with the square of the length; what is longer is judged by its beginning.
JUDGED_LENGTH = 48
# Words of the platform and of what every account has to do with.
_CONTEXT = ("deskmesh", "desk", "mesh", "support", "helpdesk", "password")


def stands_alone(password: str) -> bool:
    """Whether the password is long enough without a second factor."""
    return len(_normal(password)) >= MINIMUM_ALONE


def check_password(password: str, email: str, name: str = "", *, alone: bool = True, field: str = "password") -> None:
    """Raises PasswordWeak, which says what is wrong."""
    normal = _normal(password)
    minimum, needed = (MINIMUM_ALONE, GUESSES_ALONE) if alone else (MINIMUM_WITH_FACTOR, GUESSES_WITH_FACTOR)
    if len(normal) < minimum:
        raise PasswordWeak(violations=[(field, f"must have at least {minimum} characters")])
    folded = normal.casefold()
    address = normalize_email(email)
    own = [part for part in (address, *address.replace("@", ".").split("."), *name.casefold().split()) if len(part) > 2]
    if folded in GUESSABLE_PASSWORDS or len(set(folded)) <= 2 or guesses(folded, own) < needed:
        raise PasswordWeak(violations=[(field, "is too easy to guess")])


def guesses(password: str, own: list[str]) -> float:
    """How many guesses an attacker needs who tries the likeliest first; `own` are words that belong to the person."""
    return float(zxcvbn(password[:JUDGED_LENGTH], user_inputs=[*own, *_CONTEXT])["guesses"])


def _normal(password: str) -> str:
    return unicodedata.normalize("NFKC", password)
