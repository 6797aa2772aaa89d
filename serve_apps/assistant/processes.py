"""Finding and ending the processes of a Ray session, also those that their parents left behind.

Every process that the assistant starts inherits a mark in its environment. `ray stop` would end Ray's own processes, of
every session on the machine, and leave the engines' behind.
"""

import contextlib
import ctypes
import os
import time
from pathlib import Path

import psutil

MARK = "DESKMESH_RAY_SESSION_OF"
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parent ends, so that none can get away.

    Linux only; elsewhere the mark alone finds them.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_orphans() -> None:
    """Collect every child that has ended, adopted ones included."""
    with contextlib.suppress(ChildProcessError):
        while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) is not None:
            pass


def of_session(state: Path) -> list[psutil.Process]:
    """Every living process marked with this state folder, and their descendants; never the calling process itself."""
    entry = f"{MARK}={state}".encode()
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        if process.pid == os.getpid() or not _is_marked(process.pid, entry):
            continue
        with contextlib.suppress(psutil.Error):
            found |= {one.pid: one for one in (process, *process.children(recursive=True)) if is_alive(one)}
    found.pop(os.getpid(), None)
    return list(found.values())


def end(state: Path, *, grace_seconds: float) -> int:
    """End every process of the session: ask, wait, then kill until none is left. Returns how many there were."""
    first = of_session(state)
    for process in first:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _wait(first, grace_seconds)
    for _ in range(10):
        left = of_session(state)
        if not left:
            break
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        _wait(left, 2.0)
    return len(first)


def _wait(processes: list[psutil.Process], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        reap_orphans()
        if not any(is_alive(process) for process in processes):
            return
        time.sleep(0.05)


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; one that has ended and was not collected does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _is_marked(pid: int, entry: bytes) -> bool:
    try:
        return entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
