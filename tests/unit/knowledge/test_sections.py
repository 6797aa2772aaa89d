"""Markdown to sections: reading order, headings, anchors, plain sentences, and input made to hurt."""

import re
import time

import pytest

from services.knowledge.domain import Section
from services.knowledge.errors import EmptyArticle, TooTangled
from services.knowledge.text.sections import (
    CHARACTERS_PER_SECTION,
    HEADING_LENGTH,
    WORDS_PER_SECTION,
    anchor_of,
    sentences,
    split,
)

TITLE = "Returns"


def texts(markdown: str) -> list[str]:
    return [section.text for section in split(markdown, TITLE)]


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("Just text.", [(TITLE, "", "Just text.")]),
        ("Before.\n\n## How long\n\n45 days.", [(TITLE, "", "Before."), ("How long", "how-long", "45 days.")]),
        ("One\r\nline.\r\n\r\n## A\r\nText.\r", [(TITLE, "", "One line."), ("A", "a", "Text.")]),
        ("# Returns\n\nText.", [(TITLE, "returns", "Text.")]),
        ("Abroad\n------\nText.", [("Abroad", "abroad", "Text.")]),
        ("## Abroad\n\n### France\n\nText.", [("Abroad › France", "france", "Text.")]),
        ("## A\n\n### B\n\nx\n\n## C\n\ny", [("A › B", "b", "x"), ("C", "c", "y")]),
        ("## A\n\nx\n\n## A\n\ny\n\n## A-1\n\nz", [("A", "a", "x"), ("A", "a-1", "y"), ("A-1", "a-1-1", "z")]),
        ("## Empty\n\n## Full\n\nx", [("Full", "full", "x")]),
        ("## `code` *and* [link](http://x)\n\nx", [("code and link", "code-and-link", "x")]),
        ("##\n\nx", [(TITLE, "", "x")]),
        ("## !!!\n\nx", [("!!!", "", "x")]),
        ("> ## Quoted\n> text", [(TITLE, "", "Quoted\ntext")]),
    ],
)
def test_headings_become_sections(markdown: str, expected: list[tuple[str, str, str]]) -> None:
    assert split(markdown, TITLE) == [Section(*each) for each in expected]


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("a **b** *c* ~~d~~ `e` [f](http://g) ![h](i.png)", "a b c d e f h"),
        ("one\ntwo  \nthree\\\nfour", "one two three four"),
        ("We ship to:\n\n- France\n- Spain", "We ship to: France; Spain."),
        ("We ship to\n\n- France\n- Spain", "We ship to\nFrance.\nSpain."),
        (
            "Where to:\n\n- Europe\n  - France\n  - Spain\n- Asia:\n  - Japan",
            "Where to: Europe: France; Spain; Asia: Japan.",
        ),
        ("- It is new.\n- It is old!", "It is new.\nIt is old!"),
        ("Do this:\n\n1. Open the app\n2. Tap Go.", "Do this:\n1) Open the app.\n2) Tap Go."),
        ("7. seventh\n8. eighth", "7) seventh.\n8) eighth."),
        ("- First paragraph\n\n  Second paragraph\n- b", "First paragraph. Second paragraph.\nb."),
        ("- a\n  - b\n    - c\n      - d\n", "a: b: c: d."),
        ("- Ready.\n  - b\n  - c", "Ready. b; c."),
        ("-\n- b", "b."),
        ("Nothing:\n\n-\n", "Nothing:"),
        (
            "| Size | Chest |\n|---|---|\n| M | 96 to **102** cm |\n| L | |\n| | x |\n| | |",
            "Size M: Chest 96 to 102 cm.\nSize L.\nChest x.",
        ),
        ("| Only |\n|---|\n| one |", "Only one."),
        ("```sh\ncurl  -X\nGET\n```", "curl -X GET"),
        ("    indented code", "indented code"),
        ("> quoted\n> > twice", "quoted\ntwice"),
        ("<div class='x'><p>Hello <b>you</b></p></div>", "Hello you"),
        ("<img alt='A map' src='m.png'><br>x", "A map x"),
        ("a<br>b <b>c</b> &amp; &lt;d&gt;", "a b c & <d>"),
        ("a <!-- hidden --> b", "a b"),
        ("***\n\nx\n\n---", "x"),
        ("tabs\tand\u00a0spaces  x", "tabs and spaces x"),
    ],
)
def test_markup_becomes_plain_sentences(markdown: str, text: str) -> None:
    assert texts(markdown) == [text]


