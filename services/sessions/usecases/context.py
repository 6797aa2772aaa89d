"""The newest messages that fit into a number of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.common.context import Caller
from services.sessions.domain import Message
from services.sessions.ports import TokenCounter, UnitsOfWork
from services.sessions.usecases import access

# Messages looked at in one go; together their texts stay below the size of a call.
BATCH = 64


@dataclass(frozen=True, slots=True)
class GetContext:
    """How much to read; the default model counts if none is named."""

    caller: Caller
    conversation_id: str
    model: str
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Context:
    """Messages, oldest first, and their tokens together; `truncated` when older ones were left out."""

    messages: list[Message]
    tokens: int
    truncated: bool


class ContextUseCases:
    """Cuts a conversation to what a model can take in."""

    def __init__(self, units: UnitsOfWork, counter: TokenCounter) -> None:
        self._units = units
        self._counter = counter

    async def get(self, query: GetContext) -> Context:
        """The newest messages that fit, without holes. Raises ConversationNotFound, TokenizerUnavailable."""
        async with self._units.of(query.caller.organization_id) as work:
            await access.find(work, query.caller, query.conversation_id, access.READ)
        model = query.model or await self._counter.default_model()
        fitting: list[Message] = []
        tokens = 0
        before: int | None = None
        while True:
            batch, counts = await self._batch(query, model, before)
            for message in batch:
                if tokens + counts[message.id] > query.max_tokens:
                    return Context(fitting[::-1], tokens, truncated=True)
                fitting.append(message)
                tokens += counts[message.id]
            if len(batch) < BATCH:
                return Context(fitting[::-1], tokens, truncated=False)
            before = batch[-1].offset

    async def _batch(self, query: GetContext, model: str, before: int | None) -> tuple[list[Message], dict[str, int]]:
        """Messages, newest first, with their counts. No transaction is open while the model counts."""
        organization_id = query.caller.organization_id
        async with self._units.of(organization_id) as work:
            batch = await work.messages.newest(query.conversation_id, before_offset=before, limit=BATCH)
            counts = await work.messages.token_counts([message.id for message in batch], model)
        uncounted = [message for message in batch if message.id not in counts]
        if uncounted:
            counted = await self._count(model, uncounted)
            async with self._units.of(organization_id) as work:
                await work.messages.keep_token_counts(counted, model)
                await work.commit()
            counts |= counted
        return batch, counts

    async def _count(self, model: str, messages: Sequence[Message]) -> dict[str, int]:
        counts = await self._counter.count(model, [message.text for message in messages])
        return {message.id: tokens for message, tokens in zip(messages, counts, strict=True)}
