"""Everything of ours that reads what comes from outside, each behind one door: bytes in, and nothing raised.

What a decoder says of bytes that make no sense, in words of its own, is no failure; anything else that it raises is,
and so is an answer that is not what it promises. `test_decoders.py` feeds them with what once broke one,
`fuzz.py` by atheris, which watches the branches they take.
"""

import base64
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl

import grpc
import grpc.aio
import httpx
import jwt
from pydantic import BaseModel, ValidationError

from deskmesh_client.errors import from_rpc_error as client_error
from serve_apps.assistant.config import EndpointSource
from serve_apps.assistant.engine_config import RemoteEngineConfig
from serve_apps.assistant.engines import remote
from serve_apps.assistant.engines.base import Delta, Finished
from serve_apps.assistant.tools import NotACall, Toolbox
from services.auth import api_keys as networks
from services.auth.adapters import logout_tokens as logout
from services.auth.adapters.oauth_grammar import AuthlibGrammar
from services.auth.adapters.webauthn import PyWebauthn
from services.auth.domain import Role
from services.auth.factor_errors import PasskeyInvalid
from services.auth.factors import hash_recovery_code, matching_step
from services.auth.groups import groups_in
from services.auth.identity_providers import IdentityProvider
from services.auth.oauth import COMMAND_LINE, Form, Refused, hash_user_code
from services.auth.provider_errors import ProviderSignInInvalid
from services.common import pagination, revocations
from services.common.api_keys import PREFIX, hash_key, is_well_formed, new_key
from services.common.errors import InvalidInput, from_rpc_error
from services.common.tokens import (
    ALGORITHM,
    Claims,
    KeySet,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
    TokenVerifier,
    parse_jwks,
)
from services.common.tracing import is_sampled, remote_parent, well_formed
from services.gateway.errors import ApiKeyInvalid, TwoProofs
from services.gateway.openai import mapping
from services.gateway.openai.errors import refusal_of, tell
from services.gateway.openai.requests import ChatCompletionRequest, EmbeddingRequest
from services.gateway.servicer import key_of, source_of
from services.knowledge.errors import EmptyArticle, TooTangled
from services.knowledge.text import documents, sections
from services.sessions.adapters import notices
from services.sessions.domain import Author
from services.sessions.ports import Typing
from services.usage.adapters.stream import UsageStream
from tests.support.pki import TokenIssuer

T = TypeVar("T")
Decoder = Callable[[bytes], None]

FILTERS: pagination.Filters = {"status": ["OPEN"]}
ISSUER = TokenIssuer()
CHALLENGE = bytes(32)
HOST = "https://localhost:8443"
SECRET = bytes(20)


@dataclass(frozen=True)
class Target:
    """A decoder, with examples of what it takes and of what once broke it."""

    read: Decoder
    examples: tuple[bytes, ...]


def text(data: bytes) -> str:
    """As gRPC hands texts on: well-formed."""
    return data.decode(errors="ignore")


def header(data: bytes) -> str:
    """As aiohttp hands headers on: what is not UTF-8 becomes lone surrogates."""
    return data.decode("utf-8", "surrogateescape")


def now_done(work: Awaitable[T]) -> T:
    """The result of something that has nothing to wait for."""
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as end:
        return cast(T, end.value)
    raise AssertionError("it waits for something")


