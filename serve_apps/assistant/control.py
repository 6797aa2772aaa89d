"""What the model registry last said, kept beside the board: it outlives routers, and is the same for all of them.

The store ends with Ray's head, so the process that runs the application keeps a copy in a file and puts it back.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from serve_apps.assistant.board import Store

NAMESPACE = "deskmesh-control"
REGISTRY = "registry"
TARGETS = "targets"
PROGRESS = "progress"


@dataclass(frozen=True, slots=True)
class RegistryState:
    """Models that must get no requests; `as_of` in seconds of Unix time, 0 when the registry never said anything."""

    disabled: frozenset[str] = frozenset()
    as_of: float = 0.0


@dataclass(frozen=True, slots=True)
class Targets:
    """What should run: the file that serves and the one that is tried beside it, empty for none. `base` stands for the
    file that the application was started with; a word about another start's file does not count. `shadow_percent`: of
    100 turns of customers, so many are repeated for what is tried."""

    base: str
    stable: str
    candidate: str = ""
    percent: int = 0
    tenants: tuple[str, ...] = ()
    as_of: float = 0.0
    shadow_percent: int = 0

    @property
    def mark(self) -> str:
        """What stands for the two files."""
        return base_of(f"{self.stable}\0{self.candidate}")


@dataclass(frozen=True, slots=True)
class Start:
    """How a version of a model fares that should run; asleep, it keeps no replica while nobody asks."""

    model: str
    version: str
    failed: bool
    message: str
    asleep: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far what runs is what should run by the targets of this mark. `in_place`: running replicas have taken up what
    changes in them without a restart. A start of no model says why what is tried cannot be used at all."""

    mark: str = ""
    starts: Sequence[Start] = ()
    in_place: bool = False


def base_of(text: str) -> str:
    """What stands for a file."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class ControlBoard:
    """Reads and writes that state. Calls block for less than a millisecond."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def registry(self) -> RegistryState:
        """What the registry last said."""
        value = self._store.get(REGISTRY)
        if value is None:
            return RegistryState()
        content = json.loads(value)
        return RegistryState(frozenset(content["disabled"]), content["as_of"])

    def tell(self, state: RegistryState) -> None:
        """Keep a state; one that is older than what is known changes nothing."""
        if state.as_of >= self.registry().as_of:
            self._store.put(REGISTRY, json.dumps({"disabled": sorted(state.disabled), "as_of": state.as_of}).encode())

    def targets(self) -> Targets | None:
        """What should run; None before the application has begun."""
        value = self._store.get(TARGETS)
        if value is None:
            return None
        content = json.loads(value)
        return Targets(**content | {"tenants": tuple(content["tenants"])})

    def begin(self, text: str) -> Targets:
        """What to start with: what served last, if it was put in the place of this file, else the file itself."""
        known = self.targets()
        stable = known.stable if known is not None and known.base == base_of(text) else text
        # What was tried is taken up again when the registry says so.
        begun = Targets(base_of(text), stable, as_of=known.as_of if known is not None else 0.0)
        self._put(begun)
        self._store.delete(PROGRESS)
        return begun

    def forget(self) -> None:
        """Know no more of what should run."""
        self._store.delete(TARGETS)

    def aim(self, targets: Targets) -> None:
        """Keep what should run; older than what is known, or about another start's file, it changes nothing."""
        known = self.targets()
        if known is None or known.base != targets.base or targets.as_of < known.as_of:
            return
        # The same said again is not written again, nor is the file that holds a copy.
        if replace(known, as_of=targets.as_of) != targets:
            self._put(targets)

    def progress(self) -> Progress:
        """How far what runs is what should run."""
        value = self._store.get(PROGRESS)
        if value is None:
            return Progress()
        content = json.loads(value)
        return Progress(**content | {"starts": [Start(**one) for one in content["starts"]]})

    def note(self, progress: Progress) -> None:
        """Keep how far it is."""
        self._store.put(PROGRESS, json.dumps(asdict(progress)).encode())

    def _put(self, targets: Targets) -> None:
        self._store.put(TARGETS, json.dumps(asdict(targets)).encode())


class ControlFile:
    """The copy of the whole namespace in a file, written when something has changed."""

    def __init__(self, file: Path, store: Store) -> None:
        self._file = file
        self._store = store
        self._kept: Mapping[str, str] = {}

    def restore(self) -> None:
        """Put back what the file holds; without a file, or with one that is damaged, nothing."""
        try:
            self._kept = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return
        for key, value in self._kept.items():
            self._store.put(key, value.encode())

    def save(self) -> None:
        """Write what the store holds, if it is not in the file yet."""
        held = {key: value.decode() for key, value in self._store.read_all().items()}
        if held == self._kept:
            return
        temporary = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        temporary.write_text(json.dumps(held))
        os.replace(temporary, self._file)
        self._kept = held
