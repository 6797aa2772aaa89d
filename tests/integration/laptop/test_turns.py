"""Processes that start in turn, by the supervisor itself: few at once, and none held up by one that does not start."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from laptop import supervisor as module
from laptop.probes import Probe
from laptop.settings import StackSettings
from laptop.specs import ProcessSpec
from laptop.supervisor import StackStatus, Supervisor

SLEEPS = (sys.executable, "-c", "import time; time.sleep(60)")
ENDS = (sys.executable, "-c", "raise SystemExit(1)")


@asynccontextmanager
async def started(home: Path, *specs: ProcessSpec) -> AsyncIterator[Supervisor]:
    settings = StackSettings(home=home)
    settings.paths.create()
    supervisor = Supervisor(specs, settings.paths)
    supervisor.start()
    try:
        yield supervisor
    finally:
        await supervisor.stop()


def states(status: StackStatus) -> dict[str, str]:
    return {process["name"]: process["state"] for process in status["processes"]}


def ready_when(opened: asyncio.Event) -> Probe:
    async def probe() -> bool:
        return opened.is_set()

    return probe


async def until(supervisor: Supervisor, wanted: dict[str, str]) -> None:
    async with asyncio.timeout(20):
        while not wanted.items() <= states(supervisor.status(measure=False)).items():
            await supervisor.wait_change(0.1)


async def test_one_starts_when_the_one_before_is_ready_and_others_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TURNS", 1)
    first, second = asyncio.Event(), asyncio.Event()
    specs = (
        ProcessSpec("first", SLEEPS, ready=ready_when(first), in_turn=True),
        ProcessSpec("second", SLEEPS, ready=ready_when(second), in_turn=True),
        ProcessSpec("beside", SLEEPS),
    )
    async with started(tmp_path, *specs) as supervisor:
        await until(supervisor, {"first": "starting", "second": "waiting", "beside": "ready"})
        first.set()
        await until(supervisor, {"first": "ready", "second": "starting"})
        second.set()
        await until(supervisor, {"second": "ready"})


async def test_what_does_not_start_or_is_stopped_passes_its_turn_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TURNS", 1)
    never, ready = asyncio.Event(), asyncio.Event()
    ready.set()
    specs = (
        ProcessSpec("broken", ENDS, ready=ready_when(never), in_turn=True),
        ProcessSpec("slow", SLEEPS, ready=ready_when(never), in_turn=True),
        ProcessSpec("good", SLEEPS, ready=ready_when(ready), in_turn=True),
    )
    async with started(tmp_path, *specs) as supervisor:
        await until(supervisor, {"slow": "starting", "good": "waiting"})
        await supervisor.restart("slow")
        await until(supervisor, {"good": "ready"})