def base64url(data: bytes) -> str:
    """Without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


# Keys, tokens and codes


def api_keys(data: bytes) -> None:
    """The headers of a request, and the address it says it comes from."""
    authorization, _, more = header(data).partition("\n")
    api_key, _, source = more.partition("\n")
    with suppress(ApiKeyInvalid, TwoProofs):
        key = key_of(authorization, api_key)
        assert key.startswith(PREFIX)
        if is_well_formed(key):
            assert len(hash_key(key)) == 32
    address = source_of(source)
    assert "," not in address
    networks._within(address, ("10.0.0.0/8", "fd00::/8"))


def allowed_networks(data: bytes) -> None:
    """The networks that a key is bound to."""
    with suppress(InvalidInput):
        for network in networks._networks(text(data).split("\n")):
            networks._within("10.0.0.1", (network,))


def page_tokens(data: bytes) -> None:
    """A token whole, and a payload that is signed by nobody."""
    for token in (text(data), base64url(data)):
        try:
            cursor = pagination.decode(token, FILTERS)
        except pagination.InvalidPageToken:
            continue
        assert all(isinstance(name, str) for name in cursor)


def _verifier() -> TokenVerifier:
    async def keys() -> Any:
        return parse_jwks(ISSUER.jwks())

    return TokenVerifier(KeySet(keys), issuer="https://deskmesh.local", audience="deskmesh")


VERIFIER = _verifier()


def verified(token: str) -> Claims | None:
    """What a token says, None if it does not hold."""
    try:
        return now_done(VERIFIER.verify(token))
    except (TokenInvalid, TokenExpired, TokenRevoked):
        return None


def access_tokens(data: bytes) -> None:
    """Whatever claims to be a token."""
    claims = verified(text(data))
    assert claims is None or isinstance(claims.user_id, str)


def claims(data: bytes) -> None:
    """Claims that our own key signed: JSON of any kind in place of one of them."""
    name, _, value = data.partition(b"=")
    try:
        changed = {**CLAIMS, text(name): json.loads(value)}
        token = jwt.encode(changed, ISSUER.key, algorithm=ALGORITHM, headers={"kid": ISSUER.key_id})
    except (ValueError, TypeError, OverflowError, RecursionError, jwt.PyJWTError):
        return
    found = verified(token)
    if found is not None:
        assert all(isinstance(one, str) for one in (found.user_id, found.organization_id, *found.roles))
        assert math.isfinite(found.expires_at)


def key_sets(data: bytes) -> None:
    """A document of public keys."""
    with suppress(ValueError, RecursionError):
        document = json.loads(data)
        with suppress(ValueError):
            parse_jwks(document)


def codes(data: bytes) -> None:
    """What people type from an app, from paper, and from a device."""
    typed = text(data)
    step = matching_step(SECRET, typed, 59.0)
    assert step is None or typed == "287082" or len(typed) == 6
    assert len(hash_recovery_code(typed, SECRET)) == len(hash_user_code(typed, SECRET)) == 32


PASSKEYS = PyWebauthn(HOST, "Deskmesh")
ANSWER = {
    "id": "AAAA",
    "rawId": "AAAA",
    "type": "public-key",
    "response": {"clientDataJSON": "e30", "attestationObject": "oA", "authenticatorData": "AA", "signature": "AA"},
}
CLIENT_DATA = json.dumps({"type": "webauthn.create", "challenge": base64url(CHALLENGE), "origin": HOST})


def passkeys(data: bytes) -> None:
    """The answer of a browser."""
    answer = text(data)
    for read in (lambda: PASSKEYS.attested(answer, CHALLENGE), lambda: PASSKEYS.named(answer)):
        with suppress(PasskeyInvalid):
            read()


def authenticators(data: bytes) -> None:
    """What an authenticator says, in CBOR."""
    response = {"clientDataJSON": base64url(CLIENT_DATA.encode()), "attestationObject": base64url(data)}
    with suppress(PasskeyInvalid):
        PASSKEYS.attested(json.dumps({**ANSWER, "response": response}), CHALLENGE)


GRAMMAR = AuthlibGrammar(HOST, {COMMAND_LINE.id: COMMAND_LINE})


def oauth(data: bytes) -> None:
    """A request to any of the endpoints: its parameters, and its header."""
    query, _, authorization = data.partition(b"\n")
    try:
        form = Form.of(parse_qsl(text(query), keep_blank_values=True), header(authorization))
    except (Refused, ValueError):
        # What aiohttp and the page's own parser say of such a query.
        return
    for judge in (
        GRAMMAR.authorization,
        GRAMMAR.device_authorization,
        lambda one: GRAMMAR.client(one, "revoke"),
        lambda one: GRAMMAR.code(one, None),
        lambda one: GRAMMAR.device(one, None, datetime.now(UTC)),
        lambda one: GRAMMAR.refresh(one, None),
    ):
        try:
            judge(form)
        except Refused as refused:
            # Nobody is sent to an address that is not the program's.
            assert not refused.redirect_uri or COMMAND_LINE.redirects_to(refused.redirect_uri)


ACME = IdentityProvider(
    "org", "Acme", HOST, "desk", b"", (), (), creates_users=True, role=Role.AGENT, updated_at=datetime.now(UTC)
)


def logout_tokens(data: bytes) -> None:
    """What a provider says of who signed out: the token as anybody may send it, and what a signed one would say."""
    with suppress(ProviderSignInInvalid):
        assert isinstance(logout.issuer_of(text(data)), str)
    try:
        claims = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(claims, dict):
        with suppress(ProviderSignInInvalid):
            said = logout.signed_out(ACME, {"typ": claims.get("typ", "JWT")}, {**LOGOUT, **claims})
            assert said.subject
            assert math.isfinite(said.until)


def groups(data: bytes) -> None:
    """The claims of an ID token, where they name a person's groups."""
    with suppress(ValueError, RecursionError):
        claims = json.loads(data)
        if isinstance(claims, dict):
            assert all(isinstance(one, str) for one in groups_in(claims, "groups"))


