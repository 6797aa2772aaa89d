"""What the steps of a turn call."""

from dataclasses import dataclass

from services.orchestrator.ports import Embedder, Knowledge, Models, Sessions, Tickets
from services.orchestrator.workflow.memory import PassageMemory


@dataclass(frozen=True)
class Services:
    """The other services, and what this process remembers of them."""

    sessions: Sessions
    tickets: Tickets
    knowledge: Knowledge
    embedder: Embedder
    models: Models
    memory: PassageMemory
    # Within which a turn must end, and the most that one call of a model may cost, in the inference application's
    # currency; None for no ceiling.
    turn_seconds: float
    maximum_cost: float | None = None
