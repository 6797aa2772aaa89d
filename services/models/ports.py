"""What the use cases need from outside, in the domain's words."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from services.common.context import IdempotencyKey
from services.models.domain import Event, Model, Sighting
from services.models.gates import Answer
from services.models.golden import Golden
from services.models.live import Seen
from services.models.rollouts import Rollout


class Models(Protocol):
    """The registry."""

    async def all(self) -> list[Model]:
        """Every model, by environment and name."""

    async def find(self, name: str, environment: str, *, lock: bool = False) -> Model | None:
        """One model; `lock` keeps others from changing it meanwhile."""

    async def add(self, model: Model) -> None:
        """Keep a new model. Raises ModelExists."""

    async def save(self, model: Model) -> Model:
        """Keep a changed model, which must be locked; returns it with its next version."""

    async def saw(self, model: Model) -> None:
        """Keep a model's health alone."""


class Events(Protocol):
    """What was done to models; events are never changed."""

    async def add(self, event: Event) -> None:
        """Keep an event."""

    async def page(self, name: str, environment: str, after: str, limit: int) -> list[Event]:
        """At most `limit` events older than the identifier `after`, newest first; empty strings ask for all."""


class Rollouts(Protocol):
    """What was rolled out, is, and served before; of one environment."""

    async def add(self, rollout: Rollout) -> None:
        """Keep a new one. Raises DeploymentInProgress when another is under way."""

    async def get(self, rollout_id: str) -> Rollout:
        """One. Raises DeploymentNotFound."""

    async def save(self, rollout: Rollout) -> bool:
        """Keep a changed one; False when it is no longer as it was read."""

    async def under_way(self) -> Rollout | None:
        """The one that is neither promoted nor taken back."""

    async def promoted(self, base: str, limit: int) -> list[Rollout]:
        """The last ones that were promoted on what the platform was started with, newest first."""

    async def page(self, after: str, limit: int) -> list[Rollout]:
        """At most `limit` older than the identifier `after`, newest first; empty begins."""


class Requests(Protocol):
    """The request_ids seen."""

    async def claim(self, key: IdempotencyKey, resource_id: str) -> str | None:
        """None if the key is new; else what it made before. Raises RequestIdReused."""


class Outbox(Protocol):
    """Changes that others are told of, after the commit and at least once."""

    async def model_changed(self, model: Model) -> None:
        """Somebody changed a model."""


class UnitOfWork(Protocol):
    """One transaction; leaving it without commit undoes everything."""

    @property
    def models(self) -> Models: ...
    @property
    def events(self) -> Events: ...
    @property
    def rollouts(self) -> Rollouts: ...
    @property
    def requests(self) -> Requests: ...
    @property
    def outbox(self) -> Outbox: ...

    async def commit(self) -> None: ...


UnitOfWorkFactory = Callable[[], AbstractAsyncContextManager[UnitOfWork]]


class Cache(Protocol):
    """What was last read of the registry. It may be away: then nothing is found and nothing is kept."""

    async def read(self, load: Callable[[], Awaitable[Sequence[Model]]]) -> Sequence[Model]:
        """What is kept; else what `load` brings, which is kept then unless something changed meanwhile."""

    async def forget(self) -> None:
        """Something changed."""


class Routers(Protocol):
    """The routers of this environment."""

    async def look(self) -> Sequence[Sighting]:
        """The models they have. Raises RemoteError, Unavailable."""

    async def tell(self, disabled: Sequence[str], as_of: datetime) -> None:
        """Which models must get no requests. Raises RemoteError, Unavailable."""


@dataclass(frozen=True, slots=True)
class Check:
    """What a check of a target found: problems, each a line; what should be known; versions by model."""

    problems: Sequence[str]
    notes: Sequence[str]
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RunningVersion:
    """A version of a model that runs or should; `failure` says why it cannot, if so. One that is `asleep` has no
    replica because nobody asks. Prices are of a million tokens, `price` of those written."""

    model: str
    version: str
    failure: str = ""
    replicas: Sequence[str] = ()
    answered: int = 0
    broken: int = 0
    price: float = 0.0
    prompt_price: float = 0.0
    asleep: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """What runs. `base` stands for the file that the application was started with; `text` is what serves, and
    `candidate` what is tried. `in_place`: replicas have taken up what changes in them without a restart."""

    base: str
    text: str
    versions: Mapping[str, str] = field(default_factory=dict)
    found: Sequence[RunningVersion] = ()
    candidate: str = ""
    in_place: bool = False

    def of(self, versions: Mapping[str, str]) -> list[RunningVersion]:
        """Those of these versions."""
        return [one for one in self.found if versions.get(one.model) == one.version]


class Applications(Protocol):
    """What serves the models. Every method raises RemoteError when it does not answer."""

    async def check(self, file: str, text: str) -> Check:
        """Check a target's file against what runs."""

    async def running(self) -> Running:
        """What runs."""

    async def aim(
        self, base: str, stable: str, candidate: Rollout | None, shadow_percent: int, as_of: datetime
    ) -> None:
        """What should run, and for whom; of 100 turns, `shadow_percent` are repeated by the candidate."""

    async def ask(self, model: str, replica: str, golden: Golden) -> Answer:
        """Ask one replica a golden question; a failure is part of the answer."""


class Turns(Protocol):
    """What customers' turns show of models."""

    async def since(self, moment: datetime) -> Seen:
        """What is known of the turns that ended since. It may be away: then what was known before."""
