"""The base of everything in a target's file."""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """Frozen, and without room for a field that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")
