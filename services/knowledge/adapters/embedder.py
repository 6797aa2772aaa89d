"""Vectors from the inference service, and the memory of those of recent queries."""

from collections import OrderedDict
from collections.abc import Sequence

import grpc
import grpc.aio

from deskmesh.inference.v1.embedding_service_pb2 import EmbedRequest
from deskmesh.inference.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from services.common.errors import Unavailable, from_rpc_error
from services.knowledge.domain import Vector
from services.knowledge.ports import Embedder
from services.knowledge.tables import DIMENSION

# A batch of passages takes a second or two on a slow processor; a query takes milliseconds.
BATCH_SECONDS = 60.0
QUERY_SECONDS = 5.0
RETRY_AFTER_SECONDS = 2.0
REMEMBERED_QUERIES = 2048

# Codes that mean "not now"; anything else is a defect and is shown as one.
_TRANSIENT = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.NOT_FOUND,
    }
)


class RemoteEmbedder:
    """EmbeddingService over the network."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = EmbeddingServiceStub(channel)

    async def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        """One vector a text, in order. Raises Unavailable when the service does not answer in time."""
        seconds = QUERY_SECONDS if len(texts) == 1 else BATCH_SECONDS
        try:
            response = await self._stub.Embed(EmbedRequest(texts=texts), timeout=seconds)
        except grpc.aio.AioRpcError as error:
            if error.code() not in _TRANSIENT:
                raise
            remote = from_rpc_error(error)
            raise Unavailable(retry_after_seconds=remote.retry_after_seconds or RETRY_AFTER_SECONDS) from error
        if response.dimension != DIMENSION:
            raise RuntimeError(f"{response.model} makes {response.dimension} numbers, the index holds {DIMENSION}")
        return [embedding.values for embedding in response.embeddings]


class RememberingEmbedder:
    """Answers repeated single texts from memory, the least recently used of which are forgotten."""

    def __init__(self, embedder: Embedder, size: int = REMEMBERED_QUERIES) -> None:
        self._embedder = embedder
        self._size = size
        self._known: OrderedDict[str, Vector] = OrderedDict()

    async def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        """As the embedder behind. Only single texts, which are queries, are remembered."""
        if len(texts) != 1:
            return await self._embedder.embed(texts)
        [text] = texts
        if text in self._known:
            self._known.move_to_end(text)
            return [self._known[text]]
        [vector] = await self._embedder.embed(texts)
        self._known[text] = vector
        if len(self._known) > self._size:
            self._known.popitem(last=False)
        return [vector]
