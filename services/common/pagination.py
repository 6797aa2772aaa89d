"""Opaque page tokens that hold only for the list and the filters they were made for."""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping

from services.common.errors import InvalidInput

Scalar = str | int | float | bool | None
Cursor = Mapping[str, Scalar]
Filters = Mapping[str, Scalar | list[Scalar]]

MAXIMUM_TOKEN_LENGTH = 1024


class InvalidPageToken(InvalidInput):
    """The token is damaged, or of another list."""

    reason = "INVALID_PAGE_TOKEN"
    message = "The page token does not belong to this list with these filters."

    def __init__(self) -> None:
        super().__init__(violations=[("page_token", self.message)])


def encode(cursor: Cursor, filters: Filters) -> str:
    """A token for the page that follows `cursor`: the values of the sort columns of the last row shown."""
    payload = json.dumps([_digest(filters), dict(cursor)], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(payload).rstrip(b"=").decode()


def decode(token: str, filters: Filters) -> dict[str, Scalar]:
    """The cursor in a token. Raises InvalidPageToken; decide before on an empty token, which means the first page."""
    if not token or len(token) > MAXIMUM_TOKEN_LENGTH:
        raise InvalidPageToken
    try:
        payload = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        digest, cursor = json.loads(payload)
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise InvalidPageToken from None
    if digest != _digest(filters) or not isinstance(cursor, dict):
        raise InvalidPageToken
    if not all(isinstance(value, Scalar) for value in cursor.values()):
        raise InvalidPageToken
    return cursor


def _digest(filters: Filters) -> str:
    return hashlib.sha256(json.dumps(filters, sort_keys=True, default=str).encode()).hexdigest()[:16]
