"""Puts an answer together from sentences, with one marker behind those in a row that rest on one passage."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.orchestrator.answering.grounding import is_quoted
from services.orchestrator.answering.lexicon import words
from services.orchestrator.answering.passages import Passage
from services.orchestrator.answering.ranking import Candidate, Scored, passage_text

# A further sentence is quoted when the best one leads it by less, see docs/adr/0004.
CLEAR_LEAD = 0.8
SENTENCES_QUOTED = 3


@dataclass(frozen=True, slots=True)
class Part:
    """A sentence of an answer and the passage it rests on."""

    text: str
    passage: Passage


@dataclass(frozen=True, slots=True)
class Piece:
    """A part as it goes out; `first` is true when its passage was not cited before."""

    text: str
    number: int
    passage: Passage
    first: bool


def quotation(question: str, candidates: Sequence[Candidate], clear_lead: float = CLEAR_LEAD) -> list[Part]:
    """The sentence of the best passage that answers, with up to two more that it does not clearly lead, in their order.

    A sentence that says what the question names comes with them ("Norway is not in the European Union"). What is not
    verbatim in its passage is left out. Empty when there is no candidate.
    """
    if not candidates:
        return []
    best = candidates[0]
    first, *others = best.sentences[:SENTENCES_QUOTED]
    chosen = [first, *(one for one in others if first.score - one.score < clear_lead)]
    chosen += _naming(question, chosen, candidates)
    chosen.sort(key=lambda one: one.sentence.position)
    return [
        Part(one.sentence.text, best.passage) for one in chosen if is_quoted(one.sentence.text, [best.passage.text])
    ]


def _naming(question: str, chosen: Sequence[Scored], candidates: Sequence[Candidate]) -> list[Scored]:
    """The best sentence with a word of the question that no other passage has, unless one that is chosen has it."""
    best, *others = candidates
    elsewhere = {word for other in others for word in words(passage_text(other.passage))}
    said = {word for one in chosen for word in words(one.sentence.text)} | set(words(best.passage.heading))
    names = set(words(question)) - elsewhere - said
    return [one for one in best.sentences if names.intersection(words(one.sentence.text))][:1]


class Markers:
    """Numbers the passages of an answer in the order in which they are cited; sentences in a row share their marker."""

    def __init__(self) -> None:
        self._passages: list[Passage] = []
        self._latest: Piece | None = None

    @property
    def passages(self) -> tuple[Passage, ...]:
        """The cited passages; the marker [1] stands for the first."""
        return tuple(self._passages)

    def mark(self, part: Part) -> Piece:
        """The part as it goes out: behind the marker of those before it when these rest on another passage."""
        first = part.passage.id not in {passage.id for passage in self._passages}
        if first:
            self._passages.append(part.passage)
        number = 1 + next(n for n, passage in enumerate(self._passages) if passage.id == part.passage.id)
        latest, text = self._latest, part.text
        if latest is not None:
            text = f" {text}" if latest.number == number else f" [{latest.number}] {text}"
        self._latest = Piece(text, number, part.passage, first)
        return self._latest

    def end(self) -> Piece | None:
        """The marker of the last parts; None when there are none."""
        latest = self._latest
        return latest and Piece(f" [{latest.number}]", latest.number, latest.passage, first=False)
