"""Learns how passages are weighed and when one is an answer: `python -m benchmarks.learn_answering [--write]`.

Runs without the stack, on the demo articles and the embedders of the laptop target. Learns from golden, tryout,
fresh-tuned, plain-tuned, unanswerable-tuned and the decisions without an answer; prints what cross-validation finds on
those, and what comes out on fresh-held and plain-held, which nothing is learned from. A hit is a heading that answers,
of the right article. `--write` stores the weights in the orchestrator. Takes two minutes of one core.
"""

import argparse
import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import frontmatter
import numpy as np
import torch
from numpy.typing import NDArray

from serve_apps.assistant.config import load_config
from serve_apps.assistant.embedding import Encoder
from serve_apps.assistant.engines.bert import Bert
from serve_apps.assistant.models import locate
from services.knowledge.text import sections
from services.orchestrator.answering import lexicon
from services.orchestrator.answering.passages import Passage
from services.orchestrator.answering.ranking import (
    Candidate,
    PassageVectors,
    Vector,
    Vectors,
    in_context,
    passage_text,
    rank,
)
from services.orchestrator.answering.sentences import split_passage

ROOT = Path(__file__).parents[1]
QUESTIONS = ROOT / "demo" / "questions"
WEIGHTS = ROOT / "services" / "orchestrator" / "answering" / "weights.json"
TUNED = ("golden", "tryout", "fresh-tuned", "plain-tuned", "unanswerable-tuned")
HELD = ("fresh-held", "plain-held")
# Golden questions close to the articles' wording are easy; they count half.
SHARE = {"golden": 0.5}
FOLDS = 8
SEEDS = (3, 4)
PASSAGE_PENALTY = 0.1
ANSWERING_PENALTY = 0.05
# The threshold lies where so many of the questions without an answer are answered, when they were not learned from.
ANSWERED_WRONGLY = 0.08
# The mean lead of the first passage over the second, to which what likelihoods add was fitted.
LEAD = 0.25
ANSWERING = (
    "passage",
    "sentence",
    "search",
    "overlap",
    "overlap_translated",
    "kind",
    "common",
    "missing",
    "missing_sum",
)
A_SEARCH = 12
# As many as two searches find together at most.
CANDIDATES_KEPT = 24

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Question:
    """A question with its candidates; `right` says which of them answer it, none when nothing does."""

    source: str
    text: str
    answerable: bool
    candidates: Sequence[Candidate]
    right: Sequence[bool]


class HelpCentre:
    """The demo articles, searched as the knowledge service does it."""

    def __init__(self, likeness: Encoder, search: Encoder, question_prefix: str) -> None:
        self._likeness, self._search, self._prefix = likeness, search, question_prefix
        self.passages = [
            passage for file in sorted((ROOT / "demo/articles").glob("*.md")) for passage in _passages(file)
        ]
        self.split = {passage.id: split_passage(passage) for passage in self.passages}
        self.known = {passage.id: self._vectors(passage) for passage in self.passages}
        self._wholes: Matrix = np.array([self.known[passage.id].passage for passage in self.passages])
        self._fields = [
            [set(lexicon.words(text)) for text in (passage.article_title, passage.heading, passage.text)]
            for passage in self.passages
        ]
        self._rarity = lexicon.Rarity.of([set.union(*fields) for fields in self._fields])

    def _vectors(self, passage: Passage) -> PassageVectors:
        sentences, text = self.split[passage.id], passage_text(passage)
        whole, *rest = _encode(
            self._likeness, [text, *(one.text for one in sentences), *(in_context(one) for one in sentences)]
        )
        [search] = _encode(self._search, [text])
        return PassageVectors(whole, search, tuple(rest[: len(sentences)]), tuple(rest[len(sentences) :]))

    def candidates(self, question: str) -> list[Candidate]:
        """Ranked as the orchestrator ranks them before it asks the model."""
        texts = [question, lexicon.translated(question)]
        like = _encode(self._likeness, texts)
        [search] = _encode(self._search, [f"{self._prefix}{question}"])
        found = [self._found(text, vector) for text, vector in zip(texts, like, strict=True)]
        chosen = dict.fromkeys(place for pair in zip(*found, strict=True) for place in pair)
        passages = {self.passages[place]: self.split[self.passages[place].id] for place in chosen}
        return rank(question, Vectors(like[0], like[1], search), passages, self.known)

    def _found(self, text: str, vector: Vector) -> list[int]:
        asked = set(lexicon.words(text))
        words = [
            sum(
                self._rarity.weight(word)
                * sum(w * (word in field) for w, field in zip((1, 0.7, 0.5), fields, strict=True))
                for word in asked
            )
            for fields in self._fields
        ]
        best = [max(float(one @ vector) for one in self.known[p.id].sentences) for p in self.passages]
        scores = np.zeros(len(self.passages))
        for weight, values in ((0.7, np.array(words)), (1.0, self._wholes @ vector), (1.0, np.array(best))):
            for place, index in enumerate(np.argsort(-values, kind="stable")[:50], start=1):
                scores[index] += weight / (10 + place) if values[index] > 0 else 0.0
        return [int(index) for index in np.argsort(-scores, kind="stable")[:A_SEARCH]]


