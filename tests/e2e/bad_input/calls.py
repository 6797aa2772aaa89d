"""Requests that are good until a test spoils one field, and calls of bare bytes."""

import uuid
from typing import Any

import grpc
import grpc.aio

from deskmesh.knowledge.v1 import article_service_pb2
from deskmesh.orchestrator.v1 import orchestrator_service_pb2
from deskmesh_client import DeskmeshError
from deskmesh_client.errors import from_rpc_error
from tests.support.stack import Stack


def request_id() -> str:
    return uuid.uuid4().hex


def message(**fields: Any) -> orchestrator_service_pb2.SendMessageRequest:
    values = {"request_id": request_id(), "conversation_id": "cnv_none", "text": "Hello"} | fields
    return orchestrator_service_pb2.SendMessageRequest(**values)


def article(**fields: Any) -> article_service_pb2.CreateArticleRequest:
    values = {"request_id": request_id(), "slug": "bad-input", "title": "Bad", "markdown": "Text."} | fields
    return article_service_pb2.CreateArticleRequest(**values)


async def refusal_of(
    stack: Stack, method: str, payload: bytes, token: str = "", *, timeout: float = 10
) -> DeskmeshError:
    """How the edge or a service refuses a unary call of bare bytes."""
    credentials = grpc.ssl_channel_credentials(stack.ca_file.read_bytes())
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    async with grpc.aio.secure_channel(f"localhost:{stack.edge_port}", credentials) as channel:
        rpc: Any = channel.unary_unary(method)
        try:
            await rpc(payload, metadata=metadata, timeout=10)
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error)
    raise AssertionError("the call was expected to fail")
