"""Access tokens of people: what is in one, and how a service checks it without asking anybody."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.common.errors import Unauthenticated, Unavailable
from services.common.http import way_to
from services.common.revocations import Revocations, subjects_of

logger = logging.getLogger(__name__)

ALGORITHM = "EdDSA"
LEEWAY_SECONDS = 5
FETCH_INTERVAL_SECONDS = 10.0
MAXIMUM_AGE_SECONDS = 60.0
FETCH_TIMEOUT_SECONDS = 3.0
MAXIMUM_TOKEN_LENGTH = 4096
CACHE_SIZE = 10_000
JWKS_PATH = "/.well-known/jwks.json"
REQUIRED_CLAIMS = ["sub", "org", "roles", "jti", "iat", "exp", "iss", "aud"]


class TokenMissing(Unauthenticated):
    """No access token came with the call."""

    reason = "TOKEN_MISSING"
    message = "Sign in first."


class TokenInvalid(Unauthenticated):
    """The token is malformed, forged, or of another issuer or audience."""

    reason = "TOKEN_INVALID"
    message = "The access token is not valid; sign in again."


class TokenExpired(Unauthenticated):
    """The token's time is over."""

    reason = "TOKEN_EXPIRED"
    message = "The access token has expired; refresh it."


class TokenRevoked(Unauthenticated):
    """The token's session was ended, or the person's place changed, after it was issued."""

    reason = "TOKEN_REVOKED"
    message = "This session was ended; sign in again."


def audience_of(audience: str, service: str) -> str:
    """The audience of tokens that hold at one service only, of those of `audience`."""
    return f"{audience}/{service}"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says; times in seconds since the epoch.

    `session_id` names the sign-in the token descends from, `authenticated_at` says when its person last proved who they
    are and `methods` by what, in the words of RFC 8176 ("pwd", "otp", "hwk", "mfa"). A token of no sign-in has none.
    """

    user_id: str
    organization_id: str
    roles: tuple[str, ...]
    token_id: str
    expires_at: float
    issued_at: float = 0.0
    session_id: str = ""
    authenticated_at: float = 0.0
    methods: tuple[str, ...] = ()
    # What may be revoked to end the token: the person, their place in the organization, the sign-in.
    subjects: tuple[str, ...] = ()


Keys = Mapping[str, Ed25519PublicKey]
FetchKeys = Callable[[], Awaitable[Keys]]


class KeySet:
    """Public keys by key ID. An unknown ID fetches them anew, but at most once in `FETCH_INTERVAL_SECONDS`.

    Keys in use are also fetched anew when they get old, while the call goes on: a new key is published before it signs,
    so a flood of made-up IDs cannot keep it from being known in time.
    """

    def __init__(self, fetch: FetchKeys, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._monotonic = monotonic
        self._keys: Keys = {}
        self._next_fetch = float("-inf")
        self._fetched_at = float("-inf")
        self._lock = asyncio.Lock()
        self._renewal: asyncio.Task[None] | None = None

    async def get(self, key_id: str) -> Ed25519PublicKey | None:
        """The key, or None if the issuer has no such key. Raises Unavailable when there never were any keys."""
        if key_id not in self._keys:
            async with self._lock:
                if key_id not in self._keys:
                    await self._refresh()
        elif self._monotonic() - self._fetched_at > MAXIMUM_AGE_SECONDS:
            self._renewal = self._renewal or asyncio.create_task(self._renew())
        if not self._keys:
            raise Unavailable(retry_after_seconds=1.0)
        return self._keys.get(key_id)

    async def _renew(self) -> None:
        async with self._lock:
            await self._refresh()
        self._renewal = None

    async def _refresh(self) -> None:
        if self._monotonic() < self._next_fetch:
            return
        try:
            self._keys = await self._fetch()
            self._fetched_at = self._monotonic()
        except (OSError, TimeoutError, aiohttp.ClientError, ValueError) as error:
            logger.warning("signing keys cannot be fetched", extra={"error": repr(error)})
        # Without any key nobody can be let in, so the wait for the first ones is short.
        self._next_fetch = self._monotonic() + (FETCH_INTERVAL_SECONDS if self._keys else 0.5)


def jwks_fetcher(at: Path | str) -> FetchKeys:
    """Fetches the key set over HTTP from the Unix socket of the issuer's ops server, or an address that leads to it."""

    async def fetch() -> Keys:
        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_SECONDS)
        connector, issuer = way_to(at)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get(f"{issuer}{JWKS_PATH}", raise_for_status=True) as response,
        ):
            return parse_jwks(await response.json())

    return fetch


