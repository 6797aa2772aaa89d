"""What Linux says about processes: whose they are, what they start, where they listen."""

import contextlib
import ctypes
import os
import re
import resource
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from laptop.specs import HOME_MARK, NAME_MARK

PR_SET_CHILD_SUBREAPER = 36
MOST_FILES = 65_536
LISTENING_TCP = "0A"
ACCEPTS_CONNECTIONS = 0x10000
GONE = (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess)


@dataclass(frozen=True)
class Usage:
    """Memory in bytes and processor time in seconds, summed over processes."""

    rss_bytes: int
    cpu_seconds: float


def become_subreaper() -> None:
    """Make this process the parent of its descendants' orphans. Raises OSError if Linux refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def raise_file_limit() -> None:
    """Let this process and its descendants open as many files as they may: each stream at the edge takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def leave_no_core() -> None:
    """Keep this process and its descendants from leaving their memory, keys and all, in a file when they crash."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def mark_of(pid: int) -> tuple[str, str] | None:
    """The home and process name a process inherited from a supervisor, or None."""
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    values = dict(entry.split(b"=", 1) for entry in content.split(b"\0") if b"=" in entry)
    home, name = values.get(HOME_MARK.encode()), values.get(NAME_MARK.encode())
    return (home.decode(), name.decode()) if home and name else None


def marked_processes(home: Path) -> dict[int, str]:
    """Processes that a supervisor of this home started, directly or not: PID → process name."""
    found: dict[int, str] = {}
    for pid in psutil.pids():
        mark = mark_of(pid)
        if mark and mark[0] == str(home):
            found[pid] = mark[1]
    return found


def family(pid: int) -> list[psutil.Process]:
    """The process and all its descendants that live; empty if it is gone."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except GONE:
        return []


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended but was not waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except GONE:
        return False


def usage(processes: Iterable[psutil.Process]) -> Usage:
    """Sum memory and time; the time of children that ended counts with who waited for them."""
    memory, seconds = 0, 0.0
    for process in processes:
        with contextlib.suppress(*GONE), process.oneshot():
            times = process.cpu_times()
            memory += process.memory_info().rss
            seconds += times.user + times.system + times.children_user + times.children_system
    return Usage(memory, round(seconds, 2))


def end(processes: Iterable[psutil.Process], grace_seconds: float) -> None:
    """SIGTERM, then SIGKILL for those that are left after the grace. Blocks until all are gone."""
    living = [process for process in processes if send(process, signal.SIGTERM)]
    _, stubborn = psutil.wait_procs(living, timeout=grace_seconds)
    for process in stubborn:
        send(process, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=5)


def end_marked(home: Path, name: str | None, grace_seconds: float) -> int:
    """End a home's processes (of one name, or all), and what descends from them; returns how many.

    Never ends the calling process.
    """
    victims: dict[int, psutil.Process] = {}
    for pid, owner in marked_processes(home).items():
        if name in (None, owner):
            victims.update({process.pid: process for process in family(pid)})
    victims.pop(os.getpid(), None)
    end(victims.values(), grace_seconds)
    return len(victims)


def send(process: psutil.Process, number: signal.Signals) -> bool:
    """Send a signal; False when the process is gone. psutil checks that the PID was not reused."""
    try:
        process.send_signal(number)
    except GONE:
        return False
    return True


class AdoptedReaper:
    """Waits for ended orphans that fell to this process.

    A child that this process started itself is waited for at once by asyncio, so only a child that
    is found ended twice in a row is an orphan nobody waits for.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def sweep(self) -> None:
        """Look once; call it every few seconds."""
        ended = set()
        for child in psutil.Process().children():
            with contextlib.suppress(*GONE):
                if child.status() == psutil.STATUS_ZOMBIE:
                    ended.add(child.pid)
        for pid in ended & self._seen:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        self._seen = ended


def listeners(pids: Iterable[int]) -> list[str]:
    """Addresses the processes accept connections on: `host:port` or the path of a Unix socket."""
    inodes: set[str] = set()
    for pid in pids:
        inodes |= _socket_inodes(pid)
    found = {address for inode, address in _listening_sockets().items() if inode in inodes}
    return sorted(found)


def holder_of_port(port: int) -> int | None:
    """The PID that listens on a TCP port, None if nobody does or Linux hides it."""
    wanted = {inode for inode, address in _listening_sockets().items() if address.endswith(f":{port}")}
    if not wanted:
        return None
    return next((pid for pid in psutil.pids() if _socket_inodes(pid) & wanted), None)


def _socket_inodes(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(entry.path)
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    return found


def _listening_sockets() -> dict[str, str]:
    """Inode → address of every listening TCP and Unix socket."""
    found: dict[str, str] = {}
    for table in ("tcp", "tcp6"):
        for line in _lines(f"/proc/net/{table}"):
            columns = line.split()
            if columns[3] == LISTENING_TCP:
                found[columns[9]] = _tcp_address(columns[1])
    for line in _lines("/proc/net/unix"):
        columns = line.split(maxsplit=7)
        if len(columns) == 8 and int(columns[3], 16) & ACCEPTS_CONNECTIONS:
            found[columns[6]] = columns[7].strip()
    return found


def _lines(file: str) -> list[str]:
    try:
        return Path(file).read_text().splitlines()[1:]
    except OSError:
        return []


def _tcp_address(column: str) -> str:
    """Linux writes addresses as hexadecimal words in the machine's (little-endian) byte order."""
    host, port = column.split(":")
    number = int(port, 16)
    octets = [byte for word in re.findall("." * 8, host) for byte in bytes.fromhex(word)[::-1]]
    if len(octets) == 4:
        return f"{'.'.join(map(str, octets))}:{number}"
    if not any(octets[:10]) and octets[10:12] == [255, 255]:
        return f"{'.'.join(map(str, octets[12:]))}:{number}"
    if not any(octets[:15]):
        return f"[::{octets[15] or ''}]:{number}"
    return f"[{':'.join(f'{a << 8 | b:x}' for a, b in zip(octets[::2], octets[1::2], strict=True))}]:{number}"
