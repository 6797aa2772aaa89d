"""Which passage answers a question, and which of its sentences: words, meaning, kind of answer, the model's likelihood.

Passages are weighed by what was learned from questions with known answers, sentences by weights found on
`demo/questions/golden.jsonl`; docs/adr/0004 has the figures for each part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from services.orchestrator.answering import learned
from services.orchestrator.answering.kinds import Kind, answers_kind, kind_of
from services.orchestrator.answering.lexicon import (
    Rarity,
    common_weight,
    missing_weights,
    spoken_of,
    translations,
    words,
)
from services.orchestrator.answering.passages import Passage, Sentence

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each part says for a sentence among those of its passage, and what the model's likelihoods add.

    Cosines are -1 to 1, overlaps and kind 0 to 1, likelihoods mean natural logs. Passages are weighed by `learned`.
    """

    # Of the passage's likeliest sentence.
    passage_likelihood: float = 0.15

    sentence_cosine: float = 1.0
    sentence_cosine_translated: float = 0.5
    sentence_overlap: float = 0.3
    sentence_overlap_translated: float = 0.2
    kind: float = 0.8
    sentence_likelihood: float = 0.3


WEIGHTS = Weights()

# How much unlikelier than its likeliest fellows a sentence is taken to be that the model was not asked about.
UNASKED = 0.2

# Words in common of this weight, about two rare ones, count half of what any number of them could.
HALF_WEIGHT = 4.0

# A passage that is farther behind the first is not brought forward by likelihoods, which differ by 2 at most.
WITHIN_REACH = 0.4


@dataclass(frozen=True, slots=True)
class Vectors:
    """The vectors of a question as it was asked, and with the help centre's words added.

    `search` is how a model for search sees the question as it was asked; it cannot be compared with the others.
    """

    asked: Vector
    translated: Vector
    search: Vector


@dataclass(frozen=True, slots=True)
class PassageVectors:
    """The vectors of a passage with its headings, and of its sentences alone and behind their heading.

    `search` is the passage again, as the model for search sees it.
    """

    passage: Vector
    search: Vector
    sentences: tuple[Vector, ...]
    sentences_in_context: tuple[Vector, ...]