# Bodies and documents


def chat_bodies(data: bytes) -> None:
    """The body of a request for a completion, up to what the model is asked."""
    request = _body(ChatCompletionRequest, data)
    if request is not None:
        assert mapping.affinity_key(request, "org")
        mapping.chat_request(request, "model", 0).SerializeToString()


def embedding_bodies(data: bytes) -> None:
    """The body of a request for embeddings."""
    request = _body(EmbeddingRequest, data)
    assert request is None or request.input


BodyT = TypeVar("BodyT", bound=BaseModel)


def _body(kind: type[BodyT], data: bytes) -> BodyT | None:
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        json.dumps(tell(refusal_of(error)).document).encode()
        return None


def articles(data: bytes) -> None:
    """A file that is imported: its name, its front matter, its Markdown."""
    path, _, content = data.partition(b"\n")
    with suppress(documents.Skip, EmptyArticle, TooTangled):
        found = documents.read(text(path), content)
        for section in sections.split(found.markdown, found.title):
            assert sections.sentences(section.text)


def tool_schemas(data: bytes) -> None:
    """The schema that somebody gives a tool, and a call held against it."""
    with suppress(InvalidInput, NotACall):
        Toolbox([("f", "", text(data))]).read('{"name": "f", "arguments": {"a": ["b", 1]}}')


TOOLBOX = Toolbox([("f", "", '{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}')])


def tool_calls(data: bytes) -> None:
    """What a model wrote for a call."""
    with suppress(NotACall):
        for call in TOOLBOX.read(text(data)):
            assert json.loads(call.arguments)["a"] is not None


def endpoints(data: bytes) -> None:
    """The stream of events of a model that stands elsewhere."""
    source = EndpointSource.model_validate({"kind": "endpoint", "url": "http://127.0.0.1:1/v1", "model": "m"})
    answer = httpx.MockTransport(lambda _request: httpx.Response(200, content=data))
    engine = remote.RemoteEngine(source, RemoteEngineConfig.model_validate({"kind": "remote"}), transport=answer)

    async def read() -> None:
        await engine.start()
        try:
            async for frame in engine._attempt({}):
                assert isinstance(frame, Delta | Finished)
        finally:
            await engine.stop()

    with suppress(remote._Failed, InvalidInput):
        now_done(read())


# What parts of ours tell each other, through stores or on the wire


def error_details(data: bytes) -> None:
    """The details of a refusal, as services and programs read them."""
    trailers = grpc.aio.Metadata(("grpc-status-details-bin", data))
    error = grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), trailers, "nothing")
    from_rpc_error(error)
    client_error(error)


