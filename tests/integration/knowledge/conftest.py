"""The knowledge service on real stores and mTLS; the embedder's place is taken by word vectors behind real gRPC."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest_asyncio

from deskmesh.inference.v1.embedding_service_pb2 import Embedding, EmbedRequest, EmbedResponse
from deskmesh.inference.v1.embedding_service_pb2_grpc import (
    EmbeddingServiceServicer,
    add_EmbeddingServiceServicer_to_server,
)
from services.common.server import Platform, ServicerRegistration
from services.common.settings import ServiceSettings
from services.knowledge.app import wire
from services.knowledge.settings import KnowledgeSettings
from tests.contract.knowledge.memory import DIMENSION, WordVectors
from tests.integration.knowledge.desk import Desk
from tests.support.server import RunningService, TestStack


class PlayedEmbedder(EmbeddingServiceServicer):
    """Word vectors as a service; `vectors.is_down` makes it answer UNAVAILABLE."""

    def __init__(self) -> None:
        self.vectors = WordVectors()
        self.dimension = DIMENSION

    async def Embed(self, request: EmbedRequest, context: Any) -> EmbedResponse:
        vectors = await self.vectors.embed(request.texts)
        return EmbedResponse(
            embeddings=[Embedding(values=vector) for vector in vectors], model="word-vectors", dimension=self.dimension
        )


@pytest_asyncio.fixture(scope="session")
async def running_knowledge(stack: TestStack) -> AsyncIterator[tuple[RunningService, PlayedEmbedder]]:
    played = PlayedEmbedder()

    async def wire_embedder(_: AsyncExitStack, __: Platform[ServiceSettings]) -> list[ServicerRegistration]:
        return [ServicerRegistration(add_EmbeddingServiceServicer_to_server, played)]

    database_url = stack.postgres.url("knowledge")
    async with (
        stack.service("inference", ServiceSettings, wire_embedder, database_url=database_url) as inference,
        stack.service("knowledge", KnowledgeSettings, wire, inference_address=inference.address) as service,
    ):
        yield service, played


@pytest_asyncio.fixture
async def desk(running_knowledge: tuple[RunningService, PlayedEmbedder], organization_id: str) -> AsyncIterator[Desk]:
    service, played = running_knowledge
    yield Desk(service, played, organization_id)
    played.vectors.is_down = False
    played.dimension = DIMENSION