@dataclass(frozen=True, slots=True)
class Scored:
    """A sentence and how well it answers among the sentences of its passage."""

    sentence: Sentence
    score: float
    likelihood: float | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage and how well it answers, with its sentences, the best first. Only the order of scores means something.

    `features` are what speaks for the passage, by the names that `learned` weighs.
    """

    passage: Passage
    score: float
    features: Mapping[str, float]
    sentences: tuple[Scored, ...]

    @property
    def likelihood(self) -> float | None:
        """The largest of its sentences; None when the model was not asked."""
        return max((one.likelihood for one in self.sentences if one.likelihood is not None), default=None)


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


@dataclass(frozen=True)
class _Question:
    text: str
    vectors: Vectors
    asked: list[str]
    translated: list[str]
    kind: Kind


def rank(
    question: str,
    vectors: Vectors,
    sentences: Mapping[Passage, Sequence[Sentence]],
    known: Mapping[str, PassageVectors],
    weights: Weights = WEIGHTS,
) -> list[Candidate]:
    """The passages, the likeliest answer first, before the model was asked. `known` is by passage identifier."""
    asked = _Question(question, vectors, words(question), words(" ".join(translations(question))), kind_of(question))
    bodies = {
        passage.id: words(spoken_of(question, f"{passage.article_title} {passage.heading} {passage.text}"))
        for passage in sentences
    }
    rarity = Rarity.of(bodies.values())
    candidates = []
    for passage, split in sentences.items():
        scored = sorted(
            (_score(asked, sentence, known[passage.id], rarity, weights) for sentence in split),
            key=lambda one: -one.score,
        )
        if scored:
            features = _features(asked, passage, split, bodies[passage.id], known[passage.id], rarity)
            candidates.append(Candidate(passage, learned.passage_score(features), features, tuple(scored)))
    return sorted(candidates, key=lambda candidate: -candidate.score)


def _features(
    question: _Question,
    passage: Passage,
    sentences: Sequence[Sentence],
    body: Sequence[str],
    known: PassageVectors,
    rarity: Rarity,
) -> dict[str, float]:
    heading, vectors = words(passage.heading), question.vectors
    common = common_weight(question.text, body, rarity)
    missing = missing_weights(question.text, body, rarity)
    return {
        "passage": cosine(vectors.asked, known.passage),
        "passage_translated": cosine(vectors.translated, known.passage),
        "sentence": max(cosine(vectors.asked, vector) for vector in known.sentences),
        "sentence_translated": max(cosine(vectors.translated, vector) for vector in known.sentences),
        "context": max(cosine(vectors.asked, vector) for vector in known.sentences_in_context),
        "search": cosine(vectors.search, known.search),
        "overlap": rarity.overlap(question.asked, body),
        "overlap_translated": rarity.overlap(question.translated, body),
        "heading_overlap": rarity.overlap(question.asked, heading),
        "heading_overlap_translated": rarity.overlap(question.translated, heading),
        "sentence_overlap": max(rarity.overlap(question.asked, words(one.text)) for one in sentences),
        # What the words in common weigh, not their share: a long story asks no less of a question.
        "common": common / (common + HALF_WEIGHT),
        # The rarest of the question's words that the passage has not, and all of them together.
        "missing": max(missing, default=0.0) / 4,
        "missing_sum": sum(missing) / 20,
        "kind": float(any(answers_kind(question.kind, one.text) for one in sentences)),
    }


def _score(question: _Question, sentence: Sentence, known: PassageVectors, rarity: Rarity, weights: Weights) -> Scored:
    alone, context = known.sentences[sentence.position], known.sentences_in_context[sentence.position]
    vectors, said = question.vectors, words(sentence.text)
    return Scored(
        sentence,
        weights.sentence_cosine * (cosine(vectors.asked, alone) + cosine(vectors.asked, context))
        + weights.sentence_cosine_translated * (cosine(vectors.translated, alone) + cosine(vectors.translated, context))
        + weights.sentence_overlap * rarity.overlap(question.asked, said)
        + weights.sentence_overlap_translated * rarity.overlap(question.translated, said)
        + weights.kind * answers_kind(question.kind, sentence.text),
    )


def worth_asking(candidates: Sequence[Candidate], most: int) -> list[Sentence]:
    """The sentences that the model should be asked about: all of the best passages, as many passages as fit.

    Passages so far behind that the model's word could not bring them forward are left out, which saves time.
    """
    chosen: list[Sentence] = []
    for candidate in candidates:
        if candidate.score < candidates[0].score - WITHIN_REACH:
            return chosen
        if len(chosen) + len(candidate.sentences) > most:
            return chosen or [one.sentence for one in candidate.sentences[:most]]
        chosen.extend(one.sentence for one in candidate.sentences)
    return chosen


def with_likelihoods(
    candidates: Sequence[Candidate], likelihoods: Mapping[tuple[str, int], float], weights: Weights = WEIGHTS
) -> list[Candidate]:
    """The candidates ordered anew by what the model says, by `Sentence.key`; those not asked about stay behind."""
    asked: list[Candidate] = []
    unasked: list[Candidate] = []
    for candidate in candidates:
        known = [likelihoods[key] for one in candidate.sentences if (key := one.sentence.key) in likelihoods]
        if not known:
            unasked.append(candidate)
            continue
        assumed = min(known) - UNASKED
        sentences = [
            replace(
                one,
                score=one.score + weights.sentence_likelihood * likelihoods.get(one.sentence.key, assumed),
                likelihood=likelihoods.get(one.sentence.key),
            )
            for one in candidate.sentences
        ]
        asked.append(
            replace(
                candidate,
                score=candidate.score + weights.passage_likelihood * max(known),
                sentences=tuple(sorted(sentences, key=lambda one: -one.score)),
            )
        )
    return sorted(asked, key=lambda candidate: -candidate.score) + unasked


def cosine(one: Vector, other: Vector) -> float:
    """The cosine of two vectors of length one."""
    return float(np.dot(one, other))
