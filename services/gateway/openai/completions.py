"""Answers of models: reserved for, placed, written (one or several at once), metered and settled."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from services.common.context import Caller
from services.common.errors import Unavailable
from services.common.spending import Meter, Usage
from services.gateway.openai.domain import End, Line, Piece, Place
from services.gateway.openai.errors import ModelOverloaded
from services.gateway.openai.ports import Models
from services.gateway.openai.requests import ChatCompletionRequest
from services.gateway.openai.spending import Spending
from services.gateway.token_limits import Taken, TokenLimits

OPERATION = "chat"
# So long a call waits for a model to have room, unless its caller waits less.
QUEUE_SECONDS = 60.0
# How far a choice may run ahead of what the client takes.
AHEAD = 16


@dataclass(frozen=True, slots=True)
class Part:
    """A frame of one of the answers to a request, which are counted from 0."""

    choice: int
    frame: Piece | End


class Completions:
    """Chat completions."""

    def __init__(self, models: Models, spending: Spending, tokens: TokenLimits) -> None:
        self._models = models
        self._spending = spending
        self._tokens = tokens
        # Calls that waited for room until they got it, and how long, in all.
        self.queued = 0
        self.queued_seconds = 0.0

    async def answer(
        self,
        caller: Caller,
        request: ChatCompletionRequest,
        patience_seconds: float,
        told: Callable[[Taken | Place], None],
    ) -> AsyncGenerator[Part, None]:
        """The frames of all answers. Closing it stops the model; what was used until then is settled.

        It waits at most `patience_seconds` for room; `told` hears what it holds of the token limits, and its place.
        Raises TooManyTokens, ModelNotFound, ModelOverloaded, ModelUnavailable, PromptTooLong, BudgetExceeded and
        InvalidInput, the latter two also in the middle.
        """
        taken = await self._tokens.take(caller, request.most_tokens)
        told(taken)
        held = self._spending.hold(caller, request.model, OPERATION)
        used: _Used | None = None
        try:
            organization_id = caller.organization_id
            place = await self._models.place(request, organization_id, min(patience_seconds, QUEUE_SECONDS))
            self._note(place)
            told(place)
            meter = await held.granted()
            used = _Used(request, place, meter)
            async with aclosing(self._parts(place, request, organization_id)) as parts:
                async for part in parts:
                    await used.count(part)
                    yield part
        finally:
            lines = used.lines() if used is not None else ()
            held.end(lines)
            self._spending.settle(taken.settle(tokens_of(lines)))

    def _note(self, place: Place) -> None:
        if place.queued_at:
            self.queued += 1
            self.queued_seconds += place.waited_seconds

    async def _parts(
        self, place: Place, request: ChatCompletionRequest, organization_id: str
    ) -> AsyncGenerator[Part, None]:
        choices = request.n or 1
        if choices > 1:
            written = [self._written(place, request, choice, organization_id) for choice in range(choices)]
            async with aclosing(_merged(written)) as merged:
                async for part in merged:
                    yield part
            return
        async with aclosing(self._written(place, request, 0, organization_id)) as frames:
            async for frame in frames:
                yield Part(0, frame)

    async def _written(
        self, place: Place, request: ChatCompletionRequest, choice: int, organization_id: str
    ) -> AsyncGenerator[Piece | End, None]:
        """One answer, by another replica where the first does not begin."""
        begun = False
        try:
            async with aclosing(self._models.write(place, request, choice)) as frames:
                async for frame in frames:
                    begun = True
                    yield frame
        except (ModelOverloaded, Unavailable):
            other = None if begun else await self._models.another(place, request, organization_id)
            if other is None:
                raise
            async with aclosing(self._models.write(other, request, choice)) as frames:
                async for frame in frames:
                    yield frame


def tokens_of(lines: Sequence[Line]) -> int:
    """All tokens of uses of models, those of prompts included."""
    return sum(line.usage.prompt_tokens + line.usage.completion_tokens for line in lines)


class _Used:
    """What the answers to a request used up to now."""

    def __init__(self, request: ChatCompletionRequest, place: Place, meter: Meter) -> None:
        # What breaks an answer off must not make it free.
        self._read = Usage(prompt_tokens=request.estimated_prompt_tokens)
        self._model = place.model
        self._meter = meter
        self._began = time.monotonic()
        self._by_choice: dict[int, Usage] = {}

    async def count(self, part: Part) -> None:
        """One more frame. Raises BudgetExceeded when it was one too many."""
        match part.frame:
            case Piece(tokens=tokens):
                before = self._by_choice.get(part.choice, self._read)
                self._by_choice[part.choice] = before + Usage(completion_tokens=tokens) if tokens else before
            case End(usage=usage):
                self._by_choice[part.choice] = usage
                if len(self._by_choice) == 1:
                    # It is whole already, and will be paid for.
                    return
        await self._meter.used(sum(self._by_choice.values(), Usage()))

    def lines(self) -> Sequence[Line]:
        """For the ledger, a line for each answer that was begun."""
        elapsed = time.monotonic() - self._began
        return [Line(OPERATION, self._model, usage, elapsed) for usage in self._by_choice.values()]


async def _merged(answers: Sequence[AsyncGenerator[Piece | End, None]]) -> AsyncGenerator[Part, None]:
    """The frames of several answers as they come."""
    queue: asyncio.Queue[Part | BaseException | None] = asyncio.Queue(AHEAD)

    async def follow(choice: int, frames: AsyncGenerator[Piece | End, None]) -> None:
        try:
            async with aclosing(frames):
                async for frame in frames:
                    await queue.put(Part(choice, frame))
        except Exception as error:  # noqa: BLE001 - it is raised where the answers are read
            await queue.put(error)
        else:
            await queue.put(None)

    tasks = [asyncio.create_task(follow(choice, frames)) for choice, frames in enumerate(answers)]
    try:
        async for part in _until_all_ended(queue, len(tasks)):
            yield part
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until_all_ended(queue: "asyncio.Queue[Part | BaseException | None]", running: int) -> AsyncIterator[Part]:
    while running:
        match await queue.get():
            case None:
                running -= 1
            case BaseException() as error:
                raise error
            case part:
                yield part
