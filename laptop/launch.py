"""Starts the supervisor as a process of its own, and ends it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from laptop import daemon, logfiles, loglines, proc
from laptop.control import Control, NotRunning
from laptop.settings import PROJECT_ROOT, StackSettings

PREPARE_SECONDS = 180.0
END_SECONDS = 90.0
LEFTOVER_GRACE_SECONDS = 5.0
POLL_SECONDS = 0.05
LAST_LINES = 12


class CannotStart(Exception):
    """The supervisor ended before it took commands; the message says what it last said."""


def launch(settings: StackSettings) -> None:
    """Make sure that a supervisor runs and takes commands. Raises CannotStart."""
    settings.paths.create()
    control = Control(settings.paths)
    process = None if daemon.is_locked(settings.paths.lock) else _spawn(settings)
    deadline = time.monotonic() + PREPARE_SECONDS
    while time.monotonic() < deadline:
        try:
            control.status()
        except NotRunning:
            ended = process.poll() if process else None
            if ended not in (None, daemon.ALREADY_RUNNING):
                break
            time.sleep(POLL_SECONDS)
        else:
            return
    lines = logfiles.tail(settings.paths.log("supervisor"), LAST_LINES)
    last = "\n".join(loglines.legible(loglines.entry_of("supervisor", line), alone=True) for line in lines)
    raise CannotStart(f"The supervisor did not start. The end of its log:\n{last}")


def shut_down(settings: StackSettings, show: Callable[[dict[str, Any]], None]) -> bool:
    """End the stack and everything an earlier one left; False if there was nothing."""
    paths = settings.paths
    pid = _holder(settings)
    try:
        for snapshot in Control(paths).down():
            show(snapshot)
    except NotRunning:
        if pid:
            os.kill(pid, signal.SIGTERM)
    _wait_for_end(settings, pid)
    left = proc.end_marked(settings.home, None, LEFTOVER_GRACE_SECONDS)
    if paths.run.exists():
        daemon.remove_sockets(paths.run)
    paths.lock.unlink(missing_ok=True)
    return pid is not None or left > 0


def _spawn(settings: StackSettings) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "DESKMESH_HOME": str(settings.home)}
    with settings.paths.log("supervisor").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "laptop"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=PROJECT_ROOT,
            env=environment,
        )


def _holder(settings: StackSettings) -> int | None:
    """The PID of the supervisor that holds the lock."""
    if not daemon.is_locked(settings.paths.lock):
        return None
    content = settings.paths.lock.read_text().strip()
    return int(content) if content else None


def _wait_for_end(settings: StackSettings, pid: int | None) -> None:
    deadline = time.monotonic() + END_SECONDS
    while daemon.is_locked(settings.paths.lock) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    if pid and daemon.is_locked(settings.paths.lock):
        os.kill(pid, signal.SIGKILL)
    while pid and proc.is_alive(pid) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
