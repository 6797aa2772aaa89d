"""Replicas in simulated time: slots, a queue, a prefix cache, and service times as measured of the real engine."""

import heapq
import random
from collections import OrderedDict, deque
from dataclasses import dataclass, field

# Tokens in a block of a prefix cache, as in vLLM.
BLOCK_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a replica is. A prompt's uncached tokens are computed one prompt after the other; writing a token slows
    down with the requests beside it: `token_seconds × (1 + batch_share × others)`."""

    prefill_tokens_per_second: float
    token_seconds: float
    batch_share: float


# Orders of magnitude of a 7B model on one GPU; of the laptop's engine only the shape was measured (tokens/s grow with
# the batch, by a factor of 11 at 32 streams).
GPU = Speed(prefill_tokens_per_second=8000.0, token_seconds=0.012, batch_share=0.03)


@dataclass(slots=True)
class Request:
    """One request. `blocks` are hashes of its prompt's beginning; the answer's length follows a log-normal."""

    arrived: float
    conversation: str
    blocks: tuple[int, ...]
    prompt_tokens: int
    answer_tokens: int
    replica: str = ""
    first_token: float = 0.0
    cached_tokens: int = 0


class Replica:
    """`slots` requests at once, `queue` more that wait. Times are seconds of simulated time."""

    def __init__(self, name: str, speed: Speed, *, slots: int, queue: int, cache_blocks: int) -> None:
        self.name = name
        self.capacity = slots + queue
        self.alive = True
        self._speed = speed
        self._slots = slots
        self._waiting: deque[Request] = deque()
        self._running = 0
        self._prefill_free = 0.0
        self._cache: OrderedDict[int, None] = OrderedDict()
        self._cache_blocks = cache_blocks

    @property
    def load(self) -> int:
        """Requests running and waiting."""
        return self._running + len(self._waiting)

    @property
    def running(self) -> int:
        """Requests running."""
        return self._running

    @property
    def waiting(self) -> int:
        """Requests waiting."""
        return len(self._waiting)

    def take(self, request: Request, now: float) -> float | None:
        """Accept a request; the time at which it ends, or None when it has to wait."""
        if self._running >= self._slots:
            self._waiting.append(request)
            return None
        return self._start(request, now)

    def end(self, now: float) -> tuple[Request, float] | None:
        """One request has ended; the next one with the time at which it will end, if one waits."""
        self._running -= 1
        if not self._waiting:
            return None
        request = self._waiting.popleft()
        return request, self._start(request, now)

    def _start(self, request: Request, now: float) -> float:
        self._running += 1
        request.cached_tokens = min(self._lookup(request.blocks) * BLOCK_TOKENS, request.prompt_tokens)
        uncached = request.prompt_tokens - request.cached_tokens
        began = max(now, self._prefill_free)
        self._prefill_free = began + uncached / self._speed.prefill_tokens_per_second
        pace = self._speed.token_seconds * (1 + self._speed.batch_share * (self._running - 1))
        request.first_token = self._prefill_free + pace
        return request.first_token + pace * (request.answer_tokens - 1)

    def _lookup(self, blocks: tuple[int, ...]) -> int:
        """Blocks found from the first on; all of them are in the cache afterwards."""
        hits = 0
        for block in blocks:
            if block not in self._cache:
                break
            hits += 1
        for block in reversed(blocks):
            self._cache[block] = None
            self._cache.move_to_end(block)
        while len(self._cache) > self._cache_blocks:
            self._cache.popitem(last=False)
        return hits


@dataclass(order=True, slots=True)
class _Event:
    at: float
    number: int
    what: object = field(compare=False)


class Calendar:
    """Events in the order of their time."""

    def __init__(self) -> None:
        self._events: list[_Event] = []
        self._number = 0

    def add(self, at: float, what: object) -> None:
        """Something happens then."""
        self._number += 1
        heapq.heappush(self._events, _Event(at, self._number, what))

    def pop(self) -> tuple[float, object] | None:
        """The next event, or None when nothing is left."""
        if not self._events:
            return None
        event = heapq.heappop(self._events)
        return event.at, event.what


def answer_tokens(draw: random.Random) -> int:
    """A log-normal with a median of 60 and a long tail, cut at 1000: customer service answers in a few sentences."""
    return max(1, min(1000, round(draw.lognormvariate(4.1, 0.7))))
