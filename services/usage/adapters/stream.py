"""Usage that other services publish, read from their streams with a consumer group.

Truth is in the publisher's database until the ledger has it: a stream that is flushed, or a line that cannot be read,
only means that the line comes again by `RecordUsage`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import redis.asyncio
import redis.exceptions
from google.protobuf.message import DecodeError
from protovalidate import ValidationError, Validator

from deskmesh.usage.v1 import usage_service_pb2
from services.common import background
from services.common.outbox import stream_name
from services.usage import mapping
from services.usage.domain import Entry

logger = logging.getLogger(__name__)

# What the orchestrator publishes: a `RecordUsageRequest` for each turn.
TURN_USAGE = stream_name("orchestrator", "turn.usage")
GROUP = "usage"
BATCH_SIZE = 100
BLOCK_MILLISECONDS = 1_000
RETRY_SECONDS = 1.0

Record = Callable[[Sequence[Entry]], Awaitable[int]]
Message = tuple[bytes, dict[bytes, bytes]]


class UsageStream:
    """Records what the stream brings; as a context manager it does so in the background until the block ends."""

    def __init__(
        self,
        store: redis.asyncio.Redis,
        record: Record,
        consumer: str,
        *,
        takeover_seconds: float,
        name: str = TURN_USAGE,
    ) -> None:
        self._redis = store
        self._record = record
        self._consumer = consumer
        self._takeover_milliseconds = int(takeover_seconds * 1000)
        self._name = name
        self._validator = Validator()
        self._next_takeover = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "UsageStream":
        self._task = asyncio.create_task(self._run(), name="usage-stream")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            await background.end(self._task)

    async def read_batch(self) -> int:
        """Record what is there and what a dead consumer left; returns how many messages were read."""
        messages = await self._left_behind() or await self._new()
        if not messages:
            return 0
        entries = [entry for message in messages for entry in self._entries_of(message)]
        if entries:
            await self._record(entries)
        # Only now: whoever dies before leaves the messages to the next.
        await self._redis.xack(self._name, GROUP, *(number for number, _ in messages))
        return len(messages)

    async def _new(self) -> list[Message]:
        answer: Any = await self._redis.xreadgroup(
            GROUP, self._consumer, {self._name: ">"}, count=BATCH_SIZE, block=BLOCK_MILLISECONDS
        )
        return answer[0][1] if answer else []

    async def _left_behind(self) -> list[Message]:
        now = asyncio.get_running_loop().time()
        if now < self._next_takeover:
            return []
        answer: Any = await self._redis.xautoclaim(
            self._name, GROUP, self._consumer, min_idle_time=self._takeover_milliseconds, count=BATCH_SIZE
        )
        messages: list[Message] = answer[1]
        if not messages:
            self._next_takeover = now + self._takeover_milliseconds / 1000
        return messages

    def _entries_of(self, message: Message) -> Sequence[Entry]:
        number, fields = message
        try:
            request = usage_service_pb2.RecordUsageRequest.FromString(fields[b"payload"])
            self._validator.validate(request)
            return mapping.to_entries(fields[b"organization_id"].decode(), request.entries)
        except (DecodeError, KeyError, UnicodeDecodeError, ValidationError):
            logger.exception("usage cannot be read", extra={"entry": number.decode()})
            return ()

    async def _run(self) -> None:
        while True:
            try:
                await self.read_batch()
            except redis.exceptions.ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    logger.exception("the stream of usage cannot be read")
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                await self._make_group()
            except Exception:
                logger.warning("usage not recorded, trying again", exc_info=True)
                await asyncio.sleep(RETRY_SECONDS)

    async def _make_group(self) -> None:
        """From the stream's beginning: what is recorded already is recognized."""
        with suppress(redis.exceptions.ResponseError, redis.exceptions.ConnectionError):
            await self._redis.xgroup_create(self._name, GROUP, id="0", mkstream=True)
