"""Words: what a question and a sentence have in common, also when they say it differently."""

import math
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_WORD = re.compile(r"[a-z0-9£%°]+(?:\.\d+)?")
_SUFFIXES = ("ations", "ation", "ingly", "edly", "ings", "ing", "ies", "ied", "ers", "er", "ed", "es", "ly", "s")
_SHORTEST_STEM = 3

# Words that say nothing about what a question is about.
# fmt: off
_STOP = frozenset(
    (
        "a", "an", "the", "and", "or", "but", "if", "of", "to", "in", "on", "at", "for", "from", "by", "with", "as",
        "something", "anything", "someone", "somebody", "anyone", "anybody",
        "is", "are", "was", "were", "be", "been", "being", "am", "do", "does", "did", "done", "doing", "have",
        "has", "had", "having", "i", "me", "my", "mine", "you", "your", "yours", "he", "him", "his", "she", "her",
        "it", "its", "we", "us", "our", "they", "them", "their", "this", "that", "these", "those", "what", "which",
        "who", "whom", "whose", "when", "where", "why", "how", "can", "could", "will", "would", "shall", "should",
        "may", "might", "must", "not", "no", "nor", "so", "than", "then", "too", "very", "just", "about", "into",
        "over", "under", "again", "there", "here", "up", "out", "off", "down", "any", "some", "all", "much", "many",
        "more", "most", "im", "ive", "id", "dont", "cant", "wont", "doesnt", "didnt", "isnt", "wasnt", "havent",
        "hasnt", "whats", "hows", "u", "ur", "pls", "please", "hi", "hello", "hey", "get", "got", "really", "still",
        "also", "like", "need", "want", "know", "tell", "say", "said", "thing", "things", "way", "one", "long",
    )
)
# fmt: on


def words(text: str) -> list[str]:
    """The stems of the words that mean something, in order."""
    plain = text.lower().replace("’", "'").replace("'", "")
    return [_stem(word) for word in _WORD.findall(plain) if word not in _STOP]


def _stem(word: str) -> str:
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _SHORTEST_STEM:
            word = word[: -len(suffix)] + ("i" if suffix in ("ies", "ied") else "")
            break
    if word.endswith("e") and len(word) > _SHORTEST_STEM:
        word = word[:-1]
    if word.endswith("y") and len(word) > _SHORTEST_STEM:
        word = word[:-1] + "i"
    if len(word) > _SHORTEST_STEM + 1 and word[-1] == word[-2] and word[-1] not in "aeiouls":
        word = word[:-1]
    return word


@dataclass(frozen=True)
class Rarity:
    """How much a shared word says, by how few of the texts hold it."""

    weights: Mapping[str, float]
    unseen: float

    @classmethod
    def of(cls, texts: Iterable[Iterable[str]]) -> "Rarity":
        """From the stems of the texts to choose among."""
        counts: Counter[str] = Counter()
        total = 0
        for text in texts:
            counts.update(set(text))
            total += 1
        weights = {word: math.log(1 + (total - count + 0.5) / (count + 0.5)) for word, count in counts.items()}
        return cls(weights, math.log(1 + (total + 0.5) / 0.5))

    def overlap(self, question: Sequence[str], text: Iterable[str]) -> float:
        """Share of what the question says that the text says too, 0 to 1."""
        asked = set(question)
        total = sum(self.weight(word) for word in asked)
        shared = asked.intersection(text)
        return sum(self.weight(word) for word in shared) / total if total else 0.0

    def weight(self, word: str) -> float:
        """The weight of one stem."""
        return self.weights.get(word, self.unseen)


@cache
def _thesaurus() -> tuple[tuple[re.Pattern[str], str], ...]:
    text = files(__package__).joinpath("thesaurus.toml").read_text(encoding="utf-8")
    groups = tomllib.loads(text)
    return tuple(
        (re.compile("|".join(rf"(?<!\w){re.escape(phrase)}(?!\w)" for phrase in phrases)), meaning)
        for group in groups.values()
        for meaning, phrases in group.items()
    )


def translations(question: str) -> list[str]:
    """What the question's words are called in help centres, for those that have another name there."""
    return [meaning for _, meaning in _translated_phrases(question)]


def _translated_phrases(question: str) -> list[tuple[str, str]]:
    plain = question.lower().replace("’", "'")
    return [(found.group(), meaning) for pattern, meaning in _thesaurus() if (found := pattern.search(plain))]


def common_weight(question: str, text: Sequence[str], rarity: Rarity) -> float:
    """Weight of the question's words that a text has too, in those or in the help centre's words; from 0 up.

    A word that has another name counts as said when the text has most of that name.
    """
    said = set(text)
    for phrase, meaning in _translated_phrases(question):
        name = set(words(meaning))
        if name and 2 * len(name & said) >= len(name):
            said.update(words(phrase))
    return sum(rarity.weight(word) for word in said.intersection(words(question)))


def missing_weights(question: str, text: Sequence[str], rarity: Rarity) -> list[float]:
    """The weights of the question's words that a text has not, in those or in any other words."""
    known = set(text)
    for phrase, _ in _translated_phrases(question):
        known.update(words(phrase))
    return [rarity.weight(word) for word in sorted(set(words(question)) - known)]


# "outside the European Union", "except Northern Ireland": a name that the text says it is not about.
_EXCLUDED = re.compile(r"\b(?i:outside|except|excluding)(?: for)? (?:the )?[A-Z][\w'’-]*(?: (?:of )?[A-Z][\w'’-]*)*")
_ABOUT_EXCLUDED = re.compile(r"\b(?:outside|except|excluding)\b", re.IGNORECASE)


def spoken_of(question: str, text: str) -> str:
    """The text without the names that it excludes, unless the question is about what lies outside, too."""
    return text if _ABOUT_EXCLUDED.search(translated(question)) else _EXCLUDED.sub(" ", text)


def translated(question: str) -> str:
    """The question with the help centre's words added behind it; the question itself when there are none."""
    found = translations(question)
    return f"{question} ({', '.join(found)})" if found else question
