"""Markdown to sections: the text under each heading, in parts short enough to cite and to embed."""

import re
import unicodedata
from collections.abc import Iterable, Iterator

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from services.knowledge.domain import Section
from services.knowledge.errors import EmptyArticle, TooTangled
from services.knowledge.text.blocks import inline, paragraphs

# The embedder reads 256 tokens, about 190 English words with title and heading.
WORDS_PER_SECTION = 170
CHARACTERS_PER_SECTION = 2000
HEADING_LENGTH = 200
SHORTEST_SENTENCE = 12

# What these let through keeps the parser busy for seconds at most; without them a megabyte can take half a minute.
MAXIMUM_LINES = 20_000
MAXIMUM_BRACKETS = 20_000

_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+")
_HEADING_JOINT = " › "


def split(markdown: str, title: str) -> list[Section]:
    """The sections in reading order; text before the first heading stands under the title, without an anchor.

    Raises EmptyArticle when there is no text, TooTangled when the Markdown is built to keep a parser busy.
    """
    markdown = markdown.replace("\r\n", "\n").replace("\r", "\n")
    _refuse_tangles(markdown)
    root = SyntaxTreeNode(MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown))
    sections = [
        Section(heading, anchor, text)
        for heading, anchor, nodes in _under_headings(root, title)
        for text in _parts(paragraphs(nodes))
    ]
    if not sections:
        raise EmptyArticle
    return sections


def sentences(text: str) -> list[str]:
    """The sentences of a section, and its table rows and list items; short ones stay with the one before."""
    found: list[str] = []
    for piece in (piece for line in text.split("\n") for piece in _SENTENCE_END.split(line)):
        if found and len(piece) < SHORTEST_SENTENCE:
            found[-1] += f" {piece}"
        else:
            found.append(piece)
    return found


def anchor_of(heading: str) -> str:
    """The anchor that GitHub, and the web app with it, gives a heading: lower case, hyphens for spaces."""
    kept = (
        character
        for character in heading.lower()
        if character in " -" or unicodedata.category(character)[0] in "LM" or _is_digit_or_joiner(character)
    )
    return "".join(kept).replace(" ", "-")


def _is_digit_or_joiner(character: str) -> bool:
    return unicodedata.category(character) in {"Nd", "Nl", "Pc"}


def _refuse_tangles(markdown: str) -> None:
    if markdown.count("\n") > MAXIMUM_LINES:
        raise TooTangled(f"The article has more than {MAXIMUM_LINES} lines; split it.")
    if markdown.count("[") > MAXIMUM_BRACKETS:
        raise TooTangled(f"The article has more than {MAXIMUM_BRACKETS} opening brackets; split it.")


def _under_headings(root: SyntaxTreeNode, title: str) -> Iterator[tuple[str, str, list[SyntaxTreeNode]]]:
    """(heading, anchor, blocks) for each heading; a heading below another carries both: "Returns › Germany"."""
    trail: list[tuple[int, str]] = []
    anchor, nodes = "", list[SyntaxTreeNode]()
    anchors: dict[str, int] = {}
    for node in root.children:
        if node.type != "heading":
            nodes.append(node)
            continue
        yield _heading(trail, title), anchor, nodes
        level, words = int(node.tag[1:]), inline(node)
        trail = [(above, text) for above, text in trail if above < level]
        if words and words != title:
            trail.append((level, words))
        anchor, nodes = _unique(anchor_of(words), anchors), []
    yield _heading(trail, title), anchor, nodes


def _heading(trail: list[tuple[int, str]], title: str) -> str:
    heading = _HEADING_JOINT.join(text for _, text in trail) or title
    return heading if len(heading) <= HEADING_LENGTH else heading[: HEADING_LENGTH - 1].rstrip() + "…"


def _unique(anchor: str, taken: dict[str, int]) -> str:
    """Repeated headings get "-1", "-2" and so on, as on GitHub."""
    candidate = anchor
    while candidate in taken:
        taken[anchor] += 1
        candidate = f"{anchor}-{taken[anchor]}"
    taken[candidate] = 0
    return candidate


def _parts(texts: list[str]) -> Iterator[str]:
    """Paragraphs packed up to the limit, cut inside a paragraph only when it is longer than that."""
    return _packed((piece for text in texts for piece in _fitting(text)), joint="\n")


def _fitting(text: str) -> Iterable[str]:
    """The paragraph; one beyond the limit cut between sentences, else between words, else anywhere."""
    if _fits(text):
        return [text]
    sentences = _SENTENCE_END.split(text)
    return _packed((piece for each in sentences for piece in ([each] if _fits(each) else _by_words(each))), joint=" ")


def _by_words(text: str) -> Iterator[str]:
    for word in text.split():
        for start in range(0, len(word), CHARACTERS_PER_SECTION):
            yield word[start : start + CHARACTERS_PER_SECTION]


def _packed(pieces: Iterable[str], *, joint: str) -> Iterator[str]:
    packed: list[str] = []
    words = characters = 0
    for piece in pieces:
        more = len(piece.split())
        if packed and (words + more > WORDS_PER_SECTION or characters + len(piece) > CHARACTERS_PER_SECTION):
            yield joint.join(packed)
            packed, words, characters = [], 0, 0
        packed.append(piece)
        words += more
        characters += len(piece) + 1
    if packed:
        yield joint.join(packed)


def _fits(text: str) -> bool:
    return len(text) <= CHARACTERS_PER_SECTION and len(text.split()) <= WORDS_PER_SECTION
