"""The demo shop is the ground truth of the answer measurements, so its own consistency is tested here."""

import datetime
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import pytest
import yaml

from demo.matching import mentions, states_the_facts

DEMO = Path(__file__).parents[3] / "demo"
ARTICLE_FILES = sorted((DEMO / "articles").glob("*.md"))
CATEGORIES = {"account", "delivery", "orders", "payment", "products", "returns", "service", "shops"}
DECISIONS = {"answer", "clarify", "ticket", "handoff"}
# A sentence is quoted alone, so it may not lean on the one before.
LEANING = re.compile(r"(It|This|That|These|Those|They|He|She|Such|Then|Otherwise|However|Also|But|And)\b")


class NotAnArticleError(Exception):
    """The file cannot be imported; the message says why."""


@dataclass(frozen=True)
class Article:
    """A parsed help article; ``sections`` maps each heading to its Markdown, in the order of the file."""

    file_name: str
    front: dict[str, object]
    sections: dict[str, str]
    word_count: int

    @property
    def slug(self) -> str:
        return str(self.front["slug"])

    def sentences(self) -> list[str]:
        return [sentence for text in self.sections.values() for sentence in sentences_of(text)]


def parse(path: Path) -> Article:
    """Read one Markdown article. Raises NotAnArticleError."""
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotAnArticleError("not UTF-8") from error
    match = re.fullmatch(r"---\n(.*?)\n---\n(.*)", text, re.DOTALL)
    if match is None:
        raise NotAnArticleError("no front matter")
    try:
        front = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        raise NotAnArticleError("invalid front matter") from error
    if not isinstance(front, dict) or not front.get("title"):
        raise NotAnArticleError("no title")
    if not match[2].strip():
        raise NotAnArticleError("empty body")
    before, *parts = re.split(r"(?m)^## (.+)\n", match[2])
    assert not before.strip(), f"{path.name}: text before the first heading belongs to no passage"
    assert len(set(parts[::2])) == len(parts[::2]), f"{path.name}: a heading occurs twice"
    return Article(path.name, front, dict(zip(parts[::2], parts[1::2], strict=True)), len(match[2].split()))


