"""Which model and which replica serve a request: a pure function over what is known of them.

It runs in two steps. Every model is judged: out of the question, with a reason, or a score. Then a replica of the best
one is picked by the policies of the target's file. The whole of it is kept as a Choice, so that each decision can be
explained afterwards.
"""

import functools
import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from serve_apps.assistant.config import CapabilityName, ModelConfig
from serve_apps.assistant.errors import ModelAsleep, ModelNotFound, ModelOverloaded, ModelUnavailable
from serve_apps.assistant.routing_config import (
    LeastLoaded,
    ModelWeights,
    PowerOfTwo,
    PrefixAffinity,
    RouterConfig,
    SessionAffinity,
)

RETRY_SECONDS = 1.0
# A request of low urgency finds a model full when this share of its places is taken.
LOW_PRIORITY_SHARE = 0.8
_BY_SCORE = ("best score", "first of equals")
_MASK = (1 << 32) - 1
_ODD = 0x9E3779B1


class Rejection(StrEnum):
    """Why a model is out of the question; the words of `deskmesh.inference.v1.Rejection`."""

    NAME = "name"
    CAPABILITY = "capability"
    CONTEXT = "context"
    LANGUAGE = "language"
    QUALITY = "quality"
    COST = "cost"
    UNAVAILABLE = "unavailable"
    OVERLOADED = "overloaded"
    DISABLED = "disabled"
    CASCADE = "cascade"


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """A ready replica; `load` counts requests running, waiting and sent there since its last report.

    `first_token_seconds` and `token_seconds` are what it has lately needed, 0 when it has served nobody yet.
    """

    replica: str
    load: int
    capacity: int
    degraded: bool = False
    first_token_seconds: float = 0.0
    token_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Query:
    """What a request needs; empty fields ask for nothing. `disabled` are models that the registry has taken out.
    `known_blocks`: by replica, how many of the prompt's
    `prefix_blocks` it has seen."""

    model: str = ""
    capabilities: frozenset[CapabilityName] = frozenset()
    affinity_key: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    min_quality: int = 0
    max_cost: float | None = None
    within_seconds: float | None = None
    language: str = ""
    priority: int = 0
    avoid: frozenset[str] = frozenset()
    disabled: frozenset[str] = frozenset()
    prefix_blocks: tuple[int, ...] = ()
    known_blocks: Mapping[str, int] = field(default_factory=dict)
    # The model whose answer was not good enough: only those after it in the cascade come into question.
    escalate_from: str = ""
    # A replica counts as full at this share of its capacity.
    room_share: float = 1.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model as it was judged. Without `rejection` it could have served, at `replica`."""

    model: ModelConfig
    rejection: Rejection | None
    ready: int
    cost: float = 0.0
    expected_seconds: float = 0.0
    replica: str = ""
    replica_reason: str = ""
    load_share: float = 0.0
    degraded: bool = False
    late: bool = False
    score: float = 0.0
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """Where the request goes: the first candidate. The others follow from best to worst, the rejected last."""

    candidates: tuple[Candidate, ...]
    model_reason: str
    lease_seconds: float
    # Set when there is a better model to ask: below this mean log probability of its tokens an answer is a guess.
    escalate_below: float | None = None
    # Seconds without a first token after which a second replica may be asked for; 0 for none.
    hedge_after_seconds: float = 0.0
    # What it waited in the router for room, and the place in the queue at which it began; 0 for none.
    waited_seconds: float = 0.0
    place: int = 0
    # Version of the model at the chosen replica; empty when it is not known.
    version: str = ""
    # Of 100 turns so many are to be repeated for a version in the shadow.
    shadow_percent: int = 0

    @property
    def model(self) -> ModelConfig:
        """The chosen model."""
        return self.candidates[0].model

    @property
    def replica(self) -> str:
        """The chosen replica."""
        return self.candidates[0].replica

    @property
    def reason(self) -> str:
        """Both reasons in a few words."""
        return f"model {self.model_reason}; replica {self.candidates[0].replica_reason}"


def choose(
    config: RouterConfig,
    models: Sequence[ModelConfig],
    replicas: Mapping[str, Sequence[ReplicaState]],
    query: Query,
    draw: random.Random,
) -> Choice:
    """The best model that can serve the query now, and a replica of it; no I/O.

    `replicas` are by model name. Raises ModelNotFound when no model fits, ModelUnavailable when none of those that fit
    has a ready replica, ModelAsleep when one of these keeps none, ModelOverloaded when all of their queues are full.
    """
    if query.model in config.fallbacks:
        return _with_fallbacks(config, models, replicas, query, draw)
    judged = [_judge(config, model, replicas.get(model.name, ()), query, draw) for model in models]
    able = _scored(config.models, [one for one in judged if one.rejection is None])
    rejected = [one for one in judged if one.rejection is not None]
    if not able:
        raise _refusal(query, rejected)
    # The sort is stable: equals stay in the order of the file.
    steps = _steps(config, query)
    able.sort(
        key=lambda one: (
            one.degraded,
            one.late,
            one.expected_seconds if one.late else steps.get(one.model.name, len(steps)),
            -one.score,
        )
    )
    best = able[0]
    lease = config.lease_seconds if best.load_share < config.lease_load_share and not best.degraded else 0.0
    reason = _model_reason(best, able, rejected, query)
    if best.model.name in steps and reason in _BY_SCORE:
        reason = "first of the cascade"
    if query.escalate_from and not (best.degraded or best.late):
        reason = f"next in the cascade after {query.escalate_from}"
    return Choice((*able, *rejected), reason, lease, escalate_below=_escalate_below(config, best, able))


def pick(
    config: RouterConfig, states: Sequence[ReplicaState], query: Query, draw: random.Random
) -> tuple[ReplicaState, str]:
    """A replica among those with room, and why."""
    if len(states) == 1:
        return states[0], "the only one"
    idlest = min(states, key=_load)
    for policy in config.replica_policies:
        match policy:
            case SessionAffinity(slack=slack) if query.affinity_key:
                own = _favourite(query.affinity_key, states)
                if own.load <= idlest.load + slack:
                    return own, "by session affinity"
            case PrefixAffinity(slack=slack, least_share=share) if query.known_blocks:
                known = query.known_blocks
                # Of those that know as much, the idlest.
                own = max(states, key=lambda state: (known.get(state.replica, 0), -state.load))
                blocks = known.get(own.replica, 0)
                enough = blocks > 0 and blocks >= share * len(query.prefix_blocks)
                if enough and own.load <= idlest.load + slack:
                    return own, f"by prefix affinity ({blocks} of {len(query.prefix_blocks)} blocks)"
            case LeastLoaded():
                return idlest, "the idlest"
            case PowerOfTwo():
                break
            case _:
                continue
    first, second = draw.sample(states, 2)
    return min(first, second, key=_load), "idler of two"


def _with_fallbacks(
    config: RouterConfig,
    models: Sequence[ModelConfig],
    replicas: Mapping[str, Sequence[ReplicaState]],
    query: Query,
    draw: random.Random,
) -> Choice:
    """The model that was asked for by name, or else the first sound one that may stand in for it."""
    alone = config.model_copy(update={"fallbacks": {}})
    found: list[tuple[str, Choice]] = []
    refused: list[ModelUnavailable | ModelOverloaded] = []
    for name in (query.model, *config.fallbacks[query.model]):
        try:
            choice = choose(alone, models, replicas, replace(query, model=name), draw)
        except (ModelUnavailable, ModelOverloaded) as error:
            refused.append(error)
            continue
        except ModelNotFound:
            if name == query.model:
                raise
            continue
        found.append((name, choice))
        if not choice.candidates[0].degraded:
            break
    if not found:
        raise refused[0]
    # The last one is sound, or all are degraded.
    name, choice = found[-1] if not found[-1][1].candidates[0].degraded else found[0]
    return choice if name == query.model else replace(choice, model_reason=f"in place of {query.model}")


def _steps(config: RouterConfig, query: Query) -> Mapping[str, int]:
    """The models of the cascade in their order; none for a request that names its model."""
    if config.cascade is None or query.model:
        return {}
    return {name: step for step, name in enumerate(config.cascade.models)}


def _escalate_below(config: RouterConfig, best: Candidate, able: Sequence[Candidate]) -> float | None:
    """How unlikely an answer may be before the next model is asked; None when none could do better now."""
    after = _after(config, best.model.name)
    if config.cascade is None or not any(one.model.name in after for one in able):
        return None
    return config.cascade.least_mean_log_probability


def _judge(
    config: RouterConfig, model: ModelConfig, states: Sequence[ReplicaState], query: Query, draw: random.Random
) -> Candidate:
    cost = model.cost.of(query.prompt_tokens, query.completion_tokens)
    rejection = _unfit(config, model, query, cost)
    if rejection is not None:
        return Candidate(model, rejection, len(states), cost)
    ready = [state for state in states if state.replica not in query.avoid] if query.avoid else states
    if not ready:
        return Candidate(model, Rejection.UNAVAILABLE, len(states), cost)
    sound = [state for state in ready if not state.degraded]
    share = min(query.room_share, LOW_PRIORITY_SHARE if query.priority > 0 else 1.0)
    free = [state for state in (sound or ready) if state.load < state.capacity * share]
    if not free:
        return Candidate(model, Rejection.OVERLOADED, len(states), cost)
    chosen, why = pick(config, free, query, draw)
    expected = chosen.first_token_seconds + chosen.token_seconds * query.completion_tokens
    return Candidate(
        model,
        None,
        len(states),
        cost,
        expected,
        chosen.replica,
        why,
        chosen.load / chosen.capacity,
        degraded=not sound,
        late=query.within_seconds is not None and expected > query.within_seconds,
    )


def _unfit(config: RouterConfig, model: ModelConfig, query: Query, cost: float) -> Rejection | None:
    """What does not depend on replicas."""
    tokens = query.prompt_tokens + max(query.completion_tokens, 1)
    failed = {
        Rejection.NAME: query.model not in ("", model.name),
        Rejection.DISABLED: model.name in query.disabled,
        Rejection.CAPABILITY: not query.capabilities <= set(model.capabilities),
        Rejection.CONTEXT: tokens > model.context_length,
        Rejection.LANGUAGE: bool(query.language) and query.language not in model.languages,
        Rejection.QUALITY: model.quality < query.min_quality,
        Rejection.COST: query.max_cost is not None and cost > query.max_cost,
        Rejection.CASCADE: bool(query.escalate_from) and model.name not in _after(config, query.escalate_from),
    }
    return next((reason for reason, holds in failed.items() if holds), None)


def _after(config: RouterConfig, name: str) -> Sequence[str]:
    """The models of the cascade after one of them."""
    models = config.cascade.models if config.cascade else ()
    return models[models.index(name) + 1 :] if name in models else ()


def _scored(weights: ModelWeights, candidates: Sequence[Candidate]) -> list[Candidate]:
    best_quality = max((one.model.quality for one in candidates), default=1)
    dearest = max((one.cost for one in candidates), default=0.0)
    scored = []
    for one in candidates:
        parts = {
            "quality": weights.quality * one.model.quality / best_quality,
            "cost": weights.cost * (1 - one.cost / dearest if dearest else 1.0),
            "load": weights.load * (1 - min(one.load_share, 1.0)),
        }
        scored.append(replace(one, score=sum(parts.values()), parts=parts))
    return scored


def _model_reason(best: Candidate, able: Sequence[Candidate], rejected: Sequence[Candidate], query: Query) -> str:
    if best.degraded:
        return "degraded, but no other can serve"
    if best.late:
        return "too slow for the deadline, but none is faster"
    if query.model:
        return "by name"
    if any(one.rejection in (Rejection.UNAVAILABLE, Rejection.OVERLOADED) for one in rejected):
        return "in place of one that is full or away" if len(able) == 1 else "best of those with room"
    if len(able) == 1:
        return "the only one that fits"
    return _BY_SCORE[0] if best.score > able[1].score else _BY_SCORE[1]


def _refusal(query: Query, rejected: Sequence[Candidate]) -> ModelNotFound | ModelUnavailable | ModelOverloaded:
    reasons = {one.rejection for one in rejected}
    for one in rejected:
        if one.rejection is Rejection.UNAVAILABLE and one.model.autoscaling.min_replicas == 0:
            return ModelAsleep(one.model.name)
    if Rejection.OVERLOADED in reasons:
        return ModelOverloaded(retry_after_seconds=RETRY_SECONDS)
    if reasons & {Rejection.UNAVAILABLE, Rejection.DISABLED}:
        return ModelUnavailable(retry_after_seconds=RETRY_SECONDS)
    if query.model and reasons <= {Rejection.NAME}:
        return ModelNotFound(f"No model named {query.model}.", resource_name=query.model)
    lacking = ", ".join(sorted(reason for reason in reasons if reason and reason is not Rejection.NAME))
    return ModelNotFound(f"No model can do what is asked; in the way: {lacking}.", resource_name=query.model)


def _load(state: ReplicaState) -> int:
    return state.load


def _favourite(key: str, states: Sequence[ReplicaState]) -> ReplicaState:
    """Rendezvous hashing: when a replica comes or goes, only the keys that it gains or loses move.

    One multiplication each, as there may be thousands of replicas.
    """
    own = _hash(key)
    weights = [((own ^ _hash(state.replica)) * _ODD) & _MASK for state in states]
    return states[weights.index(max(weights))]


@functools.lru_cache(maxsize=65_536)
def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=4).digest(), "big")
