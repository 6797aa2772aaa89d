"""A help centre of a few articles, in place of the knowledge service."""

from typing import Any

from deskmesh.knowledge.v1 import article_pb2, search_service_pb2, search_service_pb2_grpc
from tests.integration.orchestrator.neighbours.faults import Faults
from tests.integration.orchestrator.neighbours.words import embedding

ARTICLES = {
    "Returns policy": {
        "How long you have": "Items can be returned within 45 days of delivery. Shop purchases count from the receipt.",
        "Condition": "Returned items must be unworn and have their labels.",
    },
    "Standard delivery": {
        "Cost": "Standard delivery costs £3.95 per order. Orders worth £60 or more travel free of charge.",
        "Duration": "Standard delivery takes 3 to 5 working days after dispatch.",
    },
    "Gift cards": {"Validity": "A gift card is valid for 36 months from the day of purchase."},
}


class KnowledgeDouble(search_service_pb2_grpc.SearchServiceServicer):
    """Finds passages of ARTICLES by their words."""

    def __init__(self) -> None:
        self.faults = Faults()

    async def Search(self, request: Any, context: Any) -> Any:
        await self.faults.meet("Search")
        query = embedding(request.query)
        hits = []
        for title, sections in ARTICLES.items():
            slug = title.lower().replace(" ", "-")
            for position, (heading, text) in enumerate(sections.items()):
                passage = article_pb2.Passage(
                    id=f"psg_{slug}_{position}",
                    article_id=f"art_{slug}",
                    article_slug=slug,
                    article_title=title,
                    article_version=1,
                    heading=heading,
                    text=text,
                    position=position,
                    url=f"/help/{slug}",
                )
                similarity = float(query @ embedding(f"{title} {heading} {text}"))
                hits.append(search_service_pb2.SearchHit(passage=passage, score=similarity, similarity=similarity))
        hits.sort(key=lambda hit: -hit.similarity)
        return search_service_pb2.SearchResponse(hits=hits[: request.limit])
