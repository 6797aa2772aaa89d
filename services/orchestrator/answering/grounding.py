"""Checks that a sentence says nothing that the passages it rests on do not say."""

import re
from collections.abc import Iterable, Sequence

from services.orchestrator.answering.lexicon import words

# Digits with what belongs to them: "£3.95", "45", "16:00", "10%", "FW-12345678".
_NUMBER = re.compile(r"[£$€]?\d+(?:[.,:]\d+)*\s?%?")
_SPELLED = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    )
}
# "One" and "no one" are rarely counts.
_SPELLED.pop("one")
_SPELLED_OUT = re.compile(rf"\b(?:{'|'.join(_SPELLED)})\b", re.IGNORECASE)
_NAME = re.compile(r"(?<![.!?:“\"(\n] )(?<!^)\b[A-Z][A-Za-z'’-]+")
_LINK = re.compile(r"https?://|www\.|\[[^\]]*\]\(|<[a-z/!]", re.IGNORECASE)
_NEGATION = re.compile(r"\b(?:no|not|never|cannot|without|except)\b|n['’]t\b", re.IGNORECASE)

# Share of a sentence's words that its passages must have.
SUPPORTED_SHARE = 0.85


def numbers(text: str) -> set[str]:
    """Every number in the text, in one way of writing."""
    found = {re.sub(r"\s|,(?=\d{3})", "", number) for number in _NUMBER.findall(text)}
    found.update(_SPELLED[word] for word in re.findall(r"[a-z]+", text.lower()) if word in _SPELLED)
    return found


def names(text: str) -> set[str]:
    """Words that are written large inside a sentence, in lower case."""
    return {name.lower() for name in _NAME.findall(text)}


def is_quoted(sentence: str, passages: Iterable[str]) -> bool:
    """True when the sentence stands in one of the passages, apart from white space."""
    plain = " ".join(sentence.split())
    return bool(plain) and any(plain in " ".join(passage.split()) for passage in passages)


def is_grounded(sentence: str, passages: Sequence[str]) -> bool:
    """True when one passage alone has all numbers and names of the sentence, and nearly all of its words.

    A sentence that denies must find a denial in the passage, and the other way round; links are never written freely.
    """
    if _LINK.search(sentence):
        return False
    if is_quoted(sentence, passages):
        return True
    said = words(_SPELLED_OUT.sub(" ", sentence))
    if not said:
        return False
    return any(_supports(passage, sentence, said) for passage in passages)


def _supports(passage: str, sentence: str, said: Sequence[str]) -> bool:
    if not numbers(sentence) <= numbers(passage) or not names(sentence) <= set(
        re.findall(r"[a-z'’-]+", passage.lower())
    ):
        return False
    if _NEGATION.search(sentence) and not _NEGATION.search(passage):
        return False
    known = set(words(passage))
    return sum(word in known for word in said) / len(said) >= SUPPORTED_SHARE
