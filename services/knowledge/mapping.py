"""Between the contract's messages and the domain."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from deskmesh.knowledge.v1 import article_pb2, article_service_pb2, ingest_service_pb2, search_service_pb2
from services.common.context import Caller, IdempotencyKey
from services.common.errors import InvalidInput
from services.knowledge.domain import (
    DEFAULT_LOCALE,
    Article,
    Document,
    DocumentReport,
    Hit,
    Outcome,
    Passage,
    Version,
)
from services.knowledge.usecases.articles import CreateArticle, ListArticles, ReadArticle, UpdateArticle
from services.knowledge.usecases.importing import File
from services.knowledge.usecases.searching import Search

WRITE = "articles.write"

_OUTCOMES = {
    Outcome.CREATED: ingest_service_pb2.DOCUMENT_OUTCOME_CREATED,
    Outcome.UPDATED: ingest_service_pb2.DOCUMENT_OUTCOME_UPDATED,
    Outcome.UNCHANGED: ingest_service_pb2.DOCUMENT_OUTCOME_UNCHANGED,
    Outcome.SKIPPED: ingest_service_pb2.DOCUMENT_OUTCOME_SKIPPED,
}


def to_create(request: article_service_pb2.CreateArticleRequest, caller: Caller, key: IdempotencyKey) -> CreateArticle:
    """The command to make an article."""
    document = Document(
        title=request.title,
        slug=request.slug,
        category=request.category,
        locale=request.locale or DEFAULT_LOCALE,
        tags=tuple(request.tags),
        markdown=request.markdown,
    )
    return CreateArticle(caller.organization_id, key, document)


def to_update(request: article_service_pb2.UpdateArticleRequest, caller: Caller) -> UpdateArticle:
    """The command to change what the mask names. Raises InvalidInput when a title or text is taken away."""
    named = set(request.update_mask.paths)
    if "title" in named and not request.title:
        raise InvalidInput(violations=[("title", "A title has 1 to 200 characters.")])
    if "markdown" in named and not request.markdown:
        raise InvalidInput(violations=[("markdown", "An article has text.")])
    return UpdateArticle(
        organization_id=caller.organization_id,
        article_id=request.article_id,
        title=request.title if "title" in named else None,
        markdown=request.markdown if "markdown" in named else None,
        category=request.category if "category" in named else None,
        tags=tuple(request.tags) if "tags" in named else None,
    )


def to_read(request: article_service_pb2.GetArticleRequest, caller: Caller) -> ReadArticle:
    """The question for one article."""
    return ReadArticle(
        organization_id=caller.organization_id,
        is_writer=caller.may(WRITE),
        article_id=request.article_id,
        slug=request.slug,
        locale=request.locale,
    )


def to_list(request: article_service_pb2.ListArticlesRequest, caller: Caller) -> ListArticles:
    """The question for a page of articles."""
    return ListArticles(
        organization_id=caller.organization_id,
        is_writer=caller.may(WRITE),
        category=request.category,
        locale=request.locale,
        page_size=request.page_size,
        page_token=request.page_token,
    )


def to_files(request: ingest_service_pb2.ImportDocumentsRequest) -> list[File]:
    """The files to import."""
    return [File(document.path, document.content) for document in request.documents]


def to_search(request: search_service_pb2.SearchRequest, caller: Caller) -> Search:
    """The query."""
    return Search(caller.organization_id, request.query, request.limit, request.locale)


def article(article: Article) -> article_pb2.Article:
    """An article as the contract has it."""
    return article_pb2.Article(
        id=article.id,
        slug=article.slug,
        locale=article.locale,
        category=article.category,
        tags=article.tags,
        published=_version(article.published),
        draft=_version(article.draft),
        created_at=_timestamp(article.created_at),
        updated_at=_timestamp(article.updated_at),
    )


def passage(passage: Passage) -> article_pb2.Passage:
    """A passage as the contract has it."""
    return article_pb2.Passage(
        id=passage.id,
        article_id=passage.article_id,
        article_slug=passage.article_slug,
        article_title=passage.article_title,
        article_version=passage.article_version,
        heading=passage.heading,
        anchor=passage.anchor,
        text=passage.text,
        position=passage.position,
        url=passage.url,
    )


def search_hit(hit: Hit) -> search_service_pb2.SearchHit:
    """A hit as the contract has it."""
    return search_service_pb2.SearchHit(
        passage=passage(hit.passage),
        score=hit.score,
        similarity=hit.similarity,
        text_rank=hit.text_rank,
        vector_rank=hit.vector_rank,
    )


def document_result(report: DocumentReport) -> ingest_service_pb2.DocumentResult:
    """One line of the import's report."""
    return ingest_service_pb2.DocumentResult(
        path=report.path,
        outcome=_OUTCOMES[report.outcome],
        article_id=report.article_id,
        passages=report.passages,
        skipped_because=report.skipped_because,
    )


def import_summary(reports: Sequence[DocumentReport]) -> ingest_service_pb2.ImportSummary:
    """The report's last line; passages of unchanged documents were not written and do not count."""
    counts = Counter(report.outcome for report in reports)
    written = (report for report in reports if report.outcome in {Outcome.CREATED, Outcome.UPDATED})
    return ingest_service_pb2.ImportSummary(
        created=counts[Outcome.CREATED],
        updated=counts[Outcome.UPDATED],
        unchanged=counts[Outcome.UNCHANGED],
        skipped=counts[Outcome.SKIPPED],
        passages=sum(report.passages for report in written),
    )


def _version(version: Version | None) -> article_pb2.ArticleVersion | None:
    if version is None:
        return None
    return article_pb2.ArticleVersion(
        number=version.number,
        title=version.title,
        markdown=version.markdown,
        created_at=_timestamp(version.created_at),
        published_at=None if version.published_at is None else _timestamp(version.published_at),
    )


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
