"""What the model registry last said, kept beside the board: it outlives routers, and is the same for all of them.

The store ends with Ray's head, so the process that runs the application keeps a copy in a file and puts it back.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from serve_apps.assistant.board import Store

NAMESPACE = "deskmesh-control"
REGISTRY = "registry"


@dataclass(frozen=True, slots=True)
class RegistryState:
    """Models that must get no requests; `as_of` in seconds of Unix time, 0 when the registry never said anything."""

    disabled: frozenset[str] = frozenset()
    as_of: float = 0.0


class ControlBoard:
    """Reads and writes that state. Calls block for less than a millisecond."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def registry(self) -> RegistryState:
        """What the registry last said."""
        value = self._store.read_all().get(REGISTRY)
        if value is None:
            return RegistryState()
        content = json.loads(value)
        return RegistryState(frozenset(content["disabled"]), content["as_of"])

    def tell(self, state: RegistryState) -> None:
        """Keep a state; one that is older than what is known changes nothing."""
        if state.as_of >= self.registry().as_of:
            self._store.put(REGISTRY, json.dumps({"disabled": sorted(state.disabled), "as_of": state.as_of}).encode())


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
