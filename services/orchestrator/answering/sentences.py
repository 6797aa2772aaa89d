"""Splits passages into sentences that can stand alone in an answer."""

import re

from services.orchestrator.answering.passages import Passage, Sentence

# A full stop ends a sentence when the start of another follows, unless an abbreviation or initial precedes.
_END = re.compile(r"(?<=[.!?])[\"'”’)]*\s+(?=[\"'“‘(]?[A-Z0-9£$€])")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|approx|incl|excl|max|min|no|nos|vs|Mr|Mrs|Ms|Dr|St|Ltd|Inc|Co)|\b[A-Z])\.$"
)
_BULLET = re.compile(r"^\s*(?:[-*+•]|\d{1,2}[.)])\s+")


def split_passage(passage: Passage) -> list[Sentence]:
    """Every quotable sentence of the passage, in order; an item of a list and a row of a table is one or more."""
    found: list[Sentence] = []
    lines = (line for line in passage.text.splitlines() if line.strip())
    for paragraph, line in enumerate(lines):
        found.extend(
            Sentence(text, passage, position, paragraph)
            for position, text in enumerate(split_text(_BULLET.sub("", line)), start=len(found))
        )
    return found


def split_text(text: str) -> list[str]:
    """The sentences of running prose, verbatim apart from white space at their ends."""
    whole, rest = take_sentences(text)
    return [*whole, rest.strip()] if rest.strip() else whole


def take_sentences(text: str) -> tuple[list[str], str]:
    """The sentences of a text that is still being written which another has begun after, and the rest as it stands."""
    sentences: list[str] = []
    start = 0
    for end in _END.finditer(text):
        # Closing quotation marks belong to the sentence they close.
        closing = len(end.group()) - len(end.group().lstrip("\"'”’)"))
        piece = text[start : end.start() + closing].strip()
        if not _ABBREVIATION.search(text[start : end.start()]):
            sentences.append(piece)
            start = end.end()
    return sentences, text[start:]
