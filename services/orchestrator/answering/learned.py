"""What questions with known answers taught: how much each feature says for a passage, and for answering at all.

`weights.json` is written by `python -m benchmarks.learn_answering`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Learned:
    """Weights by feature: `passage` orders passages; `answering` and `bias` make log odds that the best answers."""

    version: str
    passage: Mapping[str, float]
    answering: Mapping[str, float]
    bias: float


def load() -> Learned:
    """The weights beside this file."""
    data = json.loads(files(__package__).joinpath("weights.json").read_text(encoding="utf-8"))
    return Learned(data["version"], data["passage"], data["answering"], data["bias"])


LEARNED = load()


def passage_score(features: Mapping[str, float]) -> float:
    """How well a passage answers, compared with others for the same question."""
    return sum(weight * features[name] for name, weight in LEARNED.passage.items())


def log_odds(features: Mapping[str, float]) -> float:
    """For a passage that answers against one that does not; 0 is as likely as not, on the questions learned from."""
    return LEARNED.bias + sum(weight * features[name] for name, weight in LEARNED.answering.items())
