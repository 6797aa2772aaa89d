"""Access tokens: what is accepted, what is refused, and how seldom keys are fetched."""

import asyncio
import base64
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.common import tokens
from services.common.errors import Unavailable
from services.common.tokens import Keys, KeySet, TokenExpired, TokenInvalid, TokenVerifier, parse_jwks
from tests.support.pki import AUDIENCE, ISSUER, TokenIssuer

WHO: dict[str, Any] = {"organization_id": "org_1", "user_id": "usr_1", "roles": ("agent",)}


class Source:
    """Keys that are fetched, counted, and a clock that is moved by hand."""

    def __init__(self, issuer: TokenIssuer) -> None:
        self.issuer = issuer
        self.fetches = 0
        self.now = 0.0
        self.fails = False
        self.keys = KeySet(self.fetch, monotonic=lambda: self.now)
        self.verifier = TokenVerifier(self.keys, issuer=ISSUER, audience=AUDIENCE)

    async def fetch(self) -> Keys:
        self.fetches += 1
        if self.fails:
            raise OSError("no socket")
        return parse_jwks(self.issuer.jwks())


@pytest.fixture
def source() -> Source:
    return Source(TokenIssuer())


async def test_a_good_token_tells_who_it_is(source: Source) -> None:
    token = source.issuer.token(**WHO)
    claims = await source.verifier.verify(token)
    assert (claims.organization_id, claims.user_id, claims.roles) == ("org_1", "usr_1", ("agent",))
    assert source.verifier.cached(token) is claims
    assert await source.verifier.verify(token) is claims


def _unsigned() -> str:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u", "org": "o", "roles": [], "jti": "j", "iat": 1, "exp": 1 << 40}
    return jwt.encode(claims, "", algorithm="none", headers={"kid": "test-key"})


def _hmac_with_public_key(issuer: TokenIssuer) -> str:
    """The old trick: an HMAC keyed with the public key, in the hope that the verifier mixes the two up."""
    header = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": issuer.key_id}).encode()).rstrip(b"=")
    return f"{header.decode()}.{issuer.token(**WHO).split('.')[1]}.c2ln"


BAD: dict[str, Callable[[TokenIssuer], str]] = {
    "empty": lambda _: "",
    "not a token": lambda _: "abc",
    "binary": lambda _: "\x00\xff.\x00.\x00",
    "too long": lambda _: "a" * 5000,
    "alg none": lambda _: _unsigned(),
    "hmac": _hmac_with_public_key,
    "forged": lambda issuer: issuer.token(**WHO, key=Ed25519PrivateKey.generate()),
    "unknown key": lambda issuer: issuer.token(**WHO, headers={"kid": "another"}),
    "no key": lambda issuer: issuer.token(**WHO, headers={"kid": ""}),
    "issuer": lambda issuer: issuer.token(**WHO, iss="https://elsewhere"),
    "audience": lambda issuer: issuer.token(**WHO, aud="another"),
    "without exp": lambda issuer: issuer.token(**WHO, exp=None),
    "without org": lambda issuer: issuer.token(**WHO, org=None),
    "org no text": lambda issuer: issuer.token(**WHO, org=7),
    "from the future": lambda issuer: issuer.token(**WHO, nbf=int(time.time()) + 600),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_token_is_refused(source: Source, name: str) -> None:
    token = BAD[name](source.issuer)
    with pytest.raises(TokenInvalid):
        await source.verifier.verify(token)
    assert source.verifier.cached(token) is None


async def test_an_expired_token_is_told_apart(source: Source) -> None:
    with pytest.raises(TokenExpired):
        await source.verifier.verify(source.issuer.token(**WHO, exp=int(time.time()) - 60))


async def test_a_remembered_token_ends_with_its_time(source: Source) -> None:
    now = time.time()
    verifier = TokenVerifier(source.keys, issuer=ISSUER, audience=AUDIENCE, now=lambda: now)
    token = source.issuer.token(**WHO)
    await verifier.verify(token)
    assert verifier.cached(token)
    now += 301
    assert verifier.cached(token) is None


async def test_a_flood_of_unknown_keys_causes_one_fetch_in_ten_seconds(source: Source) -> None:
    async def attempt(number: int) -> None:
        with pytest.raises(TokenInvalid):
            await source.verifier.verify(source.issuer.token(**WHO, headers={"kid": f"made-up-{number}"}))

    await asyncio.gather(*(attempt(number) for number in range(200)))
    source.now = 9.9
    await asyncio.gather(*(attempt(number) for number in range(200)))
    assert source.fetches == 1
    source.now = 10.1
    await attempt(1)
    assert source.fetches == 2


async def test_a_new_key_is_known_before_it_signs_even_under_a_flood(source: Source) -> None:
    old = source.issuer.token(**WHO)
    await source.verifier.verify(old)
    source.issuer.key_id = "new-key"
    source.now = tokens.MAXIMUM_AGE_SECONDS + 1
    await source.keys.get("test-key")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert source.fetches == 2
    assert await source.keys.get("new-key")
    assert source.fetches == 2


async def test_without_any_keys_the_service_is_unavailable_not_the_token_invalid(source: Source) -> None:
    source.fails = True
    with pytest.raises(Unavailable):
        await source.verifier.verify(source.issuer.token(**WHO))
    source.fails = False
    source.now = 1.0
    assert await source.verifier.verify(source.issuer.token(**WHO))


async def test_keys_stay_when_a_later_fetch_fails(source: Source) -> None:
    await source.verifier.verify(source.issuer.token(**WHO))
    source.fails = True
    source.now = 100.0
    assert await source.keys.get("test-key")
    await asyncio.sleep(0)
    assert await source.keys.get("test-key")


async def test_the_memory_of_tokens_is_bounded(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "CACHE_SIZE", 3)
    made = [source.issuer.token(**WHO) for _ in range(10)]
    for token in made:
        await source.verifier.verify(token)
    assert sum(source.verifier.cached(token) is not None for token in made) <= 3


@pytest.mark.parametrize("document", [None, [], {}, {"keys": "x"}, {"keys": [{"kty": "OKP"}]}, {"keys": [{}]}])
def test_what_is_no_key_set_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match="not a JWK"):
        parse_jwks(document)
