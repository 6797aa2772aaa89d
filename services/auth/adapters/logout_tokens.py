"""Logout tokens of providers, by OpenID Connect Back-Channel Logout 1.0, 2.4 and 2.6."""

import json
import time
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import ClaimError, JoseError

from services.auth.identity_providers import IdentityProvider, SignedOut
from services.auth.provider_errors import ProviderSignInInvalid

EVENT = "http://schemas.openid.net/event/backchannel-logout"
# A token that was on the way for longer is none; those that were kept end nothing that began after them anyway.
FRESH_SECONDS = 600
LEEWAY_SECONDS = 60
MOST_TEXT = 255
TYPES = ("logout+jwt", "jwt")

Document = dict[str, Any]


def issuer_of(token: str) -> str:
    """Whose token it says it is, which proves nothing. Raises ProviderSignInInvalid."""
    try:
        issuer = json.loads(jws.extract_compact(token.encode()).payload)["iss"]
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        raise ProviderSignInInvalid from None
    if not isinstance(issuer, str) or len(issuer) > MOST_TEXT or "\0" in issuer:
        raise ProviderSignInInvalid
    return issuer


def signed_out(provider: IdentityProvider, header: Document, claims: Document) -> SignedOut:
    """Who signed out, by a token whose signature holds. Raises ProviderSignInInvalid."""
    registry = jwt.JWTClaimsRegistry(
        leeway=LEEWAY_SECONDS,
        iss={"essential": True, "value": provider.issuer},
        aud={"essential": True, "value": provider.client_id},
        iat={"essential": True},
        jti={"essential": True},
        # Sign-ins here do not know the provider's own names of them (`sid`), so it has to say who.
        sub={"essential": True},
    )
    try:
        registry.validate(claims)
    except (ClaimError, ValueError, TypeError):
        raise ProviderSignInInvalid from None
    events, subject, issued_at = claims.get("events"), claims["sub"], claims["iat"]
    event = events.get(EVENT) if isinstance(events, dict) else None
    # An ID token has a nonce, and must not pass as one of these.
    if not isinstance(event, dict) or "nonce" in claims or str(header.get("typ", "JWT")).lower() not in TYPES:
        raise ProviderSignInInvalid
    if (
        not isinstance(subject, str)
        or not 0 < len(subject) <= MOST_TEXT
        or abs(time.time() - issued_at) > FRESH_SECONDS
    ):
        raise ProviderSignInInvalid
    return SignedOut(subject, issued_at + LEEWAY_SECONDS)