@pytest.mark.parametrize(
    "markdown", ["", "   \n", "## Only a heading", "<!-- a comment -->", "---", "[a]: http://b", "| a |\n|---|"]
)
def test_an_article_without_text_is_refused(markdown: str) -> None:
    with pytest.raises(EmptyArticle):
        split(markdown, TITLE)


@pytest.mark.parametrize("tag", ["script", "style", "template"])
def test_what_a_browser_would_not_show_is_left_out(tag: str) -> None:
    assert texts(f"<div>seen<{tag}>alert(1) {{}}</{tag}> too</div>") == ["seen too"]


def test_long_sections_are_cut_between_paragraphs_and_keep_their_heading() -> None:
    paragraphs = [f"Paragraph {number} " + "word " * 60 + "end." for number in range(5)]
    sections = split("## Long\n\n" + "\n\n".join(paragraphs), TITLE)
    assert len(sections) == 3
    assert {(section.heading, section.anchor) for section in sections} == {("Long", "long")}
    assert [paragraph for section in sections for paragraph in section.text.split("\n")] == paragraphs


def test_a_long_paragraph_is_cut_between_sentences() -> None:
    paragraph = " ".join(f"Sentence {number} has exactly six words." for number in range(100))
    found = texts(paragraph)
    assert len(found) > 1
    assert all(text.endswith("words.") and len(text.split()) <= WORDS_PER_SECTION for text in found)
    assert " ".join(found) == paragraph


@pytest.mark.parametrize("markdown", ["word " * 5000, "x" * 100_000, "ö" * 30_000 + " " + "y " * 400])
def test_no_section_is_longer_than_can_be_embedded(markdown: str) -> None:
    found = texts(markdown)
    assert all(len(text) <= CHARACTERS_PER_SECTION and len(text.split()) <= WORDS_PER_SECTION for text in found)
    assert re.sub(r"\s", "", "".join(found)) == re.sub(r"\s", "", markdown)


def test_a_huge_heading_is_shortened() -> None:
    [section] = split("## " + "huge " * 20_000 + "\n\ntext", TITLE)
    assert len(section.heading) == HEADING_LENGTH
    assert section.heading.endswith("…")


@pytest.mark.parametrize(
    "markdown",
    [
        "![[" * 300_000,
        "[" * 1_000_000,
        "# a\n\nb\n\n" * 100_000,
        "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 100_000,
        "- a\n" * 250_000,
    ],
)
def test_markdown_built_to_keep_a_parser_busy_is_refused_at_once(markdown: str) -> None:
    started = time.process_time()
    with pytest.raises(TooTangled):
        split(markdown, TITLE)
    assert time.process_time() - started < 1


def test_deep_nesting_does_not_overflow() -> None:
    with pytest.raises(EmptyArticle):
        split(">" * 50_000 + " deep", TITLE)
    nested = "".join("  " * depth + f"- level {depth}\n" for depth in range(300))
    assert texts(nested)[0].startswith("level 0: level 1")


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("How long customers have to return", "how-long-customers-have-to-return"),
        ("Cuts: Slim, Regular & Roomy", "cuts-slim-regular--roomy"),
        ("Children's sizes (92–164 cm)", "childrens-sizes-92164-cm"),
        ("Größe und Maße", "größe-und-maße"),
        ("snake_case and-hyphen", "snake_case-and-hyphen"),
        ("日本語 の 見出し", "日本語-の-見出し"),
        ("हिन्दी", "हिन्दी"),
        ("🎉 Party", "-party"),
    ],
)
def test_anchors_are_those_of_github(heading: str, anchor: str) -> None:
    assert anchor_of(heading) == anchor


def test_sentences_are_told_apart() -> None:
    text = "It costs £4.90. Free from £60! Yes? No.\nSize M: 96 to 102 cm."
    assert sentences(text) == ["It costs £4.90.", "Free from £60! Yes? No.", "Size M: 96 to 102 cm."]
