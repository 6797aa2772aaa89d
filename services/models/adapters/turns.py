"""What customers' turns show of models, read from the streams of the services that know.

The orchestrator publishes each turn's figures, sessions each rating. A stream's entries are numbered by when they came,
so that a service that is started anew reads again what came since a moment, and needs no table of its own. What is lost
with Valkey is not made up: then fewer turns are compared.
"""

import logging
from collections import OrderedDict, deque
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import redis.asyncio
from google.protobuf.message import DecodeError
from redis.exceptions import RedisError

from deskmesh.orchestrator.v1 import figures_pb2
from deskmesh.sessions.v1 import message_pb2
from services.common.outbox import stream_name
from services.models.live import Call, Seen

logger = logging.getLogger(__name__)

# `TurnFigures`, and `Message` with its rating.
TURN_MEASURED = stream_name("orchestrator", "turn.measured")
MESSAGE_RATED = stream_name("sessions", "message.rated")
BATCH_SIZE = 200
# At one look; more waits for the next.
MOST_BATCHES = 50
# The newest are kept.
MOST_CALLS = 20_000
MOST_RATINGS = 20_000

Fields = Mapping[bytes, bytes]


class ValkeyTurns:
    """Remembers what it read, and goes on from there while it is asked for the same moment."""

    def __init__(self, store: redis.asyncio.Redis) -> None:
        self._redis = store
        self._since: datetime | None = None
        self._next: dict[str, str] = {}
        self._calls: deque[Call] = deque(maxlen=MOST_CALLS)
        self._ratings: OrderedDict[str, bool] = OrderedDict()

    async def since(self, moment: datetime) -> Seen:
        """What is known of the turns that ended since; without Valkey what was known before."""
        if moment != self._since:
            self._since = moment
            first = str(int(moment.timestamp() * 1000))
            self._next = {TURN_MEASURED: first, MESSAGE_RATED: first}
            self._calls.clear()
            self._ratings.clear()
        try:
            for fields in await self._read(TURN_MEASURED):
                self._calls.extend(_calls(fields))
            for fields in await self._read(MESSAGE_RATED):
                self._rate(fields)
        except RedisError:
            logger.warning("turns of customers cannot be looked at")
        return Seen(tuple(self._calls), dict(self._ratings))

    async def _read(self, stream: str) -> list[Fields]:
        """What is new."""
        found: list[Fields] = []
        for _ in range(MOST_BATCHES):
            entries: Any = await self._redis.xrange(stream, min=self._next[stream], count=BATCH_SIZE)
            if entries:
                self._next[stream] = f"({entries[-1][0].decode()}"
            found += [fields for _, fields in entries]
            if len(entries) < BATCH_SIZE:
                break
        return found

    def _rate(self, fields: Fields) -> None:
        try:
            message = message_pb2.Message.FromString(fields[b"payload"])
        except (DecodeError, KeyError):
            logger.exception("a rating cannot be read")
            return
        self._ratings.pop(message.turn_id, None)
        # One that was taken back is none.
        if message.rating != message_pb2.RATING_UNSPECIFIED:
            self._ratings[message.turn_id] = message.rating == message_pb2.RATING_UP
        if len(self._ratings) > MOST_RATINGS:
            self._ratings.popitem(last=False)


def _calls(fields: Fields) -> list[Call]:
    try:
        told = figures_pb2.TurnFigures.FromString(fields[b"payload"])
        tenant = fields[b"organization_id"].decode()
    except (DecodeError, KeyError, UnicodeDecodeError):
        logger.exception("a turn's figures cannot be read")
        return []
    return [
        Call(
            turn_id=told.turn_id,
            step=one.step,
            model=one.model,
            version=one.version,
            error=one.error_reason,
            first_token_seconds=one.first_token.ToNanoseconds() / 1e9 if one.HasField("first_token") else None,
            tokens_per_second=one.tokens_per_second,
            grounded=one.grounded if one.HasField("grounded") else None,
            tenant=tenant,
            shadow=shadow,
            prompt_tokens=one.prompt_tokens,
            completion_tokens=one.completion_tokens,
        )
        for shadow, calls in ((False, told.calls), (True, told.shadow_calls))
        for one in calls
    ]
