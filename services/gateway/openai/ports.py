"""What the API needs from outside."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from services.common.spending import Granted
from services.gateway.openai.domain import Embedded, End, Line, Piece, Place
from services.gateway.openai.requests import ChatCompletionRequest


class Models(Protocol):
    """The inference application; calls act for the person in the calling context."""

    async def place(self, request: ChatCompletionRequest, organization_id: str, within_seconds: float) -> Place:
        """Choose the replica; wait for so long until one has room.

        Raises ModelNotFound, ModelOverloaded, ModelUnavailable.
        """

    async def another(self, place: Place, request: ChatCompletionRequest, organization_id: str) -> Place | None:
        """Another replica with room now, in place of one that failed; None when there is none."""

    def write(self, place: Place, request: ChatCompletionRequest, choice: int) -> AsyncGenerator[Piece | End, None]:
        """An answer: pieces, of which the first says that the model has begun, then the end. Closing it stops it.

        Raises ModelOverloaded, ModelUnavailable, PromptTooLong, InvalidInput, ToolCallInvalid.
        """

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Vectors of texts. Raises ModelOverloaded, ModelUnavailable."""

    async def names(self) -> Sequence[str]:
        """The models that write."""

    async def embedder(self) -> tuple[str, int]:
        """Name and dimension of the model that embeds; asked for once in a while. Raises ModelUnavailable."""


class Budgets(Protocol):
    """The usage service; calls act for the person in the calling context."""

    async def reserve(
        self, reservation_id: str, *, model: str, operation: str, key_id: str, lease_seconds: float
    ) -> Granted:
        """Hold what such work usually uses. Raises BudgetExceeded, Unavailable."""

    async def extend(self, reservation_id: str, wanted: int, lease_seconds: float) -> int:
        """Hold more, as a whole; returns what is held. Raises BudgetExceeded, Unavailable."""

    async def settle(self, reservation_id: str, *, user_id: str, key_id: str, lines: Sequence[Line]) -> None:
        """End a reservation with what was used. Raises Unavailable."""
