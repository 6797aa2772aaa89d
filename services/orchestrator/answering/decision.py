"""What to do with a message. Code decides, so nothing that a message says can change the rules."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.orchestrator.answering.intents import Intent, Nearest, told_by_words
from services.orchestrator.answering.learned import log_odds
from services.orchestrator.answering.lexicon import words
from services.orchestrator.answering.ranking import Candidate


class Action(StrEnum):
    """What the assistant does."""

    ANSWER = "answer"
    HANDOFF = "handoff"
    OFFER_REQUESTED = "offer_requested"
    OFFER_UNKNOWN = "offer_unknown"
    CLARIFY = "clarify"
    NAME_NEAREST = "name_nearest"
    OFF_TOPIC = "off_topic"
    GREETING = "greeting"
    THANKS = "thanks"
    FEELINGS = "feelings"
    GOODBYE = "goodbye"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Cosines from which on something is believed; found on the demo's `decisions.jsonl` and golden questions."""

    wish: float = 0.62
    small_talk: float = 0.60
    vague: float = 0.50
    elsewhere: float = 0.47
    # A message of more words that mean something is no longer vague.
    vague_words: int = 2

    def of(self, intent: Intent) -> float:
        """The cosine from which on a message has the intent."""
        match intent:
            case Intent.VAGUE:
                return self.vague
            case Intent.ELSEWHERE:
                return self.elsewhere
            case Intent.PERSON | Intent.TICKET | Intent.INSTRUCTION:
                return self.wish
            case _:
                return self.small_talk


THRESHOLDS = Thresholds()

_ACTIONS = {
    Intent.PERSON: Action.HANDOFF,
    Intent.TICKET: Action.OFFER_REQUESTED,
    Intent.INSTRUCTION: Action.OFF_TOPIC,
    Intent.ELSEWHERE: Action.OFF_TOPIC,
    Intent.VAGUE: Action.CLARIFY,
    Intent.GREETING: Action.GREETING,
    Intent.THANKS: Action.THANKS,
    Intent.FEELINGS: Action.FEELINGS,
    Intent.GOODBYE: Action.GOODBYE,
}


def understand(message: str, near: Nearest, thresholds: Thresholds = THRESHOLDS) -> Action | None:
    """What to do by the message alone; None when it is a question that the help centre may answer."""
    told = told_by_words(message)
    if told is not None:
        return _ACTIONS[told]
    says = len(words(message))
    intent, similarity = near.intent, near.similarities[near.intent]
    vague_enough = intent is not Intent.VAGUE or says <= thresholds.vague_words
    if intent is not Intent.QUESTION and similarity >= thresholds.of(intent) and vague_enough:
        return _ACTIONS[intent]
    return None if says else Action.CLARIFY


# Log odds from which on the help centre's answer is given, and from which on its nearest articles are named.
ANSWER_FROM = 0.0
NEAR_FROM = -1.5
NO_EVIDENCE = -20.0


def evidence(candidates: Sequence[Candidate]) -> float:
    """Log odds that the best passage answers, as learned from questions with and without an answer.

    The model's likelihoods say nothing here: a question with the shop's name in it is likely after any of its texts.
    """
    return log_odds(candidates[0].features) if candidates else NO_EVIDENCE


def judge(message: str, near: Nearest, strength: float, thresholds: Thresholds = THRESHOLDS) -> Action:
    """Answer, name what is near, ask back when the message says little by itself, or offer a ticket."""
    if strength >= ANSWER_FROM:
        return Action.ANSWER
    if strength >= NEAR_FROM:
        return Action.NAME_NEAREST
    is_vague = near.similarities[Intent.VAGUE] >= thresholds.vague or len(words(message)) <= 1
    return Action.CLARIFY if is_vague else Action.OFFER_UNKNOWN


_FOLLOW_UP = re.compile(r"^\W*(?:and|but|or|what about|how about|what if|same for|also|then)\b", re.IGNORECASE)
_FOLLOW_UP_WORDS = 8
_SHORT_QUESTION_WORDS = 3


def standalone(message: str, earlier: Sequence[str]) -> str:
    """The message with the customer's message before it in front, when it makes no sense alone: "and to Ireland?"."""
    count = len(message.split())
    follows = bool(_FOLLOW_UP.search(message)) and count <= _FOLLOW_UP_WORDS
    short = count <= _SHORT_QUESTION_WORDS and message.rstrip().endswith("?")
    return f"{earlier[-1]} {message}" if earlier and (follows or short) else message


def topics(titles: Sequence[str], most: int = 3) -> list[str]:
    """The titles of the nearest articles, each once, nearest first."""
    return list(dict.fromkeys(titles))[:most]
