"""Whatever comes from outside, what reads it answers or refuses in its own words; it never breaks.

Each decoder gets text and bytes of any kind, and what it would take with a piece changed.
"""

import base64
import contextlib
import json
import time
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.auth.adapters.webauthn import PyWebauthn
from services.auth.factor_errors import PasskeyInvalid
from services.common import pagination
from services.common.api_keys import PREFIX, is_well_formed, new_key
from services.common.tokens import (
    ALGORITHM,
    KeySet,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
    TokenVerifier,
    parse_jwks,
)
from services.common.tracing import is_sampled, remote_parent, well_formed
from services.gateway.errors import ApiKeyInvalid, TwoProofs
from services.gateway.servicer import key_of, source_of
from tests.security.decoders import TARGETS
from tests.support.pki import TokenIssuer

BOUNDED = settings(max_examples=200, database=None)
FILTERS: pagination.Filters = {"status": ["OPEN"]}
ISSUER = TokenIssuer()
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)
CHALLENGE = bytes(32)
PASSKEYS = PyWebauthn("https://localhost:8443", "Deskmesh")
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def changed(text: str) -> st.SearchStrategy[str]:
    """The text with a piece replaced by anything."""
    places = st.integers(0, len(text))
    return st.builds(lambda a, b, new: text[: min(a, b)] + new + text[max(a, b) :], places, places, st.text(max_size=8))


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


GOOD_PAGE = pagination.encode({"created_at": "2026-01-01T00:00:00Z", "id": "tkt_1"}, FILTERS)
PAGES = st.text() | changed(GOOD_PAGE) | JSON.map(lambda value: base64url(json.dumps(value).encode()))


@BOUNDED
@given(PAGES)
def test_page_tokens(token: str) -> None:
    try:
        cursor = pagination.decode(token, FILTERS)
    except pagination.InvalidPageToken:
        return
    assert all(isinstance(name, str) for name in cursor)


@BOUNDED
@given(st.text() | changed(new_key()))
def test_api_keys(text: str) -> None:
    assert not is_well_formed(text) or text.startswith(PREFIX)


@BOUNDED
@given(st.text() | changed(f"Bearer {new_key()}"), st.text() | changed(new_key()))
def test_headers_of_api_keys(authorization: str, api_key: str) -> None:
    with contextlib.suppress(ApiKeyInvalid, TwoProofs):
        assert key_of(authorization, api_key).startswith(PREFIX)


@BOUNDED
@given(st.text())
def test_addresses(forwarded_for: str) -> None:
    assert "," not in source_of(forwarded_for)


@BOUNDED
@given(st.text() | changed(TRACEPARENT))
def test_trace_headers(header: str) -> None:
    if well_formed(header):
        is_sampled(header)
        assert remote_parent(header).is_valid


async def verified(token: str) -> Any:
    async def keys() -> Any:
        return parse_jwks(ISSUER.jwks())

    verifier = TokenVerifier(KeySet(keys), issuer="https://deskmesh.local", audience="deskmesh")
    try:
        return await verifier.verify(token)
    except (TokenInvalid, TokenExpired, TokenRevoked):
        return None


# Made when the tests are collected, and to hold still when the last of them runs.
GOOD_TOKEN = ISSUER.token(organization_id="org_a", user_id="usr_a", roles=("agent",), exp=int(time.time()) + 6 * 3600)
CLAIMS = jwt.decode(GOOD_TOKEN, options={"verify_signature": False})


def signed(claims: Any) -> str:
    """With our own key, so that what the claims hold is looked at."""
    headers = {"kid": jwt.get_unverified_header(GOOD_TOKEN)["kid"]}
    return jwt.encode(claims, ISSUER.key, algorithm=ALGORITHM, headers=headers)


async def test_a_good_token_is_known() -> None:
    assert await verified(GOOD_TOKEN)
    assert await verified(signed(CLAIMS))


@BOUNDED
@given(changed(GOOD_TOKEN) | st.text())
async def test_tokens(token: str) -> None:
    assert (
        await verified(token) is None or token == GOOD_TOKEN or jwt.decode(token, options={"verify_signature": False})
    )


@BOUNDED
@given(st.sampled_from(sorted(CLAIMS)), JSON)
async def test_claims_of_any_kind(name: str, value: Any) -> None:
    claims = {**CLAIMS, "exp": int(time.time()) + 600, name: value}
    try:
        token = signed(claims)
    except (TypeError, ValueError, OverflowError, jwt.PyJWTError):
        return
    found = await verified(token)
    assert found is None or isinstance(found.user_id, str)


ANSWER = {
    "id": "AAAA",
    "rawId": "AAAA",
    "type": "public-key",
    "response": {"clientDataJSON": "e30", "attestationObject": "oA", "authenticatorData": "AA", "signature": "AA"},
}
BYTES = st.binary(max_size=200).map(base64url)
ANSWERS = (
    st.text()
    | JSON.map(json.dumps)
    | changed(json.dumps(ANSWER))
    | st.fixed_dictionaries(
        {"clientDataJSON": BYTES | JSON, "attestationObject": BYTES | JSON, "authenticatorData": BYTES | JSON}
    ).map(lambda response: json.dumps({**ANSWER, "response": {**ANSWER["response"], **response}}))  # type: ignore[dict-item]
)


@BOUNDED
@given(ANSWERS)
def test_answers_of_passkeys(answer: str) -> None:
    for read in (lambda: PASSKEYS.attested(answer, CHALLENGE), lambda: PASSKEYS.named(answer)):
        with contextlib.suppress(PasskeyInvalid):
            read()


@BOUNDED
@given(st.binary(max_size=400))
def test_what_an_authenticator_says_in_cbor(attestation: bytes) -> None:
    client = json.dumps(
        {"type": "webauthn.create", "challenge": base64url(CHALLENGE), "origin": "https://localhost:8443"}
    )
    response = {"clientDataJSON": base64url(client.encode()), "attestationObject": base64url(attestation)}
    with pytest.raises(PasskeyInvalid):
        PASSKEYS.attested(json.dumps({**ANSWER, "response": response}), CHALLENGE)


@pytest.mark.parametrize("name", TARGETS)
def test_what_once_broke_a_decoder_does_not_break_it(name: str) -> None:
    for example in TARGETS[name].examples:
        TARGETS[name].read(example)
