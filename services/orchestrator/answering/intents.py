"""What a message means, by the nearest of labelled examples and by the few words that leave no doubt."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files

from services.orchestrator.answering.lexicon import words
from services.orchestrator.answering.ranking import Vector, cosine


class Intent(StrEnum):
    """What a customer means."""

    QUESTION = "question"
    PERSON = "person"
    TICKET = "ticket"
    GREETING = "greeting"
    THANKS = "thanks"
    FEELINGS = "feelings"
    GOODBYE = "goodbye"
    VAGUE = "vague"
    INSTRUCTION = "instruction"
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True)
class Examples:
    """The labelled utterances; `version` goes up when they change."""

    version: str
    utterances: tuple[str, ...]
    intents: tuple[Intent, ...]


@dataclass(frozen=True, slots=True)
class Nearest:
    """Cosine of a message and the nearest example of each intent."""

    similarities: Mapping[Intent, float]

    @property
    def intent(self) -> Intent:
        """The intent of the nearest example."""
        return max(self.similarities, key=lambda intent: self.similarities[intent])

    def margin(self, intent: Intent) -> float:
        """By how much an intent is nearer than every other."""
        others = max(similarity for other, similarity in self.similarities.items() if other is not intent)
        return self.similarities[intent] - others


def load_examples() -> Examples:
    """The examples beside this file."""
    data = tomllib.loads(files(__package__).joinpath("intents.toml").read_text(encoding="utf-8"))
    pairs = [(text, Intent(intent)) for intent, texts in data["examples"].items() for text in texts]
    return Examples(data["version"], tuple(text for text, _ in pairs), tuple(intent for _, intent in pairs))


def nearest(message: Vector, examples: Examples, vectors: Sequence[Vector]) -> Nearest:
    """How near a message is to each intent; `vectors` are those of the examples, in their order."""
    best: dict[Intent, float] = {}
    for intent, vector in zip(examples.intents, vectors, strict=True):
        similarity = cosine(message, vector)
        if similarity > best.get(intent, -1.0):
            best[intent] = similarity
    return Nearest(best)


_PEOPLE = (
    r"(?:human|person|people|agent|agents|representative|rep|employee|member of (?:your )?(?:staff|team)|staff"
    r"|operator|colleagues?|supervisor|manager|advis[eo]r|somebody|someone|real (?:person|human|employee))"
)
_REACH = (
    r"(?:speak|talk|chat|connect|transfer|put (?:me )?through|hand (?:me )?over|get me|give me|pass me|discuss|escalate"
    r"|switch|reach)"
)
_PERSON = re.compile(
    rf"\b{_REACH}\b.{{0,60}}\b{_PEOPLE}\b|^\W*(?:(?:live|real|human|support) )*(?:agent|human|person|operator"
    rf"|representative)(?: please| pls)?\W*$|\bno more bots?\b"
    r"|\b(?:want|need|prefer|like) (?:an? |the )?(?:(?:real|live|actual) )?(?:human|person|agent|representative)\b"
    rf"|\bnot? (?:a )?(?:bot|robot|machine)\b.{{0,60}}\b{_PEOPLE}\b"
    rf"|\b(?:colleagues?|{_PEOPLE})\b.{{0,40}}\btake over\b|\b(?:real|live|actual) (?:person|human|agent|employee)\b",
    re.IGNORECASE,
)
_TICKET = re.compile(
    r"\b(?:open|create|raise|make|file|submit|log|lodge|register|write up|start|put in)\b"
    r".{0,30}\b(?:ticket|case|complaint|issue|support request)\b"
    r"|\bcomplain (?:officially|formally)\b|^\W*(?:a )?(?:new )?ticket\b|\bwrite (?:it|this|that) up\b",
    re.IGNORECASE,
)
_INSTRUCTION = re.compile(
    r"\b(?:ignore|disregard|forget)\b.{0,40}\b(?:instructions?|rules?|prompts?|everything)\b|\bsystem prompt\b"
    r"|\bdeveloper mode\b|^\W*#*\s*system\s*:|<\s*/?\s*script|\brepeat the (?:text|words) above\b",
    re.IGNORECASE,
)
_QUESTION_ABOUT_TICKETS = re.compile(r"^\W*(?:how|what|where|when|why|which)\b", re.IGNORECASE)
_YES = re.compile(
    r"^\W*(?:yes|yep|yeah|yup|sure|ok|okay|please do|do it|go ahead|of course|definitely|absolutely|y|correct"
    r"|that would be (?:great|good|nice)|sounds good|alright|fine)\b(?!.{0,20}\bbut\b)",
    re.IGNORECASE,
)
_NO = re.compile(
    r"^\W*(?:no|nope|nah|n|not now|don'?t|do not|never ?mind|leave it|forget it|cancel|not necessary|no need)\b",
    re.IGNORECASE,
)
# A longer reply is a message of its own, whatever word it begins with.
_REPLY_WORDS = 8


def told_by_words(message: str) -> Intent | None:
    """The intent, where the words leave no doubt."""
    if _INSTRUCTION.search(message):
        return Intent.INSTRUCTION
    if _TICKET.search(message) and not _QUESTION_ABOUT_TICKETS.search(message):
        return Intent.TICKET
    if _PERSON.search(message) and not _QUESTION_ABOUT_TICKETS.search(message):
        return Intent.PERSON
    return None


def reply_of(message: str) -> bool | None:
    """True for a plain yes, False for a plain no, None for anything else."""
    if len(message.split()) > _REPLY_WORDS:
        return None
    if _NO.search(message):
        return False
    if _YES.search(message):
        return True
    return None


_ASKED_FOR = re.compile(
    r"^.*?\b(?:tickets?|case|complaint|issue|request|officially|formally)\b"
    r"(?: (?:for (?:me|us)|please|pls|with (?:you|your team)|for (?:the|your) team))*\W*"
    r"(?:to (?:look (?:at|into)|check)|about|regarding|concerning|on|that|because|for|:|-|,)*\s*",
    re.IGNORECASE | re.DOTALL,
)
_SUBJECT_LENGTH = 120
_SHORTEST_SUBJECT = 8


def ticket_subject(message: str, earlier: Sequence[str]) -> str:
    """One line that says what a ticket is about: what the message says, or the newest of `earlier` that says anything.

    `earlier` are the customer's messages before, oldest first. Never empty.
    """
    wish = told_by_words(message)
    asked = _ASKED_FOR.sub("", message, count=1) if wish is Intent.TICKET else message
    own = [asked] if wish is not Intent.PERSON else []
    for text in (*own, *(text for text in reversed(earlier) if told_by_words(text) is None)):
        line = " ".join(text.split()).strip(" .,:;!?-–—\"'")
        if len(line) >= _SHORTEST_SUBJECT and words(line):
            return _shortened(line[0].upper() + line[1:])
    return _shortened(" ".join(message.split()))


def _shortened(line: str) -> str:
    if len(line) <= _SUBJECT_LENGTH:
        return line
    return f"{line[:_SUBJECT_LENGTH].rsplit(' ', 1)[0]}…"
