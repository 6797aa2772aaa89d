"""Reading the registry and changing it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from services.common import pagination
from services.common.clock import Clock
from services.common.context import IdempotencyKey
from services.common.ids import new_id
from services.models.domain import Action, Event, Model
from services.models.errors import ModelNotEnabled, ModelNotFound, StaleEtag
from services.models.ports import Cache, UnitOfWork, UnitOfWorkFactory

DEFAULT_PAGE_SIZE = 50


@dataclass(frozen=True, slots=True)
class Register:
    """A model to make known."""

    key: IdempotencyKey
    name: str
    environment: str
    endpoint: str
    namespace: str
    actor: str
    reason: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Switch:
    """A model to enable or disable; an empty etag takes whatever it is."""

    name: str
    environment: str
    enabled: bool
    etag: str
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Promote:
    """A model to take over into another environment; an empty endpoint keeps the one it has."""

    name: str
    environment: str
    to_environment: str
    endpoint: str
    etag: str
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class ListModels:
    """A page of models; of all environments if that is empty."""

    environment: str
    page_size: int
    page_token: str


@dataclass(frozen=True, slots=True)
class ListEvents:
    """A page of events; of all models and environments if those are empty."""

    name: str
    environment: str
    page_size: int
    page_token: str


@dataclass(frozen=True, slots=True)
class ModelPage:
    """Models, and the token of what follows; empty at the end."""

    models: Sequence[Model]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events, and the token of what follows; empty at the end."""

    events: Sequence[Event]
    next_page_token: str


class Registry:
    """The registry's use cases; `changed` is called after each change, so that the routers hear of it at once.

    An empty environment means this registry's own.
    """

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        cache: Cache,
        clock: Clock,
        environment: str,
        changed: Callable[[], None],
    ) -> None:
        self._unit_of_work = unit_of_work
        self._cache = cache
        self._clock = clock
        self._environment = environment
        self._changed = changed

    async def list(self, query: ListModels) -> ModelPage:
        """A page of models by environment and name. Raises InvalidPageToken."""
        filters: pagination.Filters = {"list": "models", "environment": query.environment}
        found = [one for one in await self._all() if query.environment in ("", one.environment)]
        if query.page_token:
            cursor = pagination.decode(query.page_token, filters)
            after = (str(cursor.get("environment")), str(cursor.get("name")))
            found = [one for one in found if (one.environment, one.name) > after]
        size = query.page_size or DEFAULT_PAGE_SIZE
        shown = found[:size]
        if len(found) == len(shown):
            return ModelPage(shown, "")
        last = {"environment": shown[-1].environment, "name": shown[-1].name}
        return ModelPage(shown, pagination.encode(last, filters))

    async def get(self, name: str, environment: str) -> Model:
        """One model. Raises ModelNotFound."""
        wanted = (name, environment or self._environment)
        for model in await self._all():
            if (model.name, model.environment) == wanted:
                return model
        raise ModelNotFound(resource_name=name)

    async def register(self, command: Register) -> Model:
        """Make a model known; the same request_id does so once. Raises ModelExists, RequestIdReused."""
        now = self._clock()
        model = Model(
            name=command.name,
            environment=command.environment or self._environment,
            endpoint=command.endpoint,
            namespace=command.namespace,
            metadata=command.metadata,
            created_at=now,
            updated_at=now,
        )
        async with self._unit_of_work() as work:
            if await work.requests.claim(command.key, f"{model.environment}/{model.name}"):
                return await _known(work, model.name, model.environment)
            await work.models.add(model)
            await self._note(work, model, Action.REGISTERED, command.actor, command.reason)
            await work.commit()
        await self._told()
        return model

    async def switch(self, command: Switch) -> Model:
        """Enable or disable a model; when it is so already nothing changes. Raises ModelNotFound, StaleEtag."""
        async with self._unit_of_work() as work:
            model = await _known(work, command.name, command.environment or self._environment, etag=command.etag)
            switched = model.switched(enabled=command.enabled, at=self._clock())
            if switched is model:
                return model
            saved = await work.models.save(switched)
            action = Action.ENABLED if command.enabled else Action.DISABLED
            await self._note(work, saved, action, command.actor, command.reason)
            await work.commit()
        await self._told()
        return saved

    async def promote(self, command: Promote) -> Model:
        """Take a model over into another environment. Raises ModelNotFound, ModelNotEnabled, StaleEtag."""
        now = self._clock()
        async with self._unit_of_work() as work:
            source = await _known(work, command.name, command.environment or self._environment, etag=command.etag)
            if not source.enabled:
                raise ModelNotEnabled
            target = Model(
                name=source.name,
                environment=command.to_environment,
                endpoint=command.endpoint or source.endpoint,
                namespace=source.namespace,
                metadata={**source.metadata, "promoted_from": source.environment},
                created_at=now,
                updated_at=now,
            )
            present = await work.models.find(target.name, target.environment, lock=True)
            if present is None:
                await work.models.add(target)
            else:
                target = replace(
                    target,
                    created_at=present.created_at,
                    version=present.version,
                    health=present.health,
                    health_checked_at=present.health_checked_at,
                )
                target = await work.models.save(target)
            await self._note(work, target, Action.PROMOTED, command.actor, command.reason)
            await work.commit()
        await self._told()
        return target

    async def events(self, query: ListEvents) -> EventPage:
        """A page of what was done, newest first. Raises InvalidPageToken."""
        filters: pagination.Filters = {"list": "events", "name": query.name, "environment": query.environment}
        after = str(pagination.decode(query.page_token, filters).get("id")) if query.page_token else ""
        size = query.page_size or DEFAULT_PAGE_SIZE
        async with self._unit_of_work() as work:
            found = await work.events.page(query.name, query.environment, after, size + 1)
        more = len(found) > size
        return EventPage(found[:size], pagination.encode({"id": found[size - 1].id}, filters) if more else "")

    async def _all(self) -> Sequence[Model]:
        return await self._cache.read(self._load)

    async def _load(self) -> Sequence[Model]:
        async with self._unit_of_work() as work:
            return await work.models.all()

    async def _note(self, work: UnitOfWork, model: Model, action: Action, actor: str, reason: str) -> None:
        event = Event(new_id("mde"), model.name, model.environment, action, actor, reason, self._clock())
        await work.events.add(event)
        await work.outbox.model_changed(model)

    async def _told(self) -> None:
        await self._cache.forget()
        self._changed()


async def _known(work: UnitOfWork, name: str, environment: str, *, etag: str = "") -> Model:
    model = await work.models.find(name, environment, lock=True)
    if model is None:
        raise ModelNotFound(resource_name=name)
    if etag and etag != str(model.version):
        raise StaleEtag
    return model
