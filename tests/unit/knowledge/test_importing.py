"""The import: what it makes of each file, in what order, and what it leaves alone."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from services.common.errors import Unavailable
from services.knowledge.domain import Article, DocumentReport, Outcome, Vector
from services.knowledge.usecases.articles import Articles, UpdateArticle
from services.knowledge.usecases.importing import File, Importing
from tests.contract.knowledge.memory import Memory, WordVectors

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ORG = "org_1"


def file(name: str, text: str = "Within 45 days.", **fields: str) -> File:
    lines = "\n".join(f"{key}: {value}" for key, value in {"title": name.title(), **fields}.items())
    return File(f"{name}.md", f"---\n{lines}\n---\n\n{text}\n".encode())


class Desk:
    def __init__(self) -> None:
        self.memory = Memory()
        self.embedder = WordVectors()
        self.importing = Importing(self.memory, self.embedder, lambda: NOW)
        self.articles = Articles(self.memory, self.embedder, lambda: NOW)

    async def run(self, *files: File) -> list[DocumentReport]:
        return [report async for report in self.importing.run(ORG, files)]

    def article(self, slug: str) -> Article:
        [found] = [each for each in self.memory.organizations[ORG].articles.values() if each.slug == slug]
        return found


@pytest.fixture
def desk() -> Desk:
    return Desk()


def outcomes(reports: Sequence[DocumentReport]) -> list[Outcome]:
    return [report.outcome for report in reports]


async def test_documents_are_created_left_alone_and_updated(desk: Desk) -> None:
    first = await desk.run(file("returns"), file("delivery", "One.\n\n## Two\n\nThree."))
    assert outcomes(first) == [Outcome.CREATED, Outcome.CREATED]
    assert [report.passages for report in first] == [1, 2]
    calls = len(desk.embedder.calls)
    again = await desk.run(file("returns"), file("delivery", "One.\n\n## Two\n\nThree."))
    assert outcomes(again) == [Outcome.UNCHANGED, Outcome.UNCHANGED]
    assert [(report.article_id, report.passages) for report in again] == [
        (report.article_id, report.passages) for report in first
    ]
    assert len(desk.embedder.calls) == calls
    changed = await desk.run(
        file("returns", "Within 60 days."), file("delivery", "One.\n\n## Two\n\nThree.", tags="[x]")
    )
    assert outcomes(changed) == [Outcome.UPDATED, Outcome.UPDATED]
    article = desk.article("returns")
    assert article.id == first[0].article_id
    assert article.published is not None
    assert (article.published.number, article.published.markdown.strip()) == (2, "Within 60 days.")
    assert desk.article("delivery").tags == ("x",)


async def test_each_file_is_judged_alone(desk: Desk) -> None:
    reports = await desk.run(
        file("good"),
        File("latin.md", b"# T\n\nna\xefve"),
        File("bare.md", b"no title"),
        File("comment.md", b"# T\n\n<!-- -->"),
        File("tangled.md", b"# T\n\n" + b"[" * 30_000),
        file("again", slug="good"),
        file("other"),
    )
    assert outcomes(reports) == [Outcome.CREATED, *[Outcome.SKIPPED] * 5, Outcome.CREATED]
    assert [report.path for report in reports][-1] == "other.md"
    because = [report.skipped_because for report in reports]
    assert "not UTF-8" in because[1]
    assert "no title" in because[2]
    assert "no text" in because[3]
    assert "brackets" in because[4]
    assert because[5] == 'Its slug "good" is that of good.md in the same import.'
    assert (because[0], because[6]) == ("", "")


async def test_the_same_slug_in_another_language_is_another_article(desk: Desk) -> None:
    assert outcomes(await desk.run(file("a", slug="x"), file("b", slug="x", locale="de"))) == [Outcome.CREATED] * 2


async def test_an_import_keeps_a_draft_and_publishes_again_what_was_taken_away(desk: Desk) -> None:
    [made] = await desk.run(file("returns"))
    edited = await desk.articles.update(UpdateArticle(ORG, made.article_id, markdown="Being written."))
    await desk.run(file("returns", "Within 60 days."))
    article = desk.article("returns")
    assert article.draft == edited.draft
    assert article.published is not None
    assert article.published.number == 3
    await desk.articles.unpublish(ORG, made.article_id)
    assert outcomes(await desk.run(file("returns", "Within 60 days."))) == [Outcome.UPDATED]


async def test_without_an_embedder_the_import_stops_and_nothing_is_half_written(desk: Desk) -> None:
    done: list[DocumentReport] = []
    reports = desk.importing.run(ORG, [file("one"), file("two")])
    done.append(await anext(reports))
    desk.embedder.is_down = True
    with pytest.raises(Unavailable):
        await anext(reports)
    assert outcomes(done) == [Outcome.CREATED]
    assert [article.slug for article in desk.memory.organizations[ORG].articles.values()] == ["one"]
    desk.embedder.is_down = False
    assert outcomes(await desk.run(file("one"), file("two"))) == [Outcome.UNCHANGED, Outcome.CREATED]


class Meddling(WordVectors):
    """While it embeds, another import brings the same article in, `times` times."""

    def __init__(self, memory: Memory, times: int) -> None:
        super().__init__()
        self._memory = memory
        self._times = times

    async def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        if self._times and "mine" in texts[0]:
            self._times -= 1
            other = Importing(self._memory, WordVectors(), lambda: NOW)
            async for _ in other.run(ORG, [file("returns", f"theirs {self._times}")]):
                pass
        return await super().embed(texts)


async def test_two_imports_of_one_document_end_with_one_article(desk: Desk) -> None:
    desk.importing = Importing(desk.memory, Meddling(desk.memory, times=2), lambda: NOW)
    assert outcomes(await desk.run(file("returns", "mine"))) == [Outcome.UPDATED]
    published = desk.article("returns").published
    assert published is not None
    assert published.markdown.strip() == "mine"
