"""Articles over the wire: what each role may see and do, and how it is told no."""

import json
from typing import Any

import grpc
import pytest
import redis.asyncio

from deskmesh.knowledge.v1 import article_service_pb2
from services.common.ids import new_id
from tests.integration.knowledge.desk import Desk
from tests.support.server import refused

MIB = 1024 * 1024


async def test_an_article_is_written_published_read_and_taken_away(desk: Desk) -> None:
    draft = await desk.create(markdown="Top.\n\n## How long\n\n45 days.", category="orders", tags=["a", "b"])
    assert not draft.HasField("published")
    assert (draft.draft.number, draft.locale, list(draft.tags)) == (1, "en", ["a", "b"])
    published = await desk.publish(draft)
    assert not published.HasField("draft")
    assert published.published.HasField("published_at")
    by_slug = await desk.get(slug="returns")
    assert by_slug == await desk.get(article_id=draft.id)
    assert [(passage.heading, passage.anchor, passage.url) for passage in by_slug.passages] == [
        ("Returns", "", "/help/returns"),
        ("How long", "how-long", "/help/returns#how-long"),
    ]
    request = article_service_pb2.UnpublishArticleRequest(article_id=draft.id)
    await desk.articles.UnpublishArticle(request, metadata=desk.headers())
    async with refused() as refusal:
        await desk.get(article_id=draft.id)
    assert refusal.error.reason == "ARTICLE_NOT_FOUND"
    assert (await desk.get("agent", article_id=draft.id)).article.draft.number == 2


async def test_readers_see_published_versions_only(desk: Desk) -> None:
    article = await desk.create()
    async with refused() as refusal:
        await desk.get(article_id=article.id)
    assert refusal.error.code is grpc.StatusCode.NOT_FOUND
    await desk.publish(article)
    mask = {"paths": ["title", "markdown"]}
    request = article_service_pb2.UpdateArticleRequest(
        article_id=article.id,
        update_mask=mask,
        title="Sending back",
        markdown="Within 60 days.",
    )
    await desk.articles.UpdateArticle(request, metadata=desk.headers("agent"))
    reader, writer = await desk.get(article_id=article.id), await desk.get("agent", article_id=article.id)
    assert (reader.article.HasField("draft"), reader.article.published.title) == (False, "Returns")
    assert writer.article.draft.title == "Sending back"
    assert [listed.HasField("draft") for listed in (await desk.page()).articles] == [False]


async def test_lists_have_pages_filters_and_no_text(desk: Desk) -> None:
    for slug in ("c", "a", "b"):
        await desk.publish(await desk.create(slug, category="x" if slug == "a" else "y"))
    await desk.create("draft")
    first = await desk.page(page_size=2)
    assert [article.slug for article in first.articles] == ["a", "b"]
    assert first.articles[0].published.markdown == ""
    rest = await desk.page(page_size=2, page_token=first.next_page_token)
    assert ([article.slug for article in rest.articles], rest.next_page_token) == (["c"], "")
    assert [article.slug for article in (await desk.page(category="x")).articles] == ["a"]
    assert [article.slug for article in (await desk.page("agent")).articles] == ["a", "b", "c", "draft"]
    async with refused() as refusal:
        await desk.page(page_size=3, category="x", page_token=first.next_page_token)
    assert refusal.error.reason == "INVALID_PAGE_TOKEN"


async def test_a_repeated_request_has_one_effect(desk: Desk) -> None:
    request_id = new_id("req")
    first = await desk.create(request_id=request_id)
    assert (await desk.create(request_id=request_id)).id == first.id
    async with refused() as refusal:
        await desk.create(request_id=request_id, markdown="Other.")
    assert refusal.error.reason == "REQUEST_ID_REUSED"
    async with refused() as refusal:
        await desk.create()
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.ALREADY_EXISTS, "ARTICLE_SLUG_TAKEN")


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"slug": "Not a slug"}, "slug"),
        ({"slug": ""}, "slug"),
        ({"title": ""}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"markdown": ""}, "markdown"),
        ({"markdown": "x" * (MIB + 1)}, "markdown"),
        ({"markdown": "a\0b"}, "markdown"),
        ({"locale": "english!"}, "locale"),
        ({"tags": ["t"] * 21}, "tags"),
        ({"tags": [""]}, "tags[0]"),
        ({"request_id": "short"}, "request_id"),
    ],
)
async def test_bad_fields_are_named_and_nothing_is_written(desk: Desk, values: dict[str, Any], field: str) -> None:
    async with refused() as refusal:
        await desk.create(**({"slug": "fine"} | values))
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert field in [violated for violated, _ in refusal.error.violations]
    assert not (await desk.page("agent")).articles