def plain(markdown: str) -> str:
    """Markdown without link targets and code marks."""
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", markdown).replace("`", "")


def sentences_of(markdown: str) -> list[str]:
    """The prose sentences of a section: no tables, no code blocks; list items that are sentences count."""
    prose = re.sub(r"(?ms)^```.*?^```", "", markdown)
    lines = [re.sub(r"^\s*([-*+]|\d+\.)\s+", "", line) for line in plain(prose).splitlines() if line[:1] != "|"]
    found = chain.from_iterable(re.split(r"(?<=[.!?])\s+(?=[A-Z£\"])", line.strip()) for line in lines)
    return [sentence for sentence in found if sentence.endswith((".", "!", "?"))]


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def read_lines(name: str) -> list[dict[str, object]]:
    lines = (DEMO / "questions" / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@dataclass(frozen=True)
class Question:
    """One line of a file of questions; an unanswerable question has no article."""

    id: str
    question: str
    kind: str
    article_slug: str | None
    heading: str | None
    must_contain: list[list[str]]
    must_not_contain: list[str]
    answerable: bool = True
    also: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, name: str) -> "list[Question]":
        return [cls(**line) for line in read_lines(name)]  # type: ignore[arg-type]


ARTICLES = {article.slug: article for article in map(parse, ARTICLE_FILES)}
GOLDEN = Question.read("golden.jsonl")
TRYOUT = Question.read("tryout.jsonl")
MORE = Question.read("fresh-more.jsonl")
PLAIN = Question.read("plain-tuned.jsonl") + Question.read("plain-held.jsonl")
ANSWERABLE = [question for question in GOLDEN + TRYOUT + MORE + PLAIN if question.answerable]


def section_of(question: Question) -> str:
    assert question.article_slug is not None
    assert question.heading is not None
    return plain(ARTICLES[question.article_slug].sections[question.heading])


def test_slugs_are_unique_and_name_the_file() -> None:
    assert 36 <= len(ARTICLE_FILES) <= 40
    assert len(ARTICLES) == len(ARTICLE_FILES)
    assert [f"{article.slug}.md" for article in ARTICLES.values()] == [path.name for path in ARTICLE_FILES]
    assert len({article.front["title"] for article in ARTICLES.values()}) == len(ARTICLES)


@pytest.mark.parametrize("article", ARTICLES.values(), ids=lambda article: article.slug)
def test_article_has_the_form_the_readme_promises(article: Article) -> None:
    assert list(article.front) == ["title", "slug", "category", "locale", "tags", "updated"]
    assert article.front["category"] in CATEGORIES
    assert article.front["locale"] == "en"
    assert isinstance(article.front["updated"], datetime.date)
    tags = article.front["tags"]
    assert isinstance(tags, list)
    assert tags
    assert all(isinstance(tag, str) for tag in tags)
    assert 250 <= article.word_count <= 600
    assert 2 <= len(article.sections) <= 6
    for heading, text in article.sections.items():
        assert 1 <= len(re.split(r"\n\s*\n", text.strip())) <= 4, heading
        assert sentences_of(text), heading


@pytest.mark.parametrize("article", ARTICLES.values(), ids=lambda article: article.slug)
def test_every_sentence_can_be_quoted_alone(article: Article) -> None:
    leaning = [sentence for sentence in article.sentences() if LEANING.match(sentence)]
    too_long = [sentence for sentence in article.sentences() if len(sentence.split()) > 40]
    assert (leaning, too_long) == ([], [])


def test_no_sentence_occurs_twice() -> None:
    count = Counter(
        re.sub(r"\W+", " ", sentence).casefold() for article in ARTICLES.values() for sentence in article.sentences()
    )
    assert [sentence for sentence, times in count.items() if times > 1] == []


def test_links_lead_to_an_article_and_heading() -> None:
    links = [
        (article.slug, target)
        for article in ARTICLES.values()
        for text in article.sections.values()
        for target in re.findall(r"\]\(([^)]+)\)", text)
    ]
    assert len(links) >= 7
    for slug, target in links:
        file_name, _, fragment = target.partition("#")
        linked = ARTICLES[file_name.removesuffix(".md")]
        assert not fragment or fragment in map(anchor, linked.sections), f"{slug} links to {target}"


def test_markdown_that_is_hard_to_import_is_represented() -> None:
    texts = {path.stem: path.read_text(encoding="utf-8") for path in ARTICLE_FILES}
    assert texts["shop-opening-hours"].count("\n|") >= 12
    assert re.search(r"(?m)^     \* with working zips$", texts["trade-in"])
    assert "```text\nFS-BRI-004217" in texts["order-numbers"]
    assert "](cancelling-an-order.md#cancelling-before-packing)" in texts["changing-an-order"]


@pytest.mark.parametrize(
    ("file_name", "reason"),
    [
        ("no-title.md", "no title"),
        ("invalid-front-matter.md", "invalid front matter"),
        ("empty-body.md", "empty body"),
    ],
)
def test_broken_file_is_broken_for_its_own_reason(file_name: str, reason: str) -> None:
    with pytest.raises(NotAnArticleError, match=f"^{reason}$"):
        parse(DEMO / "broken" / file_name)


def test_article_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "not-utf8.md"
    path.write_bytes("---\ntitle: Café in the hut\nslug: not-utf8\n---\n\n## Cakes\n\nA cake is £3.\n".encode("cp1252"))
    with pytest.raises(NotAnArticleError, match=r"^not UTF-8$"):
        parse(path)


def test_golden_questions_are_a_hundred_half_of_them_paraphrased_over_all_articles() -> None:
    assert len(GOLDEN) == 100
    assert Counter(question.kind for question in GOLDEN) == {"direct": 50, "paraphrase": 50}
    assert {question.article_slug for question in GOLDEN} == set(ARTICLES)
    assert all(question.answerable for question in GOLDEN)