def session_notices(data: bytes) -> None:
    """An announcement between processes of the sessions service."""
    try:
        notice = notices.decode(data)
    except (ValueError, KeyError, TypeError):
        return
    if isinstance(notice, Typing):
        assert isinstance(notice.conversation_id, str)
        assert isinstance(notice.user_id, str)
        assert isinstance(notice.author, Author)
        return
    assert all(isinstance(event.conversation_id, str) and isinstance(event.offset, int) for event in notice.events)


def revocation_notices(data: bytes) -> None:
    """An announcement that somebody's tokens ended."""
    with suppress(ValueError):
        for one in revocations.read(data):
            assert math.isfinite(one.not_before)


def _usage_stream() -> UsageStream:
    async def record(_entries: object) -> int:
        return 0

    return UsageStream(cast(Any, None), record, "fuzz", takeover_seconds=1.0)


USAGE = _usage_stream()


def usage_messages(data: bytes) -> None:
    """A line for the ledger, as another service published it."""
    organization, _, payload = data.partition(b"\n")
    USAGE._entries_of((b"1-1", {b"organization_id": organization, b"payload": payload}))


def trace_headers(data: bytes) -> None:
    """Whose trace a call goes on."""
    traceparent = header(data)
    if well_formed(traceparent):
        is_sampled(traceparent)
        assert remote_parent(traceparent).is_valid


# Made when the tests are collected, and to hold still when the last of them runs.
GOOD_TOKEN = ISSUER.token(organization_id="org_a", user_id="usr_a", roles=("agent",), exp=int(time.time()) + 6 * 3600)
CLAIMS: Mapping[str, Any] = jwt.decode(GOOD_TOKEN, options={"verify_signature": False})
GOOD_PAGE = pagination.encode({"created_at": "2026-01-01T00:00:00Z", "id": "tkt_1"}, FILTERS)
GOOD_KEY = new_key().encode()
ASKED = (
    b"response_type=code&client_id=deskmesh-cli&redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fcallback&scope=openid"
    b"&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256&state=s"
)
DEEP = b"[" * 3000
LOGOUT: Mapping[str, Any] = {
    "iss": HOST,
    "aud": "desk",
    "iat": time.time(),
    "exp": time.time() + 6 * 3600,
    "jti": "1",
    "sub": "somebody",
    "events": {logout.EVENT: {}},
}

