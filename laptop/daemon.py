"""The supervisor as a process of its own: takes the lock, prepares the state folder, serves control."""

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from laptop import proc
from laptop.metrics.server import MetricsServer
from laptop.metrics.stores import Gather
from laptop.pki import LocalPki
from laptop.settings import ENVIRONMENT, TRUST_DOMAIN, StackSettings
from laptop.specs import ProcessSpec
from laptop.supervisor import Chore, Supervisor

ALREADY_RUNNING = 3
STATUS_EVERY_SECONDS = 1.0
LEFTOVER_GRACE_SECONDS = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stack:
    """What a daemon runs: processes, chores to do beside them, and who speaks for those without metrics."""

    specs: tuple[ProcessSpec, ...]
    chores: tuple[Chore, ...] = ()
    stores: Mapping[str, Gather] = field(default_factory=dict)


Prepare = Callable[[StackSettings, LocalPki], Stack]


def run(settings: StackSettings, prepare: Prepare) -> int:
    """Run until told to stop; returns the exit code. Everything it started has ended by then."""
    settings.paths.create()
    lock = take_lock(settings.paths.lock)
    if lock is None:
        return ALREADY_RUNNING
    try:
        proc.become_subreaper()
        proc.raise_file_limit()
        proc.leave_no_core()
        ended = proc.end_marked(settings.home, None, LEFTOVER_GRACE_SECONDS)
        if ended:
            log.warning("ended %d processes that an earlier start had left behind", ended)
        remove_sockets(settings.paths.run)
        pki = LocalPki(
            settings.paths.pki,
            trust_domain=TRUST_DOMAIN,
            environment=ENVIRONMENT,
            lifetime=timedelta(hours=settings.certificate_hours),
        )
        try:
            stack = prepare(settings, pki)
        except subprocess.CalledProcessError as error:
            log.exception("cannot start: %s said: %s", error.cmd[0], (error.stderr or error.stdout or "").strip())
            return 1
        except (OSError, ValueError):
            log.exception("cannot start")
            return 1
        asyncio.run(_serve(stack, settings))
    finally:
        remove_sockets(settings.paths.run)
        settings.paths.lock.unlink(missing_ok=True)
        os.close(lock)
    return 0


def take_lock(file: Path) -> int | None:
    """Lock the file and write this PID into it; None while another process holds it."""
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        # The holder before may have removed the file between our open and our lock.
        with contextlib.suppress(FileNotFoundError):
            if os.stat(file).st_ino == os.fstat(descriptor).st_ino:
                os.truncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode())
                return descriptor
        os.close(descriptor)


def is_locked(file: Path) -> bool:
    """Whether a supervisor lives, without waiting for it."""
    try:
        descriptor = os.open(file, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def remove_sockets(folder: Path) -> None:
    """Unix sockets outlive their process and would make the next one's bind fail."""
    for file in folder.rglob("*"):
        if file.is_socket():
            file.unlink(missing_ok=True)


async def _serve(stack: Stack, settings: StackSettings) -> None:
    supervisor = Supervisor(stack.specs, settings.paths, stack.chores)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    handler = ControlServer(supervisor, stop)
    server = await asyncio.start_unix_server(handler.handle, path=settings.paths.control_socket)
    settings.paths.control_socket.chmod(0o600)
    metrics = MetricsServer(supervisor, stack.specs, stack.stores)
    await metrics.start(settings.paths.metrics_socket, settings.metrics_port)
    supervisor.start()
    maintenance = asyncio.create_task(supervisor.maintain())
    await stop.wait()
    maintenance.cancel()
    await metrics.stop()
    await supervisor.stop()
    server.close()
    await handler.finish()


class ControlServer:
    """Answers `laptop.control.Control`."""

    def __init__(self, supervisor: Supervisor, stop: asyncio.Event) -> None:
        self._supervisor = supervisor
        self._stop = stop
        self._ended = asyncio.Event()
        self._open: set[asyncio.Task[object]] = set()

    async def finish(self) -> None:
        """Let the connections end that follow the stop."""
        self._ended.set()
        if self._open:
            await asyncio.wait(self._open, timeout=STATUS_EVERY_SECONDS * 2)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, which asks one question."""
        task = asyncio.current_task()
        if task:
            self._open.add(task)
            task.add_done_callback(self._open.discard)
        try:
            question = json.loads(await reader.readline())
            match question:
                case {"command": "status"}:
                    await self._send(writer, self._supervisor.status())
                case {"command": "up"}:
                    await self._up(writer)
                case {"command": "restart", "name": str(name)}:
                    await self._restart(writer, name)
                case {"command": "down"}:
                    self._stop.set()
                    while not self._ended.is_set():
                        await self._send(writer, self._supervisor.status(measure=False))
                        await self._supervisor.wait_change(0.2)
                case _:
                    await self._send(writer, {"error": "unknown command"})
        except (OSError, ValueError):
            log.debug("a control connection ended early", exc_info=True)
        finally:
            writer.close()

    async def _up(self, writer: asyncio.StreamWriter) -> None:
        self._supervisor.start()
        while not self._stop.is_set():
            status = self._supervisor.status(measure=False)
            await self._send(writer, status)
            if status["ready"] or status["failed"]:
                return
            await self._supervisor.wait_change(STATUS_EVERY_SECONDS)

    async def _restart(self, writer: asyncio.StreamWriter, name: str) -> None:
        try:
            await self._supervisor.restart(name)
        except KeyError:
            await self._send(writer, {"error": f"no process is called {name}"})
            return
        while not self._stop.is_set():
            status = self._supervisor.status(measure=False)
            everything = (*status["processes"], *status["steps"])
            mine = next(process for process in everything if process["name"] == name)
            if mine["state"] in ("ready", "done", "failed"):
                await self._send(writer, mine)
                return
            await self._supervisor.wait_change(STATUS_EVERY_SECONDS)

    @staticmethod
    async def _send(writer: asyncio.StreamWriter, message: Any) -> None:
        writer.write(json.dumps(message).encode() + b"\n")
        await writer.drain()