def _encode(encoder: Encoder, texts: Sequence[str]) -> list[Vector]:
    return [np.array(vector.values, dtype=np.float32) for vector in encoder.encode(texts)]


def _passages(file: Path) -> list[Passage]:
    article = frontmatter.loads(file.read_text(encoding="utf-8"))
    slug, title = str(article["slug"]), str(article["title"])
    return [
        Passage(f"{slug}#{number}", slug, title, 1, part.heading, part.text, "", 0.0, 0)
        for number, part in enumerate(sections.split(article.content, title))
    ]


def read_questions(source: str, centre: HelpCentre) -> list[Question]:
    """The questions of a file with their candidates."""
    rows = [json.loads(line) for line in (QUESTIONS / f"{source}.jsonl").read_text(encoding="utf-8").splitlines()]
    return [_question(source, row["question"], row, centre) for row in rows]


def read_decisions(centre: HelpCentre) -> list[Question]:
    """The conversations of the decisions that nothing in the help centre answers."""
    rows = [json.loads(line) for line in (QUESTIONS / "decisions.jsonl").read_text(encoding="utf-8").splitlines()]
    return [
        _question("decisions", row["messages"][-1], {"answerable": False}, centre)
        for row in rows
        if row["kind"] in {"unknown_shop", "off_topic"}
    ]


def _question(source: str, text: str, row: Mapping[str, Any], centre: HelpCentre) -> Question:
    candidates = centre.candidates(text)[:CANDIDATES_KEPT]
    wanted = {(row.get("article_slug"), heading) for heading in (row.get("heading"), *row.get("also", ()))}
    right = [(one.passage.article_id, one.passage.heading) in wanted for one in candidates]
    return Question(source, text, bool(row.get("answerable", True)), candidates, right)


@dataclass(frozen=True)
class Weighed:
    """Weights by feature, those of the answering with their bias."""

    passage: dict[str, float]
    answering: dict[str, float]
    bias: float

    def best(self, question: Question) -> int:
        """The place of the passage that comes first."""
        scores = [sum(w * one.features[n] for n, w in self.passage.items()) for one in question.candidates]
        return int(np.argmax(scores))

    def log_odds(self, question: Question) -> float:
        """That the best passage answers."""
        features = question.candidates[self.best(question)].features
        return self.bias + sum(weight * features[name] for name, weight in self.answering.items())


def learn(questions: Sequence[Question]) -> Weighed:
    """First the order of passages, then, with it, whether the best of them answers."""
    # The model for search knows when to answer; to the order it adds nothing.
    names = sorted(set(questions[0].candidates[0].features) - {"search"})
    answered = [one for one in questions if any(one.right)]
    passage = dict(zip(names, _learn_order(answered, names), strict=True))
    order = Weighed(passage, {}, 0.0)
    decided = [one for one in questions if not one.answerable or (any(one.right) and one.right[order.best(one)])]
    rows = [[one.candidates[order.best(one)].features[name] for name in ANSWERING] for one in decided]
    weights, bias = _learn_answering(rows, [one.answerable for one in decided])
    return Weighed(passage, dict(zip(ANSWERING, weights, strict=True)), bias)


def _learn_order(questions: Sequence[Question], names: Sequence[str]) -> list[float]:
    features = torch.zeros(len(questions), CANDIDATES_KEPT, len(names))
    absent = torch.full((len(questions), CANDIDATES_KEPT), -1e9)
    right = torch.full((len(questions), CANDIDATES_KEPT), -1e9)
    for row, one in enumerate(questions):
        for place, candidate in enumerate(one.candidates):
            features[row, place] = torch.tensor([candidate.features[name] for name in names])
            absent[row, place] = 0.0
            right[row, place] = 0.0 if one.right[place] else -1e9
    share = torch.tensor([SHARE.get(one.source, 1.0) for one in questions])
    weights = torch.zeros(len(names), requires_grad=True)

    def loss() -> torch.Tensor:
        scores = features @ weights + absent
        chance = torch.logsumexp(scores + right, 1) - torch.logsumexp(scores, 1)
        return -(chance * share).sum() / share.sum() + PASSAGE_PENALTY * (weights**2).mean()

    _descend(loss, [weights])
    top = (features @ weights.detach() + absent).topk(2, dim=1).values
    scale = LEAD / float((top[:, 0] - top[:, 1]).mean())
    return [float(weight) * scale for weight in weights.detach()]