@pytest.mark.parametrize(
    ("paths", "field"),
    [(["slug"], "update_mask"), ([], "update_mask"), (["title"], "title"), (["markdown"], "markdown")],
)
async def test_updates_of_what_cannot_change_are_refused(desk: Desk, paths: list[str], field: str) -> None:
    article = await desk.create()
    request = article_service_pb2.UpdateArticleRequest(article_id=article.id, update_mask={"paths": paths})
    async with refused() as refusal:
        await desk.articles.UpdateArticle(request, metadata=desk.headers("agent"))
    assert refusal.error.violations[0][0] == field


async def test_what_cannot_be_published_says_why(desk: Desk) -> None:
    article = await desk.publish(await desk.create())
    async with refused() as refusal:
        await desk.publish(article)
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NOTHING_TO_PUBLISH")
    empty = await desk.create("empty", markdown="<!-- nothing -->")
    async with refused() as refusal:
        await desk.publish(empty)
    assert (refusal.error.reason, refusal.error.violations[0][0]) == ("INVALID_FIELD", "markdown")


async def test_publishing_without_an_embedder_is_unavailable_and_changes_nothing(desk: Desk) -> None:
    article = await desk.create()
    desk.embedder.vectors.is_down = True
    async with refused() as refusal:
        await desk.publish(article)
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
    assert refusal.error.retry_after_seconds
    assert not (await desk.page()).articles


async def test_vectors_of_another_model_are_a_defect_and_not_stored(desk: Desk) -> None:
    article = await desk.create()
    desk.embedder.dimension = 768
    async with refused() as refusal:
        await desk.publish(article)
    assert refusal.error.reason == "INTERNAL"
    assert "768" not in refusal.error.message
    assert not (await desk.page()).articles


async def test_roles_decide_what_may_be_done(desk: Desk) -> None:
    article = await desk.create()
    async with refused() as refusal:
        await desk.publish(article, "agent")
    assert refusal.error.reason == "PERMISSION_MISSING"
    async with refused() as refusal:
        request = article_service_pb2.CreateArticleRequest(request_id=new_id("req"), slug="x", title="X", markdown="x")
        await desk.articles.CreateArticle(request, metadata=desk.headers("customer"))
    assert refusal.error.reason == "PERMISSION_MISSING"


async def test_another_organization_finds_nothing(desk: Desk) -> None:
    article = await desk.publish(await desk.create())
    other = desk.headers("owner", new_id("org"))
    key = {"article_id": article.id}
    calls = [
        desk.articles.GetArticle(article_service_pb2.GetArticleRequest(**key), metadata=other),
        desk.articles.PublishArticle(article_service_pb2.PublishArticleRequest(**key), metadata=other),
        desk.articles.UnpublishArticle(article_service_pb2.UnpublishArticleRequest(**key), metadata=other),
        desk.articles.UpdateArticle(
            article_service_pb2.UpdateArticleRequest(**key, update_mask={"paths": ["title"]}, title="x"),
            metadata=other,
        ),
        desk.articles.GetArticle(article_service_pb2.GetArticleRequest(slug="returns"), metadata=other),
    ]
    for call in calls:
        async with refused() as refusal:
            await call
        assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.NOT_FOUND, "ARTICLE_NOT_FOUND")


async def test_an_article_of_the_largest_size_is_read_whole(desk: Desk) -> None:
    markdown = ("All work and no play. " * 40 + "\n\n") * 1200
    article = await desk.publish(await desk.create(markdown=markdown[: MIB - 10]))
    read = await desk.get("agent", article_id=article.id)
    assert len(read.article.published.markdown) == MIB - 10
    assert len(read.passages) > 1000


async def test_others_are_told_of_what_is_published(desk: Desk, redis_url: str) -> None:
    article = await desk.publish(await desk.create())
    store = redis.asyncio.Redis.from_url(redis_url)
    found: list[Any] = []
    last: Any = "0"
    while not found:
        streams: Any = await store.xread({"deskmesh:knowledge:articles": last}, block=5000)
        [[_, entries]] = streams
        last = entries[-1][0]
        found = [fields for _, fields in entries if fields[b"organization_id"].decode() == desk.organization_id]
    await store.aclose()
    assert json.loads(found[0][b"payload"]) == {
        "type": "knowledge.article_published",
        "article_id": article.id,
        "slug": "returns",
        "locale": "en",
        "version": 1,
    }
