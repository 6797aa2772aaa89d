"""ID tokens, signed with the keys of access tokens; and access tokens read by who signed them."""

import time
from collections.abc import Mapping

import jwt
from authlib.oidc.core.util import create_half_hash

from services.auth.adapters.signing import USERINFO, KeyRing
from services.auth.domain import RefreshFamily
from services.auth.oauth_ports import Narrowed, ReadToken
from services.common.ids import new_id
from services.common.permissions import singles
from services.common.tokens import ALGORITHM, MAXIMUM_TOKEN_LENGTH, REQUIRED_CLAIMS, audience_of

LIFETIME_SECONDS = 300


class JwtIdTokens:
    """See `oauth_ports.IdTokens`. Issuer and audience are others than an access token's: none passes as the other."""

    def __init__(self, ring: KeyRing, issuer: str) -> None:
        self._ring = ring
        self._issuer = issuer

    def issue(self, claims: Mapping[str, object], family: RefreshFamily, *, nonce: str, access_token: str) -> str:
        now = int(time.time())
        proved = int((family.authenticated_at or family.created_at).timestamp())
        payload: dict[str, object] = {
            **claims,
            "iss": self._issuer,
            "aud": family.client_id,
            "iat": now,
            "exp": now + LIFETIME_SECONDS,
            "amr": list(family.methods),
            "at_hash": (create_half_hash(access_token, ALGORITHM) or b"").decode(),
        }
        if proved:
            # None for whom another provider vouched: when they proved it there is not ours to say.
            payload["auth_time"] = proved
        if nonce:
            payload["nonce"] = nonce
        key = self._ring.current()
        return jwt.encode(payload, key.private_key, algorithm=ALGORITHM, headers={"kid": key.id})


class JwtReader:
    """See `oauth_ports.TokenReader`."""

    def __init__(self, ring: KeyRing, *, issuer: str, audience: str) -> None:
        self._ring = ring
        self._issuer = issuer
        self._audiences = [audience, audience + USERINFO]

    def read(self, token: str) -> ReadToken | None:
        if len(token) > MAXIMUM_TOKEN_LENGTH:
            return None
        try:
            key = self._ring.public_key(str(jwt.get_unverified_header(token).get("kid", "")))
            if key is None:
                return None
            # The algorithm is ours to say, not the token's.
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                audience=self._audiences,
                options={"require": REQUIRED_CLAIMS},
            )
        except (jwt.PyJWTError, UnicodeError):
            return None
        return ReadToken(
            claims["sub"],
            claims["org"],
            claims.get("sid", ""),
            claims["jti"],
            claims.get("client_id", ""),
            tuple(claims.get("scope", "").split()),
            claims["aud"],
            claims["iss"],
            float(claims["iat"]),
            float(claims["exp"]),
            tuple(claims["roles"]),
        )


class JwtNarrowTokens:
    """See `oauth_ports.NarrowTokens`. The audience ends in the service's name; no other service takes it."""

    def __init__(self, ring: KeyRing, *, issuer: str, audience: str) -> None:
        self._ring = ring
        self._issuer = issuer
        self._audience = audience

    def is_whole(self, token: ReadToken) -> bool:
        return token.audience == self._audience

    def issue(self, narrowed: Narrowed) -> str:
        subject, now = narrowed.subject, time.time()
        permissions = sorted(narrowed.permissions)
        claims = {
            "iss": self._issuer,
            "aud": audience_of(self._audience, narrowed.service),
            "sub": subject.user_id,
            "org": subject.organization_id,
            # Whatever ends the sign-in ends this.
            "sid": subject.family_id,
            "roles": list(singles(permissions)),
            "jti": new_id("tok"),
            # Not later than what it is made of, so that what revoked that revokes this.
            "iat": subject.issued_at,
            "exp": int(now) + narrowed.lifetime_seconds,
            "client_id": narrowed.client_id,
            "scope": " ".join(permissions),
            "act": {"sub": narrowed.client_id},
        }
        key = self._ring.current()
        return jwt.encode(claims, key.private_key, algorithm=ALGORITHM, headers={"kid": key.id})
