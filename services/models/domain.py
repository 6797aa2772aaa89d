"""Models as the registry knows them. Nothing here does I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum


class Health(StrEnum):
    """How a model fares."""

    UNKNOWN = "unknown"
    SERVING = "serving"
    DEGRADED = "degraded"
    DOWN = "down"


class Action(StrEnum):
    """What can be done to a model."""

    REGISTERED = "registered"
    ENABLED = "enabled"
    DISABLED = "disabled"
    PROMOTED = "promoted"


@dataclass(frozen=True, slots=True)
class Model:
    """A model in an environment. `version` counts changes by people; looks at its health are none."""

    name: str
    environment: str
    endpoint: str
    namespace: str
    created_at: datetime
    updated_at: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = True
    health: Health = Health.UNKNOWN
    health_checked_at: datetime | None = None
    version: int = 1

    def switched(self, *, enabled: bool, at: datetime) -> "Model":
        """The model enabled or disabled; itself when it is so already."""
        return self if self.enabled == enabled else replace(self, enabled=enabled, updated_at=at)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done to a model, by whom and why."""

    id: str
    model: str
    environment: str
    action: Action
    actor: str
    reason: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Sighting:
    """A model as a router shows it."""

    name: str
    health: Health
    metadata: Mapping[str, str] = field(default_factory=dict)
