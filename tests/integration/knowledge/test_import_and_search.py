"""Importing files and finding their passages, over the wire."""

import grpc
import pytest

from deskmesh.knowledge.v1 import ingest_service_pb2 as pb
from deskmesh.knowledge.v1.article_service_pb2 import UnpublishArticleRequest
from services.common.ids import new_id
from tests.integration.knowledge.desk import Desk
from tests.support.server import refused

RETURNS = b"---\ntitle: Returns\ncategory: orders\n---\n\n## How long\n\nCustomers return parcels within 45 days.\n"
REPAIRS = b"---\ntitle: Repairs\n---\n\n## Zips\n\nBroken zips are mended free of charge.\n"


async def test_files_become_articles_and_are_left_alone_when_unchanged(desk: Desk) -> None:
    results, summary = await desk.load({"returns.md": RETURNS, "bad.md": b"\xff", "repairs.md": REPAIRS})
    assert [result.outcome for result in results] == [
        pb.DOCUMENT_OUTCOME_CREATED,
        pb.DOCUMENT_OUTCOME_SKIPPED,
        pb.DOCUMENT_OUTCOME_CREATED,
    ]
    assert "not UTF-8" in results[1].skipped_because
    assert (results[1].article_id, results[0].passages) == ("", 1)
    assert (summary.created, summary.skipped, summary.passages) == (2, 1, 2)
    _, again = await desk.load({"returns.md": RETURNS, "repairs.md": REPAIRS})
    assert (again.unchanged, again.passages) == (2, 0)
    _, changed = await desk.load({"returns.md": RETURNS.replace(b"45", b"60")})
    assert changed.updated == 1
    read = await desk.get(slug="returns")
    assert read.article.id == results[0].article_id
    assert read.passages[0].text == "Customers return parcels within 60 days."


async def test_passages_are_found_by_words_and_by_meaning(desk: Desk) -> None:
    await desk.load({"returns.md": RETURNS, "repairs.md": REPAIRS})
    found = await desk.search("My zips are broken, do you mend them?")
    best = found.hits[0]
    assert (best.passage.heading, best.passage.url) == ("Zips", "/help/repairs#zips")
    assert (best.text_rank, best.vector_rank) == (1, 1)
    assert 0 < best.similarity <= 1.0001
    assert len(found.query_embedding) == 384
    assert len((await desk.search("parcels zips", limit=1)).hits) == 1
    assert not (await desk.search("zips", locale="de")).hits
    assert not (await desk.search("zips", organization_id=new_id("org"))).hits


async def test_what_is_taken_away_is_not_found(desk: Desk) -> None:
    [result], _ = await desk.load({"repairs.md": REPAIRS})
    await desk.articles.UnpublishArticle(UnpublishArticleRequest(article_id=result.article_id), metadata=desk.headers())
    assert not (await desk.search("broken zips")).hits


async def test_without_an_embedder_search_goes_by_words(desk: Desk) -> None:
    await desk.load({"repairs.md": REPAIRS})
    desk.embedder.vectors.is_down = True
    found = await desk.search("are broken zips mended")
    assert found.hits[0].passage.heading == "Zips"
    assert (found.hits[0].similarity, found.hits[0].vector_rank, list(found.query_embedding)) == (0.0, 0, [])


async def test_without_an_embedder_an_import_ends_unavailable(desk: Desk) -> None:
    desk.embedder.vectors.is_down = True
    async with refused() as refusal:
        await desk.load({"repairs.md": REPAIRS})
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
    assert not (await desk.page("owner")).articles


@pytest.mark.parametrize("query", ["", "x" * 2001, "a\0b"])
async def test_queries_have_limits(desk: Desk, query: str) -> None:
    async with refused() as refusal:
        await desk.search(query)
    assert (refusal.error.reason, refusal.error.violations[0][0]) == ("INVALID_FIELD", "query")


async def test_only_those_who_may_publish_import(desk: Desk) -> None:
    async with refused() as refusal:
        await desk.load({"returns.md": RETURNS}, "agent")
    assert refusal.error.reason == "PERMISSION_MISSING"
    async with refused() as refusal:
        await desk.load({})
    assert refusal.error.violations[0][0] == "documents"
