"""Envelope encryption: each secret has a key of its own, which is sealed with one that is not in the database."""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12
KEY_BYTES = 32
TAG_BYTES = 16
_WRAPPED_BYTES = NONCE_BYTES + KEY_BYTES + TAG_BYTES


class AesEnvelope:
    """See `factor_ports.Envelope`. AES-256-GCM; `key` has 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._outer = AESGCM(key)

    def seal(self, owner: str, secret: bytes) -> bytes:
        own = AESGCM.generate_key(KEY_BYTES * 8)
        return _encrypt(self._outer, own, owner) + _encrypt(AESGCM(own), secret, owner)

    def open(self, owner: str, sealed: bytes) -> bytes:
        try:
            own = _decrypt(self._outer, sealed[:_WRAPPED_BYTES], owner)
            return _decrypt(AESGCM(own), sealed[_WRAPPED_BYTES:], owner)
        except InvalidTag:
            raise ValueError("the secret was sealed for another owner or with another key") from None


def _encrypt(cipher: AESGCM, secret: bytes, owner: str) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, secret, owner.encode())


def _decrypt(cipher: AESGCM, sealed: bytes, owner: str) -> bytes:
    return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], owner.encode())
