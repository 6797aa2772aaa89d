"""Signing keys: made, sealed, published ahead of use, replaced; and the access tokens they sign.

A key is published for a while before it signs and for a while after it has ceased to, so that whoever keeps the public
keys for some seconds never meets a token of a key not heard of. All processes of the service read the same keys.
"""

import asyncio
import base64
import json
import logging
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Self

import jwt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import delete, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.auth import tables
from services.auth.oauth import API
from services.auth.ports import AccessToken
from services.auth.usecases.signing_keys import PublishedKey
from services.common import background
from services.common.clock import Clock
from services.common.db import SqlUnitOfWork
from services.common.ids import new_id
from services.common.tokens import ALGORITHM

logger = logging.getLogger(__name__)

# Longer than anybody keeps the published keys: a minute in the services, half a minute in Envoy.
PUBLISHED_AHEAD = timedelta(minutes=3)
PUBLISHED_AFTER = timedelta(hours=2)
REFRESH_SECONDS = 20.0
NONCE_BYTES = 12
# Ends the audience of tokens that open nothing but the userinfo endpoint.
USERINFO = "/userinfo"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair and when it was made."""

    id: str
    private_key: Ed25519PrivateKey
    created_at: datetime

    def jwk(self) -> dict[str, str]:
        """The public half."""
        raw = self.private_key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        return {"kty": "OKP", "crv": "Ed25519", "alg": ALGORITHM, "use": "sig", "kid": self.id, "x": x}


class Sealer:
    """Encrypts private keys with a key of 32 bytes, which is kept apart from the database."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._cipher = AESGCM(key)

    @classmethod
    def of_file(cls, file: Path) -> Self:
        """With the key in a file that only this user reads; made if it is not there."""
        return cls(_read_or_make(file))

    def derive(self, purpose: str) -> bytes:
        """Another secret of 32 bytes, the same each time; one tells nothing of another."""
        return HKDF(hashes.SHA256(), 32, salt=None, info=purpose.encode()).derive(self._key)

    def seal(self, key_id: str, key: Ed25519PrivateKey) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, key.private_bytes_raw(), key_id.encode())

    def open(self, key_id: str, sealed: bytes) -> Ed25519PrivateKey | None:
        """The private key, or None if it was sealed with another key."""
        try:
            raw = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], key_id.encode())
        except InvalidTag:
            return None
        return Ed25519PrivateKey.from_private_bytes(raw)


def _read_or_make(file: Path) -> bytes:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        # Written beside and linked, so that of two processes that start at once one wins whole.
        fresh = file.with_name(f".{file.name}.{os.getpid()}")
        fresh.touch(mode=0o600)
        fresh.write_bytes(os.urandom(32))
        try:
            os.link(fresh, file)
        finally:
            fresh.unlink()
    return file.read_bytes()


class KeyRing:
    """The signing keys in the database. Use it as a context manager: it loads them and keeps them fresh."""

    def __init__(
        self, sessionmaker: async_sessionmaker[AsyncSession], sealer: Sealer, clock: Clock, *, key_days: int
    ) -> None:
        self._sessionmaker = sessionmaker
        self._sealer = sealer
        self._clock = clock
        self._lifetime = timedelta(days=key_days)
        self._keys: list[SigningKey] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "KeyRing":
        await self.refresh()
        self._task = asyncio.create_task(self._keep_fresh(), name="signing-keys")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            await background.end(self._task)

    def current(self) -> SigningKey:
        """The newest key that has been published long enough; of keys all too new, the oldest."""
        now = self._clock()
        known = [key for key in self._keys if now - key.created_at >= PUBLISHED_AHEAD]
        return known[-1] if known else self._keys[0]

    def public_key(self, key_id: str) -> Ed25519PublicKey | None:
        """The published key of this ID."""
        return next((key.private_key.public_key() for key in self._keys if key.id == key_id), None)

    def published(self) -> Sequence[PublishedKey]:
        """The published keys, oldest first."""
        signing = self.current().id
        first = self._keys[0].id
        return [
            PublishedKey(
                key.id,
                key.created_at,
                # The very first key has nobody to wait for.
                key.created_at if key.id == first else key.created_at + PUBLISHED_AHEAD,
                key.id == signing,
            )
            for key in self._keys
        ]

    async def rotate(self) -> None:
        """Make and publish a new key now."""
        await self.refresh(rotate=True)

    def jwks(self) -> bytes:
        """All public keys as a JWK set."""
        return json.dumps({"keys": [key.jwk() for key in self._keys]}).encode()

    async def refresh(self, *, rotate: bool = False) -> None:
        """Read the keys, make a new one when it is time (or told to), and forget those that signed nothing alive."""
        async with SqlUnitOfWork(self._sessionmaker, system=True) as work:
            await work.session.execute(text("select pg_advisory_xact_lock(hashtext('auth:signing_keys'))"))
            table = tables.signing_keys
            rows = (await work.session.execute(select(table).order_by(table.c.created_at, table.c.id))).all()
            keys = [
                SigningKey(row.id, private_key, row.created_at)
                for row in rows
                if (private_key := self._sealer.open(row.id, row.sealed_private_key))
            ]
            now = self._clock()
            if rotate or not keys or now - keys[-1].created_at >= self._lifetime:
                keys.append(await self._add(work.session, now))
            retired = [
                key.id
                for key, successor in pairwise(keys)
                if now - successor.created_at > PUBLISHED_AHEAD + PUBLISHED_AFTER
            ]
            await work.session.execute(delete(table).where(table.c.id.in_(retired)))
            await work.commit()
        self._keys = [key for key in keys if key.id not in retired]

    async def _add(self, session: AsyncSession, now: datetime) -> SigningKey:
        key = SigningKey(new_id("key"), Ed25519PrivateKey.generate(), now)
        values = {
            "id": key.id,
            "sealed_private_key": self._sealer.seal(key.id, key.private_key),
            "created_at": now,
        }
        await session.execute(insert(tables.signing_keys).values(values))
        logger.info("signing key made", extra={"key_id": key.id})
        return key

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except Exception:
                logger.warning("signing keys cannot be read", exc_info=True)


class JwtAccessTokens:
    """See `ports.AccessTokens`."""

    def __init__(self, ring: KeyRing, *, issuer: str, audience: str, lifetime_seconds: int) -> None:
        self._ring = ring
        self._issuer = issuer
        self._audience = audience
        self._lifetime_seconds = lifetime_seconds

    def issue(
        self,
        user_id: str,
        organization_id: str,
        roles: Sequence[str],
        *,
        session_id: str = "",
        authenticated_at: datetime | None = None,
        methods: Sequence[str] = (),
        client_id: str = "",
        scopes: Sequence[str] = (),
    ) -> AccessToken:
        # With its fraction, so that it can be told from a revocation of the same second.
        now = time.time()
        claims: dict[str, object] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": user_id,
            "org": organization_id,
            "roles": [str(role) for role in roles],
            "jti": new_id("tok"),
            "iat": now,
            "exp": int(now) + self._lifetime_seconds,
        }
        if session_id:
            claims["sid"] = session_id
        if authenticated_at is not None:
            claims["auth_time"] = int(authenticated_at.timestamp())
            claims["amr"] = list(methods)
        if client_id:
            claims |= {"client_id": client_id, "scope": " ".join(scopes)}
            if API not in scopes:
                # No service takes it, and it says nothing of what its person may do.
                claims |= {"aud": self._audience + USERINFO, "roles": []}
        key = self._ring.current()
        value = jwt.encode(claims, key.private_key, algorithm=ALGORITHM, headers={"kid": key.id})
        return AccessToken(value, self._lifetime_seconds)
