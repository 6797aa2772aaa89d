"""The service, wired."""

from contextlib import AsyncExitStack
from functools import partial

from deskmesh.knowledge.v1.article_service_pb2_grpc import add_ArticleServiceServicer_to_server
from deskmesh.knowledge.v1.ingest_service_pb2_grpc import add_IngestServiceServicer_to_server
from deskmesh.knowledge.v1.search_service_pb2_grpc import add_SearchServiceServicer_to_server
from services.common.janitor import request_ids
from services.common.outbox import OutboxRelay
from services.common.server import Platform, ServicerRegistration
from services.knowledge import tables
from services.knowledge.adapters.embedder import RememberingEmbedder, RemoteEmbedder
from services.knowledge.adapters.work import SqlWork
from services.knowledge.servicer import ArticleServicer, IngestServicer, SearchServicer
from services.knowledge.settings import KnowledgeSettings
from services.knowledge.usecases.articles import Articles
from services.knowledge.usecases.importing import Importing
from services.knowledge.usecases.searching import Searching


async def wire(stack: AsyncExitStack, platform: Platform[KnowledgeSettings]) -> list[ServicerRegistration]:
    """Build the servicers; the outbox relay runs until the stack closes."""
    await stack.enter_async_context(platform.janitor(request_ids(tables.idempotency_records, platform.settings)))
    await stack.enter_async_context(OutboxRelay("knowledge", platform.sessionmaker, platform.redis, tables.outbox))
    work = partial(SqlWork, platform.sessionmaker)
    embedder = RemoteEmbedder(platform.channels.channel(platform.settings.inference_address, "inference"))
    return [
        ServicerRegistration(
            add_ArticleServiceServicer_to_server, ArticleServicer(Articles(work, embedder, platform.clock))
        ),
        ServicerRegistration(
            add_IngestServiceServicer_to_server, IngestServicer(Importing(work, embedder, platform.clock))
        ),
        ServicerRegistration(
            add_SearchServiceServicer_to_server, SearchServicer(Searching(work, RememberingEmbedder(embedder)))
        ),
    ]
