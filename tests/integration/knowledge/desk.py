"""People at the edge of the running knowledge service."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deskmesh.knowledge.v1 import article_pb2, article_service_pb2, ingest_service_pb2, search_service_pb2
from deskmesh.knowledge.v1.article_service_pb2_grpc import ArticleServiceStub
from deskmesh.knowledge.v1.ingest_service_pb2_grpc import IngestServiceStub
from deskmesh.knowledge.v1.search_service_pb2_grpc import SearchServiceStub
from services.common.ids import new_id
from tests.support.server import Headers, RunningService

if TYPE_CHECKING:
    from tests.integration.knowledge.conftest import PlayedEmbedder

Files = dict[str, bytes]


@dataclass
class Desk:
    """One organization's people and what they do."""

    service: RunningService
    embedder: "PlayedEmbedder"
    organization_id: str

    def headers(self, role: str = "owner", organization_id: str = "") -> Headers:
        return self.service.person(organization_id or self.organization_id, "usr_1", role)

    @property
    def articles(self) -> Any:
        return ArticleServiceStub(self.service.channel("edge"))

    async def create(self, slug: str = "returns", **values: Any) -> article_pb2.Article:
        fields = {"title": slug.title(), "markdown": "Within 45 days.", "request_id": new_id("req")} | values
        request = article_service_pb2.CreateArticleRequest(slug=slug, **fields)
        response = await self.articles.CreateArticle(request, metadata=self.headers("agent"))
        article: article_pb2.Article = response.article
        return article

    async def publish(self, article: article_pb2.Article, role: str = "owner") -> article_pb2.Article:
        request = article_service_pb2.PublishArticleRequest(article_id=article.id)
        published: article_pb2.Article = (
            await self.articles.PublishArticle(request, metadata=self.headers(role))
        ).article
        return published

    async def get(
        self, role: str = "customer", organization_id: str = "", **key: str
    ) -> article_service_pb2.GetArticleResponse:
        request = article_service_pb2.GetArticleRequest(**key)
        response: article_service_pb2.GetArticleResponse = await self.articles.GetArticle(
            request, metadata=self.headers(role, organization_id)
        )
        return response

    async def page(self, role: str = "customer", **values: Any) -> article_service_pb2.ListArticlesResponse:
        request = article_service_pb2.ListArticlesRequest(**values)
        response: article_service_pb2.ListArticlesResponse = await self.articles.ListArticles(
            request, metadata=self.headers(role)
        )
        return response

    async def load(
        self, files: Files, role: str = "supervisor"
    ) -> tuple[list[ingest_service_pb2.DocumentResult], ingest_service_pb2.ImportSummary]:
        """Import files; the report's lines and its summary, which must be the last frame."""
        documents = [ingest_service_pb2.Document(path=path, content=content) for path, content in files.items()]
        stub: Any = IngestServiceStub(self.service.channel("edge"))
        request = ingest_service_pb2.ImportDocumentsRequest(documents=documents)
        frames = [frame async for frame in stub.ImportDocuments(request, metadata=self.headers(role))]
        assert [frame.WhichOneof("frame") for frame in frames] == ["result"] * len(files) + ["summary"]
        return [frame.result for frame in frames[:-1]], frames[-1].summary

    async def search(
        self, query: str, role: str = "customer", organization_id: str = "", **values: Any
    ) -> search_service_pb2.SearchResponse:
        stub: Any = SearchServiceStub(self.service.channel("edge"))
        response: search_service_pb2.SearchResponse = await stub.Search(
            search_service_pb2.SearchRequest(query=query, **values),
            metadata=self.headers(role, organization_id),
        )
        return response
