"""Keeps registry and routers in step: the registry learns which models there are and how they fare, the routers which
of them are enabled."""

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace

from services.common import background
from services.common.clock import Clock
from services.common.errors import RemoteError, Unavailable
from services.common.ids import new_id
from services.models.domain import Action, Event, Health, Model
from services.models.ports import Cache, Routers, UnitOfWorkFactory

logger = logging.getLogger(__name__)

ACTOR = "models"


class Keeper:
    """Looks every few seconds while it is entered, and at once when woken."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        routers: Routers,
        cache: Cache,
        clock: Clock,
        *,
        environment: str,
        endpoint: str,
        seconds: float,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._routers = routers
        self._cache = cache
        self._clock = clock
        self._environment = environment
        self._endpoint = endpoint
        self._seconds = seconds
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Keeper":
        self._task = asyncio.create_task(self._run(), name="models-keeper")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            await background.end(self._task)

    def wake(self) -> None:
        """Look now: something changed."""
        self._woken.set()

    async def tell(self) -> None:
        """Tell the routers what is disabled. Raises RemoteError, Unavailable."""
        as_of = self._clock()
        async with self._unit_of_work() as work:
            known = await work.models.all()
        disabled = [one.name for one in known if one.environment == self._environment and not one.enabled]
        await self._routers.tell(disabled, as_of)

    async def look(self) -> None:
        """Note how the routers' models fare, and register those that are new. Raises RemoteError, Unavailable."""
        seen = {one.name: one for one in await self._routers.look()}
        now = self._clock()
        changed = False
        async with self._unit_of_work() as work:
            known = {one.name: one for one in await work.models.all() if one.environment == self._environment}
            for name, sighting in seen.items():
                if name not in known:
                    model = Model(
                        name=name,
                        environment=self._environment,
                        endpoint=self._endpoint,
                        namespace="",
                        metadata=sighting.metadata,
                        created_at=now,
                        updated_at=now,
                        health=sighting.health,
                        health_checked_at=now,
                    )
                    await work.models.add(model)
                    found = Event(
                        new_id("mde"), name, self._environment, Action.REGISTERED, ACTOR, "found at the router", now
                    )
                    await work.events.add(found)
                    await work.outbox.model_changed(model)
                    changed = True
            for name, model in known.items():
                health = seen[name].health if name in seen else Health.DOWN
                changed |= health != model.health
                await work.models.saw(replace(model, health=health, health_checked_at=now))
            await work.commit()
        if changed:
            await self._cache.forget()

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                # First what people wait for.
                await self.tell()
                await self.look()
            except (RemoteError, Unavailable) as error:
                logger.info("routers and registry cannot be brought in step yet", extra={"problem": error.reason})
            except Exception:
                logger.exception("routers and registry cannot be brought in step")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._seconds)
