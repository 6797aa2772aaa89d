"""Runs a set of processes: in parallel as far as dependencies and turns allow, and ends them in reverse."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable
from typing import TypedDict

import psutil

from laptop import logfiles, proc
from laptop.runner import Runner
from laptop.settings import StatePaths
from laptop.specs import ProcessSpec, State, in_start_order

MAINTENANCE_SECONDS = 2.0
# So many of those that start in turn do so at once.
TURNS = max(1, (os.cpu_count() or 1) // 2)

log = logging.getLogger(__name__)

Chore = Callable[[], None]


class ListenerStatus(TypedDict):
    """An address that is listened on, and whether it asks for TLS and a client certificate."""

    address: str
    tls: bool
    mtls: bool


class ProcessStatus(TypedDict):
    """One process with its descendants; `pid` is None while it does not run."""

    name: str
    pid: int | None
    state: str
    restarts: int
    rss_bytes: int
    cpu_seconds: float
    listeners: list[ListenerStatus]
    usual_seconds: float
    ready_after_seconds: float | None
    running_seconds: float
    problem: str


class SupervisorStatus(TypedDict):
    """The supervisor itself."""

    pid: int
    rss_bytes: int
    cpu_seconds: float


class StackStatus(TypedDict):
    """What `deskmesh status --json` prints; `steps` are the one-shots, `supervisor` is without what it runs."""

    processes: list[ProcessStatus]
    steps: list[ProcessStatus]
    supervisor: SupervisorStatus
    ready: bool
    failed: bool


class Supervisor:
    """Owns the runners of one stack. `chores` run every two seconds, such as renewing certificates."""

    def __init__(self, specs: tuple[ProcessSpec, ...], paths: StatePaths, chores: tuple[Chore, ...] = ()) -> None:
        self._paths = paths
        self._chores = chores
        self._runners = {
            spec.name: Runner(spec, paths.home, paths.log(spec.name), self._note_change)
            for spec in in_start_order(specs)
        }
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(TURNS)
        self._yielding: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._stopping = False
        self._reaper = proc.AdoptedReaper()

    @property
    def names(self) -> tuple[str, ...]:
        """The processes, one-shots among them."""
        return tuple(self._runners)

    def start(self) -> None:
        """Start, or start again, every process that neither runs nor is about to."""
        for name, runner in self._runners.items():
            task = self._tasks.get(name)
            if (task is None or task.done()) and runner.state is not State.DONE:
                self._tasks[name] = asyncio.create_task(self._run(runner), name=f"run {name}")

    async def maintain(self) -> None:
        """Reap orphans, rotate logs and do the chores, until cancelled."""
        while True:
            await asyncio.sleep(MAINTENANCE_SECONDS)
            self._reaper.sweep()
            for chore in (lambda: logfiles.rotate_all(self._paths.logs), *self._chores):
                try:
                    await asyncio.to_thread(chore)
                except (OSError, ValueError):
                    log.exception("a chore failed; it is tried again")

    async def restart(self, name: str) -> None:
        """Stop and start one process. Raises KeyError for an unknown name."""
        runner = self._runners[name]
        await self._halt(runner)
        runner.restarts += 1
        self._tasks[name] = asyncio.create_task(self._run(runner), name=f"run {name}")

    async def stop(self) -> None:
        """End everything; each process only after those that depend on it."""
        self._stopping = True
        ended = {name: asyncio.Event() for name in self._runners}

        async def stop_after_dependents(runner: Runner) -> None:
            for other in self._runners.values():
                if runner.spec.name in other.spec.depends_on:
                    await ended[other.spec.name].wait()
            await self._halt(runner)
            ended[runner.spec.name].set()

        await asyncio.gather(*(stop_after_dependents(runner) for runner in self._runners.values()))
        await asyncio.to_thread(proc.end_marked, self._paths.home, None, 2.0)
        for _ in range(2):
            self._reaper.sweep()

    async def wait_change(self, seconds: float) -> None:
        """Return when a state changed, or after `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    def status(self, *, measure: bool = True) -> StackStatus:
        """All processes as they are now; without `measure` memory, time and listeners stay empty."""
        orphans = self._orphans() if measure else {}
        runners = self._runners.values()
        own = psutil.Process()
        times = own.cpu_times()
        return {
            "processes": [self._describe(one, orphans, measure=measure) for one in runners if not one.spec.one_shot],
            "steps": [self._describe(one, orphans, measure=measure) for one in runners if one.spec.one_shot],
            "supervisor": {
                "pid": own.pid,
                "rss_bytes": own.memory_info().rss,
                "cpu_seconds": round(times.user + times.system, 2),
            },
            "ready": all(one.settled for one in runners if one.spec.awaited),
            "failed": any(one.state is State.FAILED for one in runners),
        }

    async def _run(self, runner: Runner) -> None:
        runner.state = State.WAITING
        for name in runner.spec.depends_on:
            while not self._runners[name].settled:
                await self._next_change()
        if runner.spec.in_turn:
            await self._turns.acquire()
            yielding = asyncio.create_task(self._yield_turn(runner))
            self._yielding.add(yielding)
            yielding.add_done_callback(self._yielding.discard)
        await runner.run()

    async def _yield_turn(self, runner: Runner) -> None:
        while runner.state in (State.WAITING, State.STARTING):
            await self._next_change()
        self._turns.release()

    async def _halt(self, runner: Runner) -> None:
        task = self._tasks.get(runner.spec.name)
        if task and runner.state in (State.WAITING, State.BACKOFF):
            task.cancel()
        await runner.stop()
        if task:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _next_change(self) -> None:
        await self._changed.wait()

    def _note_change(self) -> None:
        # Wakes everyone who waits now; who comes later waits for the next change.
        self._changed.set()
        self._changed = asyncio.Event()

    def _orphans(self) -> dict[str, list[psutil.Process]]:
        """Processes that fell to the supervisor when their parent ended, under the name they carry."""
        managed = {runner.pid for runner in self._runners.values()}
        found: dict[str, list[psutil.Process]] = {}
        for child in psutil.Process().children():
            mark = None if child.pid in managed else proc.mark_of(child.pid)
            if mark:
                found.setdefault(mark[1], []).extend(proc.family(child.pid))
        return found

    def _describe(self, runner: Runner, orphans: dict[str, list[psutil.Process]], *, measure: bool) -> ProcessStatus:
        processes = proc.family(runner.pid) if measure and runner.pid else []
        processes += orphans.get(runner.spec.name, [])
        used = proc.usage(processes)
        declared = {listener.address: listener for listener in runner.spec.listeners}
        found: list[ListenerStatus] = []
        for address in proc.listeners(process.pid for process in processes) if processes else ():
            listener = declared.get(address)
            tls, mtls = (listener.tls, listener.mtls) if listener else (False, False)
            found.append({"address": address, "tls": tls, "mtls": mtls})
        return {
            "name": runner.spec.name,
            "pid": runner.pid,
            "state": runner.state.value,
            "restarts": runner.restarts,
            "rss_bytes": used.rss_bytes,
            "cpu_seconds": used.cpu_seconds,
            "listeners": found,
            "usual_seconds": runner.spec.usual_seconds,
            "ready_after_seconds": round(runner.ready_after, 1) if runner.ready_after is not None else None,
            "running_seconds": round(time.monotonic() - runner.started_at, 1) if runner.started_at else 0.0,
            "problem": runner.problem,
        }
