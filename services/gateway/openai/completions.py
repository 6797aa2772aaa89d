"""Answers of models: reserved for, placed, written (one or several at once), metered and settled."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from services.common.context import Caller
from services.common.spending import Meter, Usage
from services.gateway.openai.domain import End, Line, Piece, Place
from services.gateway.openai.ports import Models
from services.gateway.openai.requests import ChatCompletionRequest
from services.gateway.openai.spending import Spending

OPERATION = "chat"
# An estimate until the model says itself: what breaks an answer off must not make it free.
CHARACTERS_A_TOKEN = 4
# How far a choice may run ahead of what the client takes.
AHEAD = 16


@dataclass(frozen=True, slots=True)
class Part:
    """A frame of one of the answers to a request, which are counted from 0."""

    choice: int
    frame: Piece | End


class Completions:
    """Chat completions."""

    def __init__(self, models: Models, spending: Spending) -> None:
        self._models = models
        self._spending = spending

    async def answer(self, caller: Caller, request: ChatCompletionRequest) -> AsyncGenerator[Part, None]:
        """The frames of all answers. Closing it stops the model; what was used until then is settled.

        Raises ModelNotFound, ModelOverloaded, ModelUnavailable, PromptTooLong, BudgetExceeded and InvalidInput, the
        latter two also in the middle.
        """
        held = self._spending.hold(caller, request.model, OPERATION)
        used: _Used | None = None
        try:
            place = await self._models.place(request, caller.organization_id)
            meter = await held.granted()
            used = _Used(request, place, meter)
            async with aclosing(self._parts(place, request)) as parts:
                async for part in parts:
                    await used.count(part)
                    yield part
        finally:
            held.end(used.lines() if used is not None else ())

    async def _parts(self, place: Place, request: ChatCompletionRequest) -> AsyncGenerator[Part, None]:
        choices = request.n or 1
        if choices > 1:
            written = [self._models.write(place, request, choice) for choice in range(choices)]
            async with aclosing(_merged(written)) as merged:
                async for part in merged:
                    yield part
            return
        async with aclosing(self._models.write(place, request, 0)) as frames:
            async for frame in frames:
                yield Part(0, frame)


class _Used:
    """What the answers to a request used up to now."""

    def __init__(self, request: ChatCompletionRequest, place: Place, meter: Meter) -> None:
        characters = sum(len(message.content or "") for message in request.messages)
        self._read = Usage(prompt_tokens=characters // CHARACTERS_A_TOKEN)
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
