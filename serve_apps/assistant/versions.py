"""Versions of models: which there are, and which of them a conversation gets. No I/O.

The same configuration has the same version, whatever file it stands in. Adapters do not count: they change in running
replicas.
"""

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from serve_apps.assistant.config import EndpointSource, ModelConfig
from serve_apps.assistant.control import Targets
from serve_apps.assistant.routing import ReplicaState

VERSION_LENGTH = 10
# A conversation keeps its version for so long after its last request, so that none changes within a turn.
KEPT_SECONDS = 30.0
MOST_KEPT = 50_000
_BUCKETS = 10_000

Versions = Mapping[str, str]


def version_of(model: ModelConfig) -> str:
    """The version of a model's configuration."""
    content = model.model_copy(update={"adapters": ()}).model_dump(mode="json")
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:VERSION_LENGTH]


def versions_of(models: Sequence[ModelConfig]) -> dict[str, str]:
    """The version of each model by name."""
    return {model.name: version_of(model) for model in models}


@dataclass(frozen=True, slots=True)
class Split:
    """What serves, and what is tried for `percent` of the conversations and all of `tenants`; versions by model.

    `shadow`: those for which `shadow_percent` of 100 turns are repeated.
    """

    stable: Versions = field(default_factory=dict)
    candidate: Versions = field(default_factory=dict)
    percent: int = 0
    tenants: frozenset[str] = frozenset()
    shadow: Versions = field(default_factory=dict)
    shadow_percent: int = 0

    def is_tried_by(self, conversation: str, tenant: str) -> bool:
        """Whether a conversation gets the candidate; whoever had it at a small share keeps it at a larger one."""
        if not self.candidate:
            return False
        if tenant and tenant in self.tenants:
            return True
        # By the candidate too, so that the same conversations are not the first each time.
        salt = ",".join(sorted(self.candidate.values()))
        digest = hashlib.blake2b(f"{salt}/{conversation}".encode(errors="surrogatepass"), digest_size=4).digest()
        return int.from_bytes(digest) % _BUCKETS < self.percent * (_BUCKETS // 100)


def split_of(targets: Targets, stable: Sequence[ModelConfig], candidate: Sequence[ModelConfig]) -> Split:
    """The split that the registry wants, by the models of its two files."""
    serving, tried = versions_of(stable), versions_of(candidate)
    shadow = {}
    if targets.shadow_percent:
        known = {model.name: model for model in stable}
        shadow = {
            one.name: tried[one.name]
            for one in candidate
            if one.name in known and tried[one.name] != serving[one.name] and _stays_as_near(known[one.name], one)
        }
    return Split(serving, tried, targets.percent, frozenset(targets.tenants), shadow, targets.shadow_percent)


def _stays_as_near(known: ModelConfig, new: ModelConfig) -> bool:
    """Whether what customers write goes to nobody to whom it does not go now."""
    if not isinstance(new.source, EndpointSource):
        return True
    return isinstance(known.source, EndpointSource) and known.source.url.host == new.source.url.host


class Assignment:
    """Gives each conversation a side, and keeps it there while it goes on and the candidate exists."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._split = Split()
        self._sides: OrderedDict[str, tuple[bool, float]] = OrderedDict()

    def learn(self, split: Split) -> None:
        """Take note of a split; with another candidate everybody is assigned anew."""
        if split.candidate != self._split.candidate:
            self._sides.clear()
        self._split = split

    @property
    def split(self) -> Split:
        """The split as it was learnt last."""
        return self._split

    def versions(self, conversation: str, tenant: str) -> Versions:
        """The version of each model for a request; an empty conversation stands for none that goes on."""
        split = self._split
        if not split.candidate:
            return split.stable
        now = self._clock()
        side, since = self._sides.get(conversation, (False, float("-inf"))) if conversation else (False, float("-inf"))
        if now - since > KEPT_SECONDS:
            side = split.is_tried_by(conversation or str(now), tenant)
        if conversation:
            self._sides[conversation] = (side, now)
            self._sides.move_to_end(conversation)
            if len(self._sides) > MOST_KEPT:
                self._sides.popitem(last=False)
        return {**split.stable, **split.candidate} if side else split.stable

    def serving(
        self, replicas: Mapping[str, Sequence[ReplicaState]], found: Mapping[str, str], conversation: str, tenant: str
    ) -> Mapping[str, Sequence[ReplicaState]]:
        """The replicas that may serve a request: those of its version; of the stable one when that has none; and when
        nothing is known of a model's versions all of them. `found` is the version of each replica."""
        wanted = self.versions(conversation, tenant)
        stable, tried = self._split.stable, self._split.candidate
        if not wanted:
            return replicas
        chosen = {}
        for model, states in replicas.items():
            own = [state for state in states if found.get(state.replica) == wanted.get(model)]
            own = own or [state for state in states if found.get(state.replica) == stable.get(model)]
            unproven = tried.get(model) if tried.get(model) != stable.get(model) else None
            chosen[model] = own or [state for state in states if found.get(state.replica) != unproven]
        return chosen
