"""What the use cases need from outside, in the domain's words."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from services.common.context import IdempotencyKey
from services.models.domain import Event, Model, Sighting


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