def parse_jwks(document: object) -> Keys:
    """The Ed25519 keys of a JWK set. Raises ValueError if it is none."""
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("not a JWK set")  # noqa: TRY004 - the document is wrong, not the argument
    keys: dict[str, Ed25519PublicKey] = {}
    for entry in document["keys"]:
        try:
            key = jwt.PyJWK.from_dict(entry, algorithm=ALGORITHM)
        except (jwt.PyJWTError, AttributeError, TypeError) as error:
            raise ValueError("not a JWK") from error
        if key.key_id and isinstance(key.key, Ed25519PublicKey):
            keys[key.key_id] = key.key
    return keys


class TokenVerifier:
    """Checks signature, issuer, audience, time and revocation; remembers the tokens that held until they expire.

    A token may be for any of several audiences.
    """

    def __init__(
        self,
        keys: KeySet,
        *,
        issuer: str,
        audience: str | Sequence[str],
        revocations: Revocations | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._revocations = Revocations(now=now) if revocations is None else revocations
        self._issuer = issuer
        self._audience = audience
        self._now = now
        self._verified: dict[str, Claims] = {}

    def cached(self, token: str) -> Claims | None:
        """The claims of a token that was verified before and still holds."""
        claims = self._verified.get(token)
        return claims if claims is not None and self.holds(claims) else None

    def holds(self, claims: Claims) -> bool:
        """Whether a token that was verified before has neither ended nor been revoked since."""
        if claims.expires_at <= self._now():
            return False
        return not (self._revocations and self._revocations.cover(claims.subjects, claims.issued_at))

    async def verify(self, token: str) -> Claims:
        """The claims of a token. Raises TokenInvalid, TokenExpired, TokenRevoked, or Unavailable without any keys."""
        if claims := self.cached(token):
            return claims
        if len(token) > MAXIMUM_TOKEN_LENGTH:
            raise TokenInvalid
        claims = self._decode(token, await self._key(token))
        if self._revocations.cover(claims.subjects, claims.issued_at):
            raise TokenRevoked
        if len(self._verified) >= CACHE_SIZE:
            self._evict()
        self._verified[token] = claims
        return claims

    async def _key(self, token: str) -> Ed25519PublicKey:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise TokenInvalid from None
        key_id = header.get("kid")
        if header.get("alg") != ALGORITHM or not isinstance(key_id, str):
            raise TokenInvalid
        key = await self._keys.get(key_id)
        if key is None:
            raise TokenInvalid
        return key

    def _decode(self, token: str, key: Ed25519PublicKey) -> Claims:
        try:
            payload = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY_SECONDS,
                options={"require": REQUIRED_CLAIMS},
            )
        except jwt.ExpiredSignatureError:
            raise TokenExpired from None
        except jwt.PyJWTError:
            raise TokenInvalid from None
        roles, methods = payload["roles"], payload.get("amr", [])
        user_id, organization_id, token_id, session_id = texts = (
            payload["sub"],
            payload["org"],
            payload["jti"],
            payload.get("sid", ""),
        )
        authenticated_at = payload.get("auth_time", 0)
        lists = isinstance(roles, list) and isinstance(methods, list)
        if not lists or not all(isinstance(text, str) for text in (*texts, *roles, *methods)):
            raise TokenInvalid
        if not isinstance(authenticated_at, int | float):
            raise TokenInvalid
        return Claims(
            user_id,
            organization_id,
            tuple(roles),
            token_id,
            float(payload["exp"]),
            float(payload["iat"]),
            session_id,
            float(authenticated_at),
            tuple(methods),
            subjects_of(user_id, organization_id, session_id),
        )

    def _evict(self) -> None:
        now = self._now()
        alive = {token: claims for token, claims in self._verified.items() if claims.expires_at > now}
        # Still full: begin anew; verifying again costs a fraction of a millisecond each.
        self._verified = alive if len(alive) < CACHE_SIZE else {}
