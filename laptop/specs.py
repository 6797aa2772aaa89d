"""What the supervisor runs, as data: a process, how to tell that it is ready, what it needs first."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from laptop.probes import Probe

# Every process of a stack, and whatever it starts, carries these two in its environment.
HOME_MARK = "DESKMESH_HOME"
NAME_MARK = "DESKMESH_PROCESS"


@dataclass(frozen=True)
class Listener:
    """An address a process is meant to listen on; `address` is host:port or a Unix socket's path."""

    address: str
    tls: bool = False
    mtls: bool = False


@dataclass(frozen=True)
class MetricsEndpoint:
    """Where a process answers with its metrics: host:port, or a Unix socket's path, whose name may be a pattern."""

    address: str
    path: str = "/metrics"


@dataclass(frozen=True)
class ProcessSpec:
    """One process. A `one_shot` runs once a start, and what depends on it waits for its success."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Probe | None = None
    depends_on: tuple[str, ...] = ()
    grace_seconds: float = 20.0
    start_seconds: float = 60.0
    usual_seconds: float = 1.0
    one_shot: bool = False
    # False for what nobody who asks a question needs: a start does not wait for it.
    awaited: bool = True
    # Starts when few others of these do: on few cores many short starts would hold up the one that takes longest.
    in_turn: bool = False
    user: str | None = None
    stop_signal: str = "SIGTERM"
    listeners: tuple[Listener, ...] = ()
    metrics: tuple[MetricsEndpoint, ...] = ()
    working_folder: Path | None = None
    # Runs before each start, such as taking away what a killed process left for its probe to find.
    before_start: Callable[[], None] | None = None


class State(StrEnum):
    """Where a process stands."""

    WAITING = "waiting"  # for what it depends on
    STARTING = "starting"  # runs, not ready yet
    READY = "ready"
    DONE = "done"  # a one-shot that succeeded
    BACKOFF = "backoff"  # died; will be started again
    FAILED = "failed"  # died too often; `up` or `restart` tries again
    STOPPING = "stopping"
    STOPPED = "stopped"


FINAL = frozenset({State.READY, State.DONE})


def in_start_order(specs: tuple[ProcessSpec, ...]) -> tuple[ProcessSpec, ...]:
    """Sort so that each stands after what it depends on. Raises ValueError on a gap or a circle."""
    by_name = {spec.name: spec for spec in specs}
    ordered: dict[str, ProcessSpec] = {}
    visiting: set[str] = set()

    def visit(name: str, wanted_by: str) -> None:
        if name in ordered:
            return
        if name not in by_name:
            raise ValueError(f"{wanted_by} depends on {name}, which does not exist")
        if name in visiting:
            raise ValueError(f"{name} depends on itself")
        visiting.add(name)
        for dependency in by_name[name].depends_on:
            visit(dependency, name)
        ordered[name] = by_name[name]

    for spec in specs:
        visit(spec.name, spec.name)
    return tuple(ordered.values())
