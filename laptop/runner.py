"""Keeps one process running: start, wait until ready, start again when it dies, stop with all it started."""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from laptop import proc
from laptop.logpipe import LogPipe
from laptop.specs import FINAL, HOME_MARK, NAME_MARK, ProcessSpec, State

PROBE_EVERY_SECONDS = 0.2
FIRST_BACKOFF_SECONDS = 0.3
LONGEST_BACKOFF_SECONDS = 20.0
STEADY_SECONDS = 60.0
MOST_FAILED_STARTS = 5
ORPHAN_GRACE_SECONDS = 1.0
LAST_LINES_SECONDS = 1.0

log = logging.getLogger(__name__)


class Runner:
    """One supervised process. `changed` is called whenever its state changes."""

    def __init__(self, spec: ProcessSpec, home: Path, log_file: Path, changed: Callable[[], None]) -> None:
        self.spec = spec
        self.state = State.WAITING
        self.pid: int | None = None
        self.restarts = 0
        self.started_at: float | None = None
        self.ready_after: float | None = None
        self.problem = ""
        self._home = home
        self._log_file = log_file
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._log: LogPipe | None = None
        self._stopping = False
        self._failed_starts = 0

    async def run(self) -> None:
        """Run until stopped, failed, or, for a one-shot, done. Its dependencies are ready."""
        self._stopping = False
        self._failed_starts = 0
        ever_ready = False
        while not self._stopping:
            code, was_ready = await self._one_life()
            if self._stopping:
                break
            if self.spec.one_shot and code == 0:
                self.ready_after = time.monotonic() - (self.started_at or 0.0)
                self._to(State.DONE)
                return
            await self._end_orphans()
            ever_ready = ever_ready or was_ready
            self._failed_starts = 0 if was_ready else self._failed_starts + 1
            self.problem = self.problem or f"ended with {_describe(code)}"
            log.warning("%s %s", self.spec.name, self.problem)
            # What has once been ready is missing only for a while, perhaps until a database is back.
            if self.spec.one_shot or (self._failed_starts >= MOST_FAILED_STARTS and not ever_ready):
                self._to(State.FAILED)
                return
            self._to(State.BACKOFF)
            await asyncio.sleep(min(FIRST_BACKOFF_SECONDS * 2 ** min(self._failed_starts, 10), LONGEST_BACKOFF_SECONDS))
            if not self._stopping:
                self.restarts += 1

    async def stop(self) -> None:
        """Ask the process to end, insist after its grace, then end whatever it left behind."""
        self._stopping = True
        began = time.monotonic()
        process = self._process
        if process and process.returncode is None:
            self._to(State.STOPPING)
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.Signals[self.spec.stop_signal])
            try:
                async with asyncio.timeout(self.spec.grace_seconds):
                    await process.wait()
            except TimeoutError:
                log.warning("%s outlived its grace of %.0f s", self.spec.name, self.spec.grace_seconds)
        await self._end_orphans()
        if process:
            await process.wait()
        self.pid = None
        log.info("%s stopped after %.1f s", self.spec.name, time.monotonic() - began)
        self._to(State.STOPPED)

    async def _one_life(self) -> tuple[int, bool]:
        """Start once and wait for the end; returns the exit code and whether it had been ready."""
        self.problem = ""
        self.started_at = time.monotonic()
        self.ready_after = None
        self._process = await self._spawn()
        self.pid = self._process.pid
        if self._stopping:
            self._process.kill()
        self._to(State.STARTING)
        log.info("%s started with PID %d", self.spec.name, self.pid)
        exited = asyncio.create_task(self._process.wait())
        if not self.spec.one_shot:
            await self._until_ready(exited)
        code = await exited
        self.pid = None
        return code, self.ready_after is not None

    async def _until_ready(self, exited: asyncio.Task[int]) -> None:
        deadline = time.monotonic() + self.spec.start_seconds
        while not exited.done() and not self._stopping:
            if self.spec.ready is None or await self.spec.ready():
                if exited.done() or self._stopping:
                    return
                self.ready_after = time.monotonic() - (self.started_at or 0.0)
                log.info("%s ready after %.1f s", self.spec.name, self.ready_after)
                self._to(State.READY)
                return
            if time.monotonic() > deadline:
                self.problem = f"was not ready within {self.spec.start_seconds:.0f} s"
                await self._end_orphans()
                return
            await asyncio.wait([exited], timeout=PROBE_EVERY_SECONDS)

    async def _spawn(self) -> asyncio.subprocess.Process:
        if self.spec.before_start:
            self.spec.before_start()
        self._log = LogPipe(self.spec.name, self._log_file)
        try:
            return await asyncio.create_subprocess_exec(
                *self.spec.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=self._log.writer,
                stderr=self._log.writer,
                env=self._environment(),
                cwd=self.spec.working_folder,
                start_new_session=True,
                # Without a supervisor nobody reads: then writing must fail, not kill.
                restore_signals=False,
                user=self.spec.user,
                group=self.spec.user,
                extra_groups=[] if self.spec.user else None,
            )
        finally:
            self._log.handed_over()

    def _environment(self) -> dict[str, str]:
        """The caller's environment without its own settings of Deskmesh, which the spec replaces."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("DESKMESH_")}
        marks = {HOME_MARK: str(self._home), NAME_MARK: self.spec.name}
        # Without SPT_NOENV, setproctitle (Ray, vLLM) writes over the marks in /proc/PID/environ.
        return {**inherited, "SPT_NOENV": "1", "PYTHONUNBUFFERED": "1", **self.spec.environment, **marks}

    async def _end_orphans(self) -> None:
        """End everything that carries this process's mark, and what descends from it."""
        await asyncio.to_thread(proc.end_marked, self._home, self.spec.name, ORPHAN_GRACE_SECONDS)
        if self._log:
            await asyncio.to_thread(self._log.finish, LAST_LINES_SECONDS)

    def _to(self, state: State) -> None:
        if state != self.state:
            self.state = state
            self._changed()

    @property
    def settled(self) -> bool:
        """Ready or done."""
        return self.state in FINAL


def _describe(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