def test_tryout_questions_are_fifty_and_share_nothing_with_the_golden_ones() -> None:
    assert len(TRYOUT) == 50
    assert {question.kind for question in TRYOUT} == {"direct", "paraphrase"}
    unanswerable = [question for question in TRYOUT if not question.answerable]
    assert len(unanswerable) >= 12
    for question in unanswerable:
        assert (question.article_slug, question.heading) == (None, None)
        assert not question.must_contain
        assert not question.must_not_contain
    golden_facts = [(question.article_slug, question.must_contain) for question in GOLDEN]
    assert not [q.id for q in TRYOUT if q.answerable and (q.article_slug, q.must_contain) in golden_facts]


def test_ids_and_wordings_are_unique_over_all_question_files() -> None:
    decisions = read_lines("decisions.jsonl")
    ids = [question.id for question in GOLDEN + TRYOUT + MORE + PLAIN] + [str(line["id"]) for line in decisions]
    wordings = [question.question.casefold() for question in GOLDEN + TRYOUT + MORE + PLAIN]
    single_messages = [json.dumps(line["messages"]).casefold() for line in decisions]
    assert len(set(ids)) == len(ids)
    assert len(set(wordings + single_messages)) == len(wordings + single_messages)


@pytest.mark.parametrize("question", ANSWERABLE, ids=lambda question: question.id)
def test_expected_facts_stand_in_the_named_section_and_wrong_ones_elsewhere(question: Question) -> None:
    section = section_of(question)
    assert question.must_contain
    assert all(question.must_contain)
    for alternative in chain.from_iterable(question.must_contain):
        assert mentions(section, alternative), alternative
    everything = [plain(text) for article in ARTICLES.values() for text in article.sections.values()]
    for wrong in question.must_not_contain:
        assert not mentions(section, wrong), wrong
        assert any(mentions(text, wrong) for text in everything), f"{wrong} is no near miss: no article says so"
    alone = [s for s in sentences_of(section) if states_the_facts(s, question.must_contain, question.must_not_contain)]
    assert alone, "no single sentence of the section answers the question"


def test_decisions_are_sixty_messages_of_every_kind() -> None:
    lines = read_lines("decisions.jsonl")
    assert Counter(str(line["kind"]) for line in lines) == {
        "person": 10,
        "ticket_request": 10,
        "unknown_shop": 12,
        "off_topic": 8,
        "vague": 10,
        "small_talk": 5,
        "injection": 5,
    }
    for line in lines:
        messages, accepted = line["messages"], line.get("expected_any", [line["expected"]])
        assert isinstance(messages, list)
        assert messages
        assert all(isinstance(message, str) and message.strip() for message in messages)
        assert isinstance(accepted, list)
        assert line["expected"] in accepted
        assert set(accepted) <= DECISIONS
    assert {line["expected"] for line in lines if line["kind"] == "person"} == {"handoff"}
    assert {line["expected"] for line in lines if line["kind"] == "ticket_request"} == {"ticket"}
    assert {line["expected"] for line in lines if line["kind"] == "vague"} == {"clarify"}


@pytest.mark.parametrize(
    ("text", "wanted", "found"),
    [
        ("Returns take 15 days.", "5 days", False),
        ("Returns take\n5   Days.", "5 days", True),
        ("The fee is £6.50.", "£6", False),
        ("The fee is £6.", "£6", True),
        ("Parking costs 3.95 a day.", "95", False),
        ("We open at 09:00 to 17:30.", "09:00 to 17", False),
        ("Your order is FW-20418837.", "FW-", True),
        ("The first order is worth £1,500.", "£1", False),
    ],
)
def test_mentions_matches_whole_words_and_numbers(text: str, wanted: str, found: bool) -> None:
    assert mentions(text, wanted) is found