def _learn_answering(rows: Sequence[Sequence[float]], answerable: Sequence[bool]) -> tuple[list[float], float]:
    values, wanted = torch.tensor(rows), torch.tensor(answerable, dtype=torch.float32)
    mean, spread = values.mean(0), values.std(0) + 1e-6
    even = (values - mean) / spread
    weights, bias = torch.zeros(len(ANSWERING), requires_grad=True), torch.zeros(1, requires_grad=True)
    # As if there were as many of either kind.
    balance = (wanted == 0).sum() / (wanted == 1).sum()

    def loss() -> torch.Tensor:
        miss = torch.nn.functional.binary_cross_entropy_with_logits(even @ weights + bias, wanted, pos_weight=balance)
        return miss + ANSWERING_PENALTY * (weights**2).mean()

    _descend(loss, [weights, bias])
    plain = weights.detach() / spread
    return [float(weight) for weight in plain], float(bias.detach() - (plain * mean).sum())


def _descend(loss: Callable[[], torch.Tensor], weights: list[torch.Tensor]) -> None:
    optimizer = torch.optim.LBFGS(weights, max_iter=200, line_search_fn="strong_wolfe")

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(step)


Judged = tuple[float, Question, bool]


def judged(weighed: Weighed, questions: Sequence[Question]) -> list[Judged]:
    """Log odds of each question, and whether its best passage is the right one."""
    return [(weighed.log_odds(one), one, bool(one.right[weighed.best(one)])) for one in questions]


def cross_validated(questions: Sequence[Question], seed: int) -> list[Judged]:
    """Each question judged by weights that were not learned from it."""
    shuffled = random.Random(seed).sample(list(questions), len(questions))
    found: list[Judged] = []
    for fold in range(FOLDS):
        rest = [one for place, one in enumerate(shuffled) if place % FOLDS != fold]
        found += judged(learn(rest), shuffled[fold::FOLDS])
    return found


def threshold(found: Sequence[Judged], share: float) -> float:
    """The log odds above which a share of the questions without an answer lies."""
    against = sorted((odds for odds, one, _ in found if not one.answerable), reverse=True)
    return against[int(share * len(against))]


def report(name: str, found: Sequence[Judged], answer_from: float) -> None:
    """One line a file of questions."""
    for source in dict.fromkeys(one.source for _, one, _ in found):
        mine = [entry for entry in found if entry[1].source == source]
        asked = [entry for entry in mine if entry[1].answerable]
        right = sum(hit and odds >= answer_from for odds, _, hit in asked)
        given = sum(odds >= answer_from for odds, _, _ in asked)
        against = [odds for odds, one, _ in mine if not one.answerable]
        said = sum(odds >= answer_from for odds in against)
        print(
            f"{name:16} {source:20} right passage {sum(hit for *_, hit in asked)}/{len(asked)}, "
            f"answered right {right}, another passage {given - right}, asked back {len(asked) - given}; "
            f"without an answer {len(against)}, answered {said}"
        )


def main() -> None:
    """Learn, report, and store when told to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="store the weights in the orchestrator")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    config = load_config(ROOT / "serve_apps/configs/laptop.yaml").embedder
    if config is None:
        raise SystemExit("the laptop target has no embedder")
    [further] = config.further
    likeness, search = (
        Bert(locate(one.source), pooling=one.pooling, max_tokens=one.max_tokens, threads=1) for one in (config, further)
    )
    centre = HelpCentre(likeness, search, further.question_prefix)
    tuned = [one for source in TUNED for one in read_questions(source, centre)] + read_decisions(centre)
    tries = [cross_validated(tuned, seed) for seed in SEEDS]
    found = [entry for one in tries for entry in one]
    answer_from = threshold(found, ANSWERED_WRONGLY)
    for one in tries:
        report("cross-validated", one, answer_from)
    weighed = learn(tuned)
    report("learned from", judged(weighed, tuned), answer_from)
    report("held out", judged(weighed, [one for source in HELD for one in read_questions(source, centre)]), answer_from)
    print(f"30% of those without an answer lie above {threshold(found, 0.3) - answer_from:.2f}")
    if arguments.write:
        data = {
            "passage": {name: round(weight, 4) for name, weight in weighed.passage.items()},
            "answering": {name: round(weight, 4) for name, weight in weighed.answering.items()},
            # The threshold is folded in: from 0 on an answer is given.
            "bias": round(weighed.bias - answer_from, 4),
        }
        version = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]
        WEIGHTS.write_text(json.dumps({"version": f"weights/{version}", **data}, indent=2) + "\n")


if __name__ == "__main__":
    main()
