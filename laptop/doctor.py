"""Looks for what would keep the stack from starting, and says what to do about each."""

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import psutil

from laptop import daemon, proc
from laptop.pki import read_certificate
from laptop.settings import PROJECT_ROOT, StackSettings
from laptop.stack import INFERENCE_OFFSET, RAY_OFFSET, SERVICES, WEB_FOLDER, WORKLOADS
from serve_apps.assistant.models import cache_folder
from serve_apps.assistant.prepare_models import MODEL, find_problem

GIB = 1024**3
MEMORY_NEEDED = 4 * GIB
MEMORY_COMFORTABLE = 8 * GIB
DISK_NEEDED = 1 * GIB
DISK_COMFORTABLE = 5 * GIB
# A Unix socket's path with its closing zero has 108 bytes in Linux.
SOCKET_PATH_MOST = 107
LONGEST_SOCKET = "postgres/.s.PGSQL.5432.lock"


class Verdict(StrEnum):
    """How bad a finding is; only a problem keeps `deskmesh up` from starting."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `advice` is empty when all is well."""

    name: str
    verdict: Verdict
    detail: str
    advice: str = ""


Check = Callable[[StackSettings], Iterator[Finding]]


def examine(settings: StackSettings) -> list[Finding]:
    """Run every check. While the stack runs, its own ports and memory are no finding."""
    running = daemon.is_locked(settings.paths.lock)
    checks = [check for check in CHECKS if not (running and check in ONLY_BEFORE_START)]
    return [finding for check in checks for finding in check(settings)]


def obstacles(settings: StackSettings) -> list[Finding]:
    """What keeps the stack from starting; skips the checks that never do."""
    return problems([finding for check in CHECKS if check not in NEVER_IN_THE_WAY for finding in check(settings)])


def problems(findings: list[Finding]) -> list[Finding]:
    """Those findings that keep the stack from starting."""
    return [finding for finding in findings if finding.verdict is Verdict.PROBLEM]


def check_python(_: StackSettings) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", Verdict.OK, version)


def check_tools(_: StackSettings) -> Iterator[Finding]:
    built = (WEB_FOLDER / "index.html").exists()
    for tool in ("node", "npm"):
        found = shutil.which(tool)
        if found:
            yield Finding(tool, Verdict.OK, found)
        else:
            verdict = Verdict.WARNING if built else Verdict.PROBLEM
            yield Finding(tool, verdict, "not found", "Install Node.js 20 or newer with npm; it builds the web app.")
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler:
        yield Finding("compiler", Verdict.OK, compiler)
    else:
        yield Finding("compiler", Verdict.PROBLEM, "not found", "Install a C compiler (gcc or clang); vLLM needs it.")


def check_built(_: StackSettings) -> Iterator[Finding]:
    parts = {
        "stubs": PROJECT_ROOT / "gen" / "python" / "deskmesh",
        "web app": WEB_FOLDER / "index.html",
    }
    for name, path in parts.items():
        if path.exists():
            yield Finding(name, Verdict.OK, "built")
        else:
            yield Finding(name, Verdict.PROBLEM, "not built", "Run `make setup`.")


def check_memory(_: StackSettings) -> Iterator[Finding]:
    available = psutil.virtual_memory().available
    detail = f"{available / GIB:.1f} GiB available"
    if available < MEMORY_NEEDED:
        yield Finding("memory", Verdict.PROBLEM, detail, "Free memory: the stack needs 4 GiB, 8 to be comfortable.")
    elif available < MEMORY_COMFORTABLE:
        yield Finding("memory", Verdict.WARNING, detail, "Close other programs: with less than 8 GiB it may get slow.")
    else:
        yield Finding("memory", Verdict.OK, detail)


def check_disk(settings: StackSettings) -> Iterator[Finding]:
    for name, folder in (("disk of the state folder", settings.home), ("disk of the model cache", cache_folder())):
        free = shutil.disk_usage(_existing(folder)).free
        detail = f"{free / GIB:.1f} GiB free for {folder}"
        if free < DISK_NEEDED:
            yield Finding(name, Verdict.PROBLEM, detail, "Free at least 1 GiB on this disk.")
        elif free < DISK_COMFORTABLE:
            yield Finding(name, Verdict.WARNING, detail, "Free some space: logs, data and models want up to 5 GiB.")
        else:
            yield Finding(name, Verdict.OK, detail)


