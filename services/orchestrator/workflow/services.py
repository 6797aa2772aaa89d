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
