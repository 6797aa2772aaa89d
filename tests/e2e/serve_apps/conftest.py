"""The models of the running stack, reached as the orchestrator reaches them: through Envoy, with its certificate."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc.aio
import pytest_asyncio

from deskmesh.inference.v1 import embedding_service_pb2_grpc, inference_service_pb2_grpc, router_service_pb2_grpc
from tests.support.stack import Stack

INFERENCE_OFFSET = 10


@dataclass(frozen=True)
class Models:
    """Stubs of the three services."""

    inference: "inference_service_pb2_grpc.InferenceServiceAsyncStub"
    embedding: "embedding_service_pb2_grpc.EmbeddingServiceAsyncStub"
    router: "router_service_pb2_grpc.RouterServiceAsyncStub"


def channel(stack: Stack, workload: str) -> grpc.aio.Channel:
    """A channel to the inference sidecar with a workload's certificate."""
    folder = stack.home / "pki" / workload
    ca, key, certificate = ((folder / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt"))
    return grpc.aio.secure_channel(
        f"127.0.0.1:{stack.base_port + INFERENCE_OFFSET}",
        grpc.ssl_channel_credentials(ca, key, certificate),
        options=[("grpc.ssl_target_name_override", "inference")],
    )


@pytest_asyncio.fixture(scope="session")
async def models(whole_stack: Stack) -> AsyncIterator[Models]:
    async with channel(whole_stack, "orchestrator") as opened:
        yield Models(
            inference_service_pb2_grpc.InferenceServiceStub(opened),
            embedding_service_pb2_grpc.EmbeddingServiceStub(opened),
            router_service_pb2_grpc.RouterServiceStub(opened),
        )