def check_ports(settings: StackSettings) -> Iterator[Finding]:
    ports = {
        "edge": settings.edge_port,
        **{name: settings.base_port + offset for name, offset in SERVICES.items()},
        "inference": settings.base_port + INFERENCE_OFFSET,
        "Ray": settings.base_port + RAY_OFFSET,
        **({"metrics": settings.metrics_port} if settings.metrics_port else {}),
    }
    for name, port in ports.items():
        if _is_free(port):
            yield Finding(f"port {port}", Verdict.OK, f"free for {name}")
            continue
        pid = proc.holder_of_port(port)
        holder = f"PID {pid} ({psutil.Process(pid).name()})" if pid else "a process of another user"
        variable = {"edge": "DESKMESH_EDGE_PORT", "metrics": "DESKMESH_METRICS_PORT"}.get(name, "DESKMESH_BASE_PORT")
        yield Finding(
            f"port {port}",
            Verdict.PROBLEM,
            f"{name} needs it, but {holder} holds it",
            f"End that process, or set {variable} to another port.",
        )


def check_leftovers(settings: StackSettings) -> Iterator[Finding]:
    left = proc.marked_processes(settings.home)
    if left:
        names = ", ".join(f"{name} ({pid})" for pid, name in sorted(left.items()))
        yield Finding("earlier start", Verdict.WARNING, f"left running: {names}", "`deskmesh up` ends them first.")
    else:
        yield Finding("earlier start", Verdict.OK, "left nothing behind")


def check_state_folder(settings: StackSettings) -> Iterator[Finding]:
    home = _existing(settings.home)
    if os.access(home, os.W_OK):
        yield Finding("state folder", Verdict.OK, str(settings.home))
    else:
        yield Finding(
            "state folder", Verdict.PROBLEM, f"{home} is not writable", "Set DESKMESH_HOME to a folder of yours."
        )
    longest = len(str(settings.paths.run / LONGEST_SOCKET).encode())
    if longest > SOCKET_PATH_MOST:
        detail = f"a socket's path would have {longest} bytes; Linux allows {SOCKET_PATH_MOST}"
        yield Finding("socket paths", Verdict.PROBLEM, detail, "Set DESKMESH_HOME to a folder with a shorter path.")
    else:
        yield Finding("socket paths", Verdict.OK, f"{longest} of {SOCKET_PATH_MOST} bytes")


def check_certificates(settings: StackSettings) -> Iterator[Finding]:
    if not settings.paths.ca_certificate.exists():
        yield Finding("certificates", Verdict.OK, "made at the first start")
        return
    now = datetime.now(UTC)
    for workload in WORKLOADS:
        certificate = read_certificate(settings.paths.pki / workload.name / "tls.crt")
        name = f"certificate of {workload.name}"
        if certificate is None:
            yield Finding(name, Verdict.WARNING, "missing or damaged", "`deskmesh up` makes a new one.")
        elif certificate.not_valid_after_utc <= now:
            detail = f"expired {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
            yield Finding(name, Verdict.WARNING, detail, "`deskmesh up` makes a new one.")
        else:
            yield Finding(name, Verdict.OK, f"until {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")


def check_model(_: StackSettings) -> Iterator[Finding]:
    model = cache_folder() / MODEL
    if not model.exists():
        yield Finding("model", Verdict.OK, f"made in {model} at the first start")
        return
    problem = find_problem(model, verify=True)
    if problem:
        advice = "`deskmesh up` makes it anew, in about half a minute."
        yield Finding("model", Verdict.WARNING, f"{model}: {problem}", advice)
    else:
        yield Finding("model", Verdict.OK, f"{model} is whole")


def _existing(folder: Path) -> Path:
    return next(one for one in (folder, *folder.parents) if one.exists())


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


CHECKS: tuple[Check, ...] = (
    check_python,
    check_tools,
    check_built,
    check_memory,
    check_disk,
    check_ports,
    check_state_folder,
    check_leftovers,
    check_certificates,
    check_model,
)
ONLY_BEFORE_START = (check_ports, check_leftovers, check_memory)
NEVER_IN_THE_WAY = (check_leftovers, check_certificates, check_model)
