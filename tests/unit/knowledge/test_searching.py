"""The search's use case, and the memory of queries."""

import logging

import pytest

from services.common.errors import Unavailable
from services.knowledge.adapters.embedder import RememberingEmbedder
from services.knowledge.usecases.importing import File, Importing
from services.knowledge.usecases.searching import Search, Searching
from tests.contract.knowledge.memory import Memory, WordVectors
from tests.unit.knowledge.test_importing import NOW, ORG


@pytest.fixture
async def memory() -> Memory:
    memory = Memory()
    files = [File("a.md", b"# Gift cards\n\nGift cards never expire."), File("b.md", b"# Repairs\n\nZips are mended.")]
    async for _ in Importing(memory, WordVectors(), lambda: NOW).run(ORG, files):
        pass
    return memory


async def test_search_returns_hits_and_the_vector_of_the_query(memory: Memory) -> None:
    found = await Searching(memory, WordVectors()).run(Search(ORG, "do gift cards expire", limit=1))
    assert [hit.passage.article_title for hit in found.hits] == ["Gift cards"]
    assert found.vector == WordVectors.vector("do gift cards expire")


async def test_without_an_embedder_words_alone_decide(memory: Memory, caplog: pytest.LogCaptureFixture) -> None:
    embedder = WordVectors()
    embedder.is_down = True
    with caplog.at_level(logging.WARNING):
        found = await Searching(memory, embedder).run(Search(ORG, "are zips mended"))
    assert [hit.passage.article_title for hit in found.hits] == ["Repairs"]
    assert (found.hits[0].similarity, found.vector) == (0.0, ())
    assert "words alone" in caplog.text


async def test_recent_queries_are_embedded_once() -> None:
    behind = WordVectors()
    embedder = RememberingEmbedder(behind, size=2)
    for query in ("a", "b", "a", "c", "a", "b"):
        assert await embedder.embed([query]) == [WordVectors.vector(query)]
    assert behind.calls == [["a"], ["b"], ["c"], ["b"]]
    await embedder.embed(["a", "b"])
    assert behind.calls[-1] == ["a", "b"]


async def test_a_failure_is_not_remembered() -> None:
    behind = WordVectors()
    behind.is_down = True
    embedder = RememberingEmbedder(behind)
    with pytest.raises(Unavailable):
        await embedder.embed(["a"])
    behind.is_down = False
    assert await embedder.embed(["a"]) == [WordVectors.vector("a")]
