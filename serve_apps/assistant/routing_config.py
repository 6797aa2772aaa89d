"""How the router weighs models and replicas: policies as data, composed in the target's file."""

from typing import Annotated, Literal

from pydantic import Field

from serve_apps.assistant.part import Part


class ModelWeights(Part):
    """Among the models that can serve a request the one with the highest weighted sum does; each part is 0 to 1.

    The ties of equal sums go to the model that stands first in the file.
    """

    # Better answers: quality tier over the best of the candidates.
    quality: float = Field(default=0.0, ge=0, le=100)
    # Cheaper: 1 for a free one, 0 for the dearest of the candidates.
    cost: float = Field(default=0.0, ge=0, le=100)
    # Idler: share of free places at its idlest replica.
    load: float = Field(default=0.0, ge=0, le=100)


class SessionAffinity(Part):
    """A conversation stays at one replica, which holds its prefix, until that is much busier than the idlest."""

    kind: Literal["session_affinity"]
    # By so many requests. Waiting behind four costs about what computing a few hundred tokens again costs.
    slack: int = Field(default=4, ge=0)


class PrefixAffinity(Part):
    """The replica that has seen most of the prompt's beginning, unless it is much busier than the idlest."""

    kind: Literal["prefix_affinity"]
    # By so many requests. Fewer spread a prefix over more caches than hold it; docs/scaling.md has what that costs.
    slack: int = Field(default=8, ge=0)
    # Prompts are compared in blocks; what is remembered of each replica, about the size of its KV cache.
    remembered_blocks: int = Field(default=4096, ge=1)
    # Share of the prompt's blocks that must be known for it to count.
    least_share: float = Field(default=0.3, ge=0, le=1)


class PowerOfTwo(Part):
    """The idler of two drawn at random."""

    kind: Literal["power_of_two"]


class LeastLoaded(Part):
    """The idlest of all; right for few replicas and one router, as several routers would all pick the same."""

    kind: Literal["least_loaded"]


ReplicaPolicy = Annotated[SessionAffinity | PrefixAffinity | PowerOfTwo | LeastLoaded, Field(discriminator="kind")]


class QueueConfig(Part):
    """Requests that wait in the router for room, in an order of its own; in a replica's queue they could only stand."""

    # Most that wait in one router. When one more comes, the least urgent of the tenant that takes most is refused;
    # before that, whatever has a priority above 0.
    max_waiting: int = Field(default=256, ge=0, le=4096)
    # A replica is sent none of them while it has this share of its capacity, so that what it holds is soon done.
    load_share: float = Field(default=0.5, gt=0, le=1)


class CascadeConfig(Part):
    """Small first: a request goes to the first of these models that can serve it.

    When the answer was not good enough, which is the caller's to see, it asks for the next with `escalate_from`.
    """

    # By name, from the first to the last resort.
    models: tuple[str, ...] = Field(min_length=2)
    # Below this mean natural-log probability of its tokens an answer counts as a guess.
    least_mean_log_probability: float = Field(default=-1.0, le=0)


class HedgingConfig(Part):
    """A second replica for what is slow to begin: after the time within which 95 of 100 have their first token."""

    # Of a minute's requests, so many may be sent a second time.
    share: float = Field(default=0.05, ge=0, le=1)
    # Sooner nobody is.
    least_seconds: float = Field(default=0.1, ge=0)


class RouterConfig(Part):
    """The router."""

    replicas: int = Field(default=1, ge=1)
    models: ModelWeights = ModelWeights()
    # The first that names a replica decides; power of two stands behind them all.
    replica_policies: tuple[ReplicaPolicy, ...] = (
        SessionAffinity(kind="session_affinity"),
        PowerOfTwo(kind="power_of_two"),
    )
    queue: QueueConfig = QueueConfig()
    cascade: CascadeConfig | None = None
    hedging: HedgingConfig | None = None
    # Models that serve in place of one that was asked for by name while that is away, degraded or full: the first able.
    fallbacks: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    # For how long a caller may send a conversation's next request to the same place without asking again.
    lease_seconds: float = Field(default=5.0, ge=0, le=600)
    # A replica above this share of its capacity grants no lease: its load is about to matter.
    lease_load_share: float = Field(default=0.5, gt=0, le=1)
