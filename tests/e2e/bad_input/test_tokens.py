"""Who calls is proven, never believed: forged and missing tokens, and headers that name somebody else."""

import base64
import json
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deskmesh.auth.v1 import auth_service_pb2
from deskmesh.inference.v1 import embedding_service_pb2, embedding_service_pb2_grpc
from deskmesh_client import DeskmeshError
from deskmesh_client.errors import from_rpc_error
from tests.e2e.bad_input.calls import refusal_of
from tests.support.stack import Stack


def unsigned(claims: dict[str, Any]) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


def forged(kind: str, real: str) -> str:
    """A token that must not be taken, made from one that holds."""
    header = jwt.get_unverified_header(real)
    claims = jwt.decode(real, options={"verify_signature": False})
    foreign = Ed25519PrivateKey.generate()
    match kind:
        case "garbage":
            return "not.a.token"
        case "alg none":
            return unsigned(claims)
        case "foreign key":
            return jwt.encode(claims, foreign, "EdDSA", {"kid": header["kid"]})
        case "unknown key":
            return jwt.encode(claims, foreign, "EdDSA", {"kid": "nobody"})
        case "changed role":
            head, _, signature = real.split(".")
            body = base64.urlsafe_b64encode(json.dumps(claims | {"roles": ["owner"]}).encode()).rstrip(b"=").decode()
            return f"{head}.{body}.{signature}"
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", ["garbage", "alg none", "foreign key", "unknown key", "changed role"])
async def test_a_forged_token_is_refused_at_the_edge(stack: Stack, kind: str) -> None:
    async with stack.client("customer") as client:
        token = forged(kind, await client.access_token())
    error = await refusal_of(stack, "/deskmesh.auth.v1.AuthService/WhoAmI", b"", token)
    assert (error.code, error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


async def test_a_missing_token_is_named(stack: Stack) -> None:
    async with stack.client() as client:
        with pytest.raises(DeskmeshError) as caught:
            await client.auth.WhoAmI(auth_service_pb2.WhoAmIRequest())
    assert caught.value.code == grpc.StatusCode.UNAUTHENTICATED
    assert caught.value.reason == "TOKEN_MISSING"


async def test_headers_that_name_another_person_are_dropped_at_the_edge(stack: Stack) -> None:
    async with stack.client("customer") as client:
        pretended = (
            ("deskmesh-acting-organization", "org_other"),
            ("deskmesh-acting-user", "usr_other"),
            ("deskmesh-acting-roles", "owner"),
        )
        who = await client.auth.WhoAmI(auth_service_pb2.WhoAmIRequest(), metadata=pretended)
    assert who.principal.user.email == stack.sign_in("customer").email


@pytest.mark.parametrize("service_account", ["tickets", None])
async def test_a_workload_that_may_not_call_is_refused(stack: Stack, service_account: str | None) -> None:
    """`tickets` holds a good certificate but is no caller of the embedder; without any certificate nobody gets in."""
    root = stack.ca_file.read_bytes()
    if service_account is None:
        credentials = grpc.ssl_channel_credentials(root)
    else:
        folder = stack.home / "pki" / service_account
        credentials = grpc.ssl_channel_credentials(
            root, (folder / "tls.key").read_bytes(), (folder / "tls.crt").read_bytes()
        )
    target = f"127.0.0.1:{stack.base_port + 10}"
    async with grpc.aio.secure_channel(
        target, credentials, [("grpc.ssl_target_name_override", "localhost")]
    ) as channel:
        stub = embedding_service_pb2_grpc.EmbeddingServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Embed(embedding_service_pb2.EmbedRequest(texts=["hello"]), timeout=10)
    refusals = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED)
    assert from_rpc_error(caught.value).code in refusals
