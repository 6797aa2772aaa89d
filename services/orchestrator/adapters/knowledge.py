"""The help centre of the knowledge service."""

import grpc.aio

from deskmesh.knowledge.v1 import search_service_pb2, search_service_pb2_grpc
from services.orchestrator.adapters.remote import translated
from services.orchestrator.answering.passages import Passage

CALL_SECONDS = 10.0
QUERY_LENGTH = 2000


class KnowledgeClient:
    """Calls act for the person in the calling context."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = search_service_pb2_grpc.SearchServiceStub(channel)

    async def search(self, query: str, limit: int) -> list[Passage]:
        request = search_service_pb2.SearchRequest(query=query[:QUERY_LENGTH], limit=limit)
        with translated():
            answered = await self._stub.Search(request, timeout=CALL_SECONDS)
        return [
            Passage(
                id=hit.passage.id,
                article_id=hit.passage.article_id,
                article_title=hit.passage.article_title,
                article_version=hit.passage.article_version,
                heading=hit.passage.heading,
                text=hit.passage.text,
                url=hit.passage.url,
                similarity=hit.similarity,
                rank=rank,
                text_rank=hit.text_rank,
                vector_rank=hit.vector_rank,
            )
            for rank, hit in enumerate(answered.hits, start=1)
        ]
