"""Moves the rollout that is under way: looks, measures, decides, and says what should run.

All it knows is in Postgres and at the routers: a service that is started anew goes on where the last one stopped.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from services.common import background
from services.common.clock import Clock
from services.common.errors import RemoteError, Unavailable
from services.common.ids import new_id
from services.models.gates import Answer, Gate, Measured, judge
from services.models.golden import QUESTIONS
from services.models.limits import Limits
from services.models.live import judge_ratings, judge_replicas, judge_shadow, judge_turns, shadow_cost
from services.models.ports import Applications, Running, RunningVersion, Turns, UnitOfWorkFactory
from services.models.rollouts import Patience, Rollout, Sight, State, advance, roll_back

logger = logging.getLogger(__name__)

ACTOR = "models"
# A golden question is asked so often while its failure may be the machine's.
TRIES = 3


class Conductor:
    """Looks every few seconds while it is entered, and at once when woken."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        applications: Applications,
        turns: Turns,
        clock: Clock,
        *,
        environment: str,
        seconds: float,
        idle_seconds: float,
        patience: Patience,
        limits: Limits,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._applications = applications
        self._turns = turns
        self._clock = clock
        self._environment = environment
        self._seconds = seconds
        self._idle_seconds = idle_seconds
        self._is_idle = False
        self._patience = patience
        self._limits = limits
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # When which rollout was last seen ready, or first seen at all.
        self._ready: tuple[str, datetime] | None = None

    async def __aenter__(self) -> "Conductor":
        self._task = asyncio.create_task(self._run(), name="models-conductor")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            await background.end(self._task)

    def wake(self) -> None:
        """Look now: something changed."""
        self._woken.set()

    async def step(self) -> None:
        """Do what is next. Raises RemoteError, Unavailable."""
        running = await self._applications.running()
        current, rollout = await self._known(running)
        if rollout is not None:
            moved = advance(rollout, await self._see(rollout, running), self._clock(), self._patience)
            if moved is not rollout:
                async with self._unit_of_work() as work:
                    if not await work.rollouts.save(moved):
                        # Somebody took it back meanwhile; the next look finds that.
                        self.wake()
                        return
                    await work.commit()
                logger.info(
                    "deployment moved",
                    extra={"deployment": moved.id, "state": moved.state.value, "percent": moved.percent},
                )
            if moved.state is State.PROMOTED:
                current = moved
            rollout = moved if moved.is_under_way else None
        self._is_idle = rollout is None
        repeated = self._limits.shadow_percent if rollout is not None and rollout.repeats_turns else 0
        await self._applications.aim(running.base, current.text, rollout, repeated, self._clock())

    async def _known(self, running: Running) -> tuple[Rollout, Rollout | None]:
        """What serves, and what is under way. What was found running without a deployment becomes one."""
        async with self._unit_of_work() as work:
            promoted = await work.rollouts.promoted(running.base, 1)
            rollout = await work.rollouts.under_way()
            if rollout is not None and rollout.base != running.base:
                await work.rollouts.save(
                    roll_back(rollout, "the platform was started with another file", self._clock())
                )
                rollout = None
            current = promoted[0] if promoted else self._found(running)
            if not promoted:
                await work.rollouts.add(current)
            await work.commit()
        return current, rollout

    def _found(self, running: Running) -> Rollout:
        now = self._clock()
        return Rollout(
            id=new_id("dep"),
            environment=self._environment,
            base=running.base,
            file="as started",
            text=running.text,
            actor=ACTOR,
            reason="found running",
            created_at=now,
            updated_at=now,
            state=State.PROMOTED,
            versions=running.versions,
        )

    async def _see(self, rollout: Rollout, running: Running) -> Sight:
        tried = {model: version for model, version in rollout.versions.items() if running.versions[model] != version}
        found = running.of(tried)
        # Without a name: the file itself cannot be used.
        failure = next((one.failure for one in running.found if one.failure and (one in found or not one.model)), "")
        # One that sleeps can serve; but to be asked the golden questions it must be awake.
        measuring = rollout.state is State.SHADOW and not rollout.repeats_turns
        ready = {one.model for one in found if one.replicas or (one.asleep and not measuring)} == set(tried)
        if rollout.state is State.STARTING:
            # With no new version alone there would be nothing to wait for.
            ready = ready and running.candidate == rollout.text and running.in_place
        gates: tuple[Gate, ...] = ()
        if ready and not failure and measuring:
            gates = await self._measure(found, running)
        elif ready and rollout.repeats_turns:
            gates = await self._judge_shadow(rollout, found, running)
        elif ready and rollout.state is State.CANARY:
            gates = await self._judge_live(rollout, found, running)
        return Sight(ready, self._absent_seconds(rollout, ready), failure, gates)

    def _absent_seconds(self, rollout: Rollout, ready: bool) -> float:
        """For how long it has not been ready, as far as it was looked at."""
        now = self._clock()
        if ready or self._ready is None or self._ready[0] != rollout.id:
            self._ready = (rollout.id, now)
        return (now - self._ready[1]).total_seconds()

    async def _judge_shadow(
        self, rollout: Rollout, found: Sequence[RunningVersion], running: Running
    ) -> tuple[Gate, ...]:
        """What it made of the turns of customers that it repeated."""
        gates: list[Gate] = []
        seen = await self._turns.since(rollout.updated_at)
        for one in found:
            new, old = seen.repeated(one.model, one.version, running.versions[one.model])
            cost = shadow_cost(*seen.shadow_tokens(one.model, one.version), one.prompt_price, one.price)
            judged = (*judge_shadow(new, old, self._limits), cost)
            gates += _named(judged, one.model, several=len(found) > 1)
        return tuple(gates)

    async def _judge_live(
        self, rollout: Rollout, found: Sequence[RunningVersion], running: Running
    ) -> tuple[Gate, ...]:
        """What it did since it got its first share."""
        gates = [*judge_replicas(sum(one.answered for one in found), sum(one.broken for one in found), self._limits)]
        seen = await self._turns.since(rollout.tried_at or rollout.updated_at)
        for one in found:
            versions = (one.version, running.versions[one.model])
            new, old = (seen.of(one.model, version, rollout.tenants) for version in versions)
            judged = (*judge_turns(new, old, self._limits), *judge_ratings(new, old, self._limits))
            gates += _named(judged, one.model, several=len(found) > 1)
        return tuple(gates)

    async def _measure(self, found: Sequence[RunningVersion], running: Running) -> tuple[Gate, ...]:
        """The new versions and those that serve, side by side."""
        gates: list[Gate] = []
        for new in found:
            old = next((one for one in running.of(running.versions) if one.model == new.model and one.replicas), None)
            answers = await self._ask(new, old)
            stable = Measured(answers["old"], old.price) if old is not None else None
            judged = judge(Measured(answers["new"], new.price), stable, self._limits)
            gates += _named(judged, new.model, several=len(found) > 1)
        return tuple(gates)

    async def _ask(self, new: RunningVersion, old: RunningVersion | None) -> Mapping[str, list[Answer]]:
        """Both at once, so that they meet the same load of the machine: by turns, the old one would compute alone with
        the requests that it serves, and the new one beside them. A failure of the new one that may be the machine's is
        tried again, both at once; what stays a failure ends the questions, as one is too many."""
        sides = {"new": new} | ({"old": old} if old is not None else {})
        answers: dict[str, list[Answer]] = {"new": [], "old": []}
        until = self._clock() + timedelta(seconds=self._patience.shadow_seconds)
        for golden in QUESTIONS:
            for tries in range(1, TRIES + 1):
                asked = (self._applications.ask(one.model, one.replicas[0], golden) for one in sides.values())
                tried = dict(zip(sides, await asyncio.gather(*asked), strict=True))
                if not tried["new"].busy or tries == TRIES or self._clock() > until:
                    break
                await asyncio.sleep(self._seconds)
            for side, answer in tried.items():
                answers[side].append(answer)
            if tried["new"].busy:
                break
        return answers

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                await self.step()
            except (RemoteError, Unavailable) as error:
                logger.info("deployments wait for the routers", extra={"problem": error.reason})
            except Exception:
                logger.exception("deployments cannot be moved")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._idle_seconds if self._is_idle else self._seconds)


def _named(gates: Sequence[Gate], model: str, *, several: bool) -> list[Gate]:
    """The gates of one of several models, by its name."""
    return [replace(gate, name=f"{gate.name} of {model}") if several else gate for gate in gates]
