"""Which model and which replica serve a request: pure functions over what is known of them."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serve_apps.assistant.config import CapabilityName, ModelConfig
from serve_apps.assistant.errors import ModelNotFound, ModelOverloaded, ModelUnavailable

# A replica that holds a conversation's prefix may be this much busier than the idlest before the prefix is given up:
# waiting behind four requests costs about what computing a few hundred tokens again costs.
AFFINITY_SLACK = 4
RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """A ready replica; `load` counts requests running, waiting and sent there since its last report."""

    replica: str
    load: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Query:
    """What a request needs; empty fields ask for nothing."""

    model: str = ""
    capabilities: frozenset[CapabilityName] = frozenset()
    affinity_key: str = ""
    prompt_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """Where the request goes, and why."""

    model: ModelConfig
    replica: str
    reason: str


def choose(
    models: Sequence[ModelConfig], replicas: Mapping[str, Sequence[ReplicaState]], query: Query, draw: random.Random
) -> Choice:
    """The first model that fits and has room, and a replica of it; no I/O.

    `replicas` are by model name. Raises ModelNotFound when no model fits, ModelUnavailable when none of those that fit
    has a ready replica, ModelOverloaded when all of their queues are full.
    """
    fitting = candidates(models, query)
    ready = [model for model in fitting if replicas.get(model.name)]
    if not ready:
        raise ModelUnavailable(retry_after_seconds=RETRY_SECONDS)
    for model in ready:
        free = [state for state in replicas[model.name] if state.load < state.capacity]
        if free:
            replica, why = pick(free, query.affinity_key, draw)
            by_name = "by name" if query.model else "first that fits" if model is fitting[0] else "next with room"
            return Choice(model, replica, f"model {by_name}; replica {why}")
    raise ModelOverloaded(retry_after_seconds=RETRY_SECONDS)


def candidates(models: Sequence[ModelConfig], query: Query) -> list[ModelConfig]:
    """The models that can serve the query, in order of preference. Raises ModelNotFound."""
    named = [model for model in models if query.model in ("", model.name)]
    able = [
        model
        for model in named
        if query.capabilities <= set(model.capabilities) and query.prompt_tokens < model.context_length
    ]
    if not able:
        what = f"No model named {query.model}." if query.model and not named else "No model can do what is asked."
        raise ModelNotFound(what, resource_name=query.model)
    return able


def pick(states: Sequence[ReplicaState], affinity_key: str, draw: random.Random) -> tuple[str, str]:
    """A replica among those with room, and why: the key's own unless it is much busier, else the idler of two."""
    if len(states) == 1:
        return states[0].replica, "the only one"
    if affinity_key:
        own = max(states, key=lambda state: _weight(affinity_key, state.replica))
        if own.load <= min(state.load for state in states) + AFFINITY_SLACK:
            return own.replica, "by affinity"
    first, second = draw.sample(states, 2)
    return min(first, second, key=lambda state: state.load).replica, "idler of two"


def _weight(key: str, replica: str) -> bytes:
    # Rendezvous hashing: when a replica comes or goes, only the keys that it gains or loses move.
    return hashlib.blake2b(f"{key}\0{replica}".encode(), digest_size=8).digest()