TARGETS: Mapping[str, Target] = {
    "api keys": Target(api_keys, (b"Bearer " + GOOD_KEY, b"\n" + GOOD_KEY + b"\n10.0.0.1, ::1", b"dm_live_\xff")),
    "allowed networks": Target(allowed_networks, (b"10.0.0.0/8\n::/0", b"1.1.1.1/33", b"10.0.0.0/0x8")),
    "page tokens": Target(page_tokens, (GOOD_PAGE.encode(), DEEP, b'["x",{"a":1e999}]')),
    "access tokens": Target(access_tokens, (GOOD_TOKEN.encode(), b"a.b.c")),
    "claims": Target(claims, (b'sub="x"', b"exp=1e999", b"roles=[[]]", b"iat=" + b"9" * 400, b"auth_time={}")),
    "key sets": Target(key_sets, (json.dumps(ISSUER.jwks()).encode(), b'{"keys":[[]]}', b'{"keys":[{"kty":5}]}')),
    "codes": Target(codes, (b"287082", b"ABCD-EFGH", "１２３４５６".encode())),
    "passkeys": Target(passkeys, (json.dumps(ANSWER).encode(), DEEP, b"null")),
    "authenticators": Target(authenticators, (bytes.fromhex("a363666d74646e6f6e656761747453746d74a0"), b"\x9b" * 9)),
    "oauth": Target(
        oauth,
        (
            ASKED,
            b"grant_type=refresh_token&refresh_token=r&client_id=deskmesh-cli",
            b"grant_type=urn:ietf:params:oauth:grant-type:device_code&device_code=d&client_id=deskmesh-cli",
            b"client_id=deskmesh-cli&scope=openid",
            b"grant_type=authorization_code&code=c\nBasic \xff\xfe",
        ),
    ),
    "logout tokens": Target(
        logout_tokens,
        (
            b"{}",
            b'{"iat":NaN}',
            b'{"iat":1' + b"0" * 400 + b"}",
            b'{"exp":[],"sub":5,"events":{"e":[]},"typ":{}}',
            b".eyJpc3MiOiJodHRwczovL2EifQ.",
            b"e30." + base64url(DEEP).encode() + b".e30",
        ),
    ),
    "groups": Target(
        groups,
        (b'{"groups":["desk",5]}', b'{"groups":"desk"}', b'{"_claim_names":{"groups":[]}}', b'{"groups":' + DEEP),
    ),
    "chat bodies": Target(
        chat_bodies,
        (
            b'{"model":"m","messages":[{"role":"user","content":"Hi"}],"seed":1,"stop":"x","temperature":0.5}',
            b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"tools":[{"type":"function",'
            b'"function":{"name":"f","parameters":{"type":"object"}}}],"tool_choice":"required"}',
            b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
            DEEP,
        ),
    ),
    "embedding bodies": Target(embedding_bodies, (b'{"model":"m","input":["a"],"encoding_format":"base64"}',)),
    "articles": Target(
        articles,
        (
            b"a/b.md\n---\ntitle: T\ntags: [a, b]\n---\n# H\n\nText. | a\n\n| a | b |\n|--|--|\n| 1 | 2 |\n",
            b"b.md\n# T\n\n1) a\n   - b: c\n\n<p>x<script>y</script></p>\n",
            b"c.md\n---\n&a [*a]\n---\nx",
        ),
    ),
    "tool schemas": Target(
        tool_schemas,
        (
            b'{"type":"object","properties":{"a":{"type":"array","items":{"type":"string"}}}}',
            b'{"type":"object","$ref":"#"}',
            b'{"type":"object","$ref":"#/nowhere"}',
            b'{"type":"object","properties":{"a":{"items":{"pattern":"("}}}}',
            DEEP,
        ),
    ),
    "tool calls": Target(
        tool_calls,
        (b'<tool_call>{"name": "f", "arguments": {"a": "b"}}</tool_call>', DEEP, b'{"name":"f","arguments":5}'),
    ),
    "endpoints": Target(
        endpoints,
        (
            b'data: {"choices":[{"delta":{"content":"a"},"logprobs":{"content":[{"token":"a","logprob":-1}]}}]}\n\n'
            b'data: {"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}\n\ndata: [DONE]\n\n',
            b"data: 5\n\n",
            b"data: " + DEEP + b"\n\n",
        ),
    ),
    "error details": Target(
        error_details,
        (
            b"\x08\x05\x12\x01x\x1a<\n(type.googleapis.com/google.rpc.ErrorInfo\x12\x10\n\x01R\x12\x08deskmesh",
            b"\x1a;\n(type.googleapis.com/google.rpc.RetryInfo\x12\x0f\n\r\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        ),
    ),
    "session notices": Target(
        session_notices,
        (
            b'{"conversation": "cnv_1", "author": "customer", "user": "usr_1", "typing": true}',
            b'{"conversation": "cnv_1", "first": 1, "sizes": [1, 2], "closes": [2]}\nabc',
            b'{"conversation": [], "first": 1, "sizes": [1], "closes": []}\na',
            b'{"conversation": "c", "first": 1, "sizes": [], "closes": []}\n',
            DEEP,
        ),
    ),
    "revocation notices": Target(
        revocation_notices,
        (
            b'{"revoked": [["usr_1", 1.5]]}',
            b'{"revoked": [["usr_1", 1' + b"0" * 400 + b"]]}",
            b'{"revoked": [["usr_1", Infinity]]}',
            DEEP,
        ),
    ),
    "usage messages": Target(usage_messages, (b"org_1\n", b"\xff\n\x0a\x00")),
    "trace headers": Target(trace_headers, (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",)),
}
