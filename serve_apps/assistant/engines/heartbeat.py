"""Notices an engine that is there but does nothing any more."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence

import psutil

ASK_SECONDS = 1.0
# Without a sign of life and without any work of the processor for so long, a process is stopped or locked.
STILL_SECONDS = 3.5
# So many looks in a row must find it still: after a stall of the replica itself the first one proves nothing.
STILL_LOOKS = 3
STILL_LOOK_SECONDS = 1.5
# A process that computes may take long for a step, but not for ever.
SILENT_SECONDS = 300.0
# Below this share of a core a process does nothing but wait.
IDLE_SHARE = 0.005


class Heartbeat:
    """Judges by signs of life: steps of the engine's scheduler, and answers to a small question asked every second.

    A slow engine is not a hung one: on a machine that is overrun a step may take many seconds. So silence alone counts
    only when it is very long; a short one counts when the engine's processes have not used the processor meanwhile.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[object]],
        processes: Callable[[], Sequence[psutil.Process]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._processes = processes
        self._clock = clock
        self._last_beat = clock()
        self._worked = 0.0
        self._last_work = clock()
        self._still_looks = 0
        self._asking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to ask; needs a running loop."""
        self._asking = asyncio.create_task(self._ask_for_ever())

    def stop(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()

    def beat(self) -> None:
        """The engine has shown that it lives."""
        self._last_beat = self._clock()

    def look(self) -> None:
        """Take note of what the processor has done for the engine."""
        now, worked = self._clock(), 0.0
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                worked += times.user + times.system
        if worked - self._worked > IDLE_SHARE * (now - self._last_work):
            self._worked, self._last_work = worked, now

    def has_stopped(self) -> bool:
        """True when the engine will not answer any more. To be asked about once a second."""
        self.look()
        now = self._clock()
        silent = now - self._last_beat
        still = now - max(self._last_work, self._last_beat)
        self._still_looks = self._still_looks + 1 if still > STILL_LOOK_SECONDS else 0
        return (still > STILL_SECONDS and self._still_looks >= STILL_LOOKS) or silent > SILENT_SECONDS

    def kill(self) -> None:
        """End the engine's processes."""
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                process.kill()

    async def _ask_for_ever(self) -> None:
        while True:
            # An engine that has died says so itself, elsewhere.
            with contextlib.suppress(Exception):
                await self._ask()
                self.beat()
            await asyncio.sleep(ASK_SECONDS)


def engine_processes() -> list[psutil.Process]:
    """vLLM's processes among the descendants of this one."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.name().startswith("VLLM"):
                found.append(process)
    return found
