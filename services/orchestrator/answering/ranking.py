"""Which sentences answer a question: words, meaning, the kind of answer, and the model's likelihood, weighed together.

The weights were found on the questions of `demo/questions/golden.jsonl`; docs/adr/0004 has the figures for each part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from services.orchestrator.answering.kinds import answers_kind, kind_of
from services.orchestrator.answering.lexicon import Rarity, translations, words
from services.orchestrator.answering.passages import Passage, Sentence

Vector = Sequence[float]


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each part says; similarities are -1 to 1, overlaps and kind 0 to 1, likelihoods mean natural logs."""

    sentence_similarity: float = 1.0
    sentence_in_context_similarity: float = 1.0
    passage_similarity: float = 1.0
    translated_sentence_similarity: float = 0.5
    translated_sentence_in_context_similarity: float = 0.5
    translated_passage_similarity: float = 0.5
    passage_overlap: float = 0.6
    translated_passage_overlap: float = 0.4
    sentence_overlap: float = 0.3
    translated_sentence_overlap: float = 0.2
    heading_overlap: float = 0.2
    translated_heading_overlap: float = 0.2
    kind: float = 0.2
    likelihood: float = 0.5


WEIGHTS = Weights()


@dataclass(frozen=True, slots=True)
class Vectors:
    """The vectors of a question as it was asked, and with the help centre's words added."""

    asked: Vector
    translated: Vector


@dataclass(frozen=True, slots=True)
class PassageVectors:
    """The vectors of a passage with its headings, and of its sentences alone and behind their heading."""

    passage: Vector
    sentences: tuple[Vector, ...]
    sentences_in_context: tuple[Vector, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence and how well it answers; only the order of `score` means something within one question.

    `similarity` is the larger cosine of the question, as asked or translated, and the sentence behind its heading.
    `overlap` is the larger share of the question's words, as asked or translated, that the passage has.
    """

    sentence: Sentence
    score: float
    similarity: float
    overlap: float
    likelihood: float | None = None


def passage_text(passage: Passage) -> str:
    """What stands for the passage in vector space; as the knowledge service embeds it."""
    return f"{passage.article_title} — {passage.heading}: {passage.text}"


def in_context(sentence: Sentence) -> str:
    """The sentence behind its heading, in vector space."""
    return f"{sentence.passage.heading}. {sentence.text}"


def likelihood_context(sentence: Sentence) -> str:
    """What the model reads before it is asked how likely the customer's question is."""
    return f"{sentence.passage.article_title}: {sentence.passage.heading}\n{sentence.text}\nQuestion:"


def likelihood_target(question: str) -> str:
    """The question as the model's continuation of `likelihood_context`."""
    return " " + " ".join(question.split())


def rank(
    question: str,
    vectors: Vectors,
    sentences: Sequence[Sentence],
    known: Mapping[str, PassageVectors],
    weights: Weights = WEIGHTS,
) -> list[Candidate]:
    """All sentences, the likeliest answer first, before the model was asked. `known` has vectors by passage identifier."""
    passages = list({sentence.passage.id: sentence.passage for sentence in sentences}.values())
    asked, translated = words(question), words(" ".join(translations(question)))
    bodies = {passage.id: words(f"{passage.article_title} {passage.heading} {passage.text}") for passage in passages}
    rarity = Rarity.of(bodies.values())
    kind = kind_of(question)
    base: dict[str, tuple[float, float]] = {}
    for passage in passages:
        body, heading = bodies[passage.id], words(passage.heading)
        overlap, translated_overlap = rarity.overlap(asked, body), rarity.overlap(translated, body)
        vector = known[passage.id].passage
        base[passage.id] = (
            weights.passage_similarity * cosine(vectors.asked, vector)
            + weights.translated_passage_similarity * cosine(vectors.translated, vector)
            + weights.passage_overlap * overlap
            + weights.translated_passage_overlap * translated_overlap
            + weights.heading_overlap * rarity.overlap(asked, heading)
            + weights.translated_heading_overlap * rarity.overlap(translated, heading),
            max(overlap, translated_overlap),
        )
    candidates = []
    for sentence in sentences:
        passage_score, passage_overlap = base[sentence.passage.id]
        alone = known[sentence.passage.id].sentences[sentence.position]
        context = known[sentence.passage.id].sentences_in_context[sentence.position]
        said = words(sentence.text)
        similarity = cosine(vectors.asked, context)
        translated_similarity = cosine(vectors.translated, context)
        score = (
            passage_score
            + weights.sentence_similarity * cosine(vectors.asked, alone)
            + weights.sentence_in_context_similarity * similarity
            + weights.translated_sentence_similarity * cosine(vectors.translated, alone)
            + weights.translated_sentence_in_context_similarity * translated_similarity
            + weights.sentence_overlap * rarity.overlap(asked, said)
            + weights.translated_sentence_overlap * rarity.overlap(translated, said)
            + weights.kind * answers_kind(kind, sentence.text)
        )
        candidates.append(Candidate(sentence, score, max(similarity, translated_similarity), passage_overlap))
    return sorted(candidates, key=lambda candidate: -candidate.score)


def with_likelihoods(
    candidates: Sequence[Candidate], likelihoods: Sequence[float], weights: Weights = WEIGHTS
) -> list[Candidate]:
    """The first candidates ordered anew by what the model says of them; those it was not asked about stay behind."""
    asked = [
        replace(candidate, score=candidate.score + weights.likelihood * likelihood, likelihood=likelihood)
        for candidate, likelihood in zip(candidates, likelihoods, strict=False)
    ]
    return sorted(asked, key=lambda candidate: -candidate.score) + list(candidates[len(asked) :])


def cosine(one: Vector, other: Vector) -> float:
    """The cosine of two vectors of length one."""
    return sum(a * b for a, b in zip(one, other, strict=True))
