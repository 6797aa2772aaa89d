"""What an API key looks like: `dm_live_`, 43 characters of secret and 6 of checksum.

The checksum lets anybody tell a key from a typing error or a made-up one without asking, and lets scanners find leaked
keys without false alarms. It proves nothing.
"""

import hashlib
import re
import secrets
import zlib

PREFIX = "dm_live_"
SECRET_LENGTH = 43
CHECKSUM_LENGTH = 6
SHOWN_LENGTH = len(PREFIX) + 6

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHAPE = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{SECRET_LENGTH + CHECKSUM_LENGTH}}}")


def new_key() -> str:
    """A new key with 256 random bits."""
    body = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(SECRET_LENGTH))
    return body + _checksum(body)


def is_well_formed(text: str) -> bool:
    """True for what `new_key` may have made."""
    body, checksum = text[:-CHECKSUM_LENGTH], text[-CHECKSUM_LENGTH:]
    return _SHAPE.fullmatch(text) is not None and _checksum(body) == checksum


def hash_key(text: str) -> bytes:
    """What is stored: SHA-256 is enough for what cannot be guessed."""
    return hashlib.sha256(text.encode()).digest()


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = []
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
