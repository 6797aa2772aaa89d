"""The RPCs. Each says what is asked, has it done, and says what came of it."""

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from deskmesh.knowledge.v1 import article_service_pb2, ingest_service_pb2, search_service_pb2
from deskmesh.knowledge.v1.article_service_pb2_grpc import ArticleServiceServicer
from deskmesh.knowledge.v1.ingest_service_pb2_grpc import IngestServiceServicer
from deskmesh.knowledge.v1.search_service_pb2_grpc import SearchServiceServicer
from services.common.context import caller, idempotency
from services.knowledge import mapping
from services.knowledge.domain import DocumentReport
from services.knowledge.usecases.articles import Articles
from services.knowledge.usecases.importing import Importing
from services.knowledge.usecases.searching import Searching

Context = grpc.aio.ServicerContext[Any, Any]


class ArticleServicer(ArticleServiceServicer):
    """deskmesh.knowledge.v1.ArticleService."""

    def __init__(self, articles: Articles) -> None:
        self._articles = articles

    async def CreateArticle(
        self, request: article_service_pb2.CreateArticleRequest, context: Context
    ) -> article_service_pb2.CreateArticleResponse:
        article = await self._articles.create(mapping.to_create(request, caller(), idempotency()))
        return article_service_pb2.CreateArticleResponse(article=mapping.article(article))

    async def UpdateArticle(
        self, request: article_service_pb2.UpdateArticleRequest, context: Context
    ) -> article_service_pb2.UpdateArticleResponse:
        article = await self._articles.update(mapping.to_update(request, caller()))
        return article_service_pb2.UpdateArticleResponse(article=mapping.article(article))

    async def PublishArticle(
        self, request: article_service_pb2.PublishArticleRequest, context: Context
    ) -> article_service_pb2.PublishArticleResponse:
        article = await self._articles.publish(caller().organization_id, request.article_id)
        return article_service_pb2.PublishArticleResponse(article=mapping.article(article))

    async def UnpublishArticle(
        self, request: article_service_pb2.UnpublishArticleRequest, context: Context
    ) -> article_service_pb2.UnpublishArticleResponse:
        article = await self._articles.unpublish(caller().organization_id, request.article_id)
        return article_service_pb2.UnpublishArticleResponse(article=mapping.article(article))

    async def GetArticle(
        self, request: article_service_pb2.GetArticleRequest, context: Context
    ) -> article_service_pb2.GetArticleResponse:
        article, passages = await self._articles.read(mapping.to_read(request, caller()))
        return article_service_pb2.GetArticleResponse(
            article=mapping.article(article), passages=map(mapping.passage, passages)
        )

    async def ListArticles(
        self, request: article_service_pb2.ListArticlesRequest, context: Context
    ) -> article_service_pb2.ListArticlesResponse:
        page = await self._articles.list(mapping.to_list(request, caller()))
        return article_service_pb2.ListArticlesResponse(
            articles=map(mapping.article, page.articles), next_page_token=page.next_page_token
        )


class IngestServicer(IngestServiceServicer):
    """deskmesh.knowledge.v1.IngestService."""

    def __init__(self, importing: Importing) -> None:
        self._importing = importing

    async def ImportDocuments(
        self, request: ingest_service_pb2.ImportDocumentsRequest, context: Context
    ) -> AsyncIterator[ingest_service_pb2.ImportDocumentsResponse]:
        reports: list[DocumentReport] = []
        async for report in self._importing.run(caller().organization_id, mapping.to_files(request)):
            reports.append(report)
            yield ingest_service_pb2.ImportDocumentsResponse(result=mapping.document_result(report))
        yield ingest_service_pb2.ImportDocumentsResponse(summary=mapping.import_summary(reports))


class SearchServicer(SearchServiceServicer):
    """deskmesh.knowledge.v1.SearchService."""

    def __init__(self, searching: Searching) -> None:
        self._searching = searching

    async def Search(
        self, request: search_service_pb2.SearchRequest, context: Context
    ) -> search_service_pb2.SearchResponse:
        found = await self._searching.run(mapping.to_search(request, caller()))
        return search_service_pb2.SearchResponse(hits=map(mapping.search_hit, found.hits), query_embedding=found.vector)
