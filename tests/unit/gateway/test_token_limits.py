"""Limits in tokens: who is counted, who is refused from memory, and what happens with Valkey away."""

import asyncio

import pytest

from services.common.buckets import RETRY_SECONDS, Decision
from services.common.context import Caller
from services.common.errors import Unavailable
from services.gateway import token_limits
from services.gateway.errors import TooManyTokens, TooManyTokensAtOnce
from services.gateway.openai.errors import tell
from services.gateway.openai.requests import ChatCompletionRequest, EmbeddingRequest
from services.gateway.token_limits import Hold, TokenLimits, TokenRates

PERSON = Caller("edge", "org_1", "usr_1", session_id="ses_1")
PROGRAM = Caller("edge", "org_1", "svc_1", session_id="key_1")
RATES = TokenRates.per_minute(key=100, user=200, organization=1_000)


class FakeHolds:
    """Answers what a test says, and notes what it is asked."""

    def __init__(self) -> None:
        self.away = False
        self.answer = Decision(allowed=True, remaining=7, wait_seconds=0.0)
        self.asked: list[Hold] = []
        self.settled: list[tuple[Hold, int]] = []
        self.slow = asyncio.Event()
        self.slow.set()

    async def hold(self, hold: Hold) -> Decision:
        self.asked.append(hold)
        await self.slow.wait()
        if self.away:
            raise Unavailable
        return self.answer

    async def settle(self, hold: Hold, used: int) -> None:
        if self.away:
            raise Unavailable
        self.settled.append((hold, used))


class Desk:
    """The limits on a clock moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.shared = FakeHolds()
        self.limits = TokenLimits(self.shared, RATES, lease_seconds=60, monotonic=lambda: self.now)


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(token_limits, "SETTLE_WAITS_SECONDS", (0.0, 0.0))
    return Desk()


async def test_a_program_counts_by_key_and_account_and_a_person_by_themselves(desk: Desk) -> None:
    taken = await desk.limits.take(PROGRAM, 50)
    await desk.limits.take(PERSON, 50)
    names = [[bucket.name for bucket in hold.buckets] for hold in desk.shared.asked]
    assert names == [["{org_1}:key:key_1", "{org_1}:user:svc_1", "{org_1}"], ["{org_1}:user:usr_1", "{org_1}"]]
    assert (taken.rate.per_minute, taken.remaining) == (100, 7)
    await taken.settle(30)
    assert desk.shared.settled == [(desk.shared.asked[0], 30)]


async def test_who_waits_is_refused_without_asking_unless_they_ask_for_less(desk: Desk) -> None:
    desk.shared.answer = Decision(allowed=False, remaining=0, wait_seconds=3.0)
    for tokens in (50, 50, 60):
        with pytest.raises(TooManyTokens):
            await desk.limits.take(PROGRAM, tokens)
    assert len(desk.shared.asked) == 1
    desk.shared.answer = Decision(allowed=True, remaining=0, wait_seconds=0.0)
    await desk.limits.take(PROGRAM, 49)
    desk.now = 2.0
    with pytest.raises(TooManyTokens) as caught:
        await desk.limits.take(PROGRAM, 50)
    assert caught.value.retry_after_seconds == 1.0
    desk.now = 3.0
    await desk.limits.take(PROGRAM, 50)
    assert desk.limits.refused == 4


async def test_what_never_has_room_is_refused_for_good(desk: Desk) -> None:
    with pytest.raises(TooManyTokensAtOnce) as caught:
        await desk.limits.take(PROGRAM, 101)
    assert desk.shared.asked == []
    told = tell(caught.value)
    assert (told.kind.status, told.kind.type) == (429, "tokens")
    assert told.headers == {"x-should-retry": "false"}
    await desk.limits.take(PERSON, 101)


async def test_while_valkey_is_away_each_gateway_counts_for_itself(desk: Desk) -> None:
    desk.shared.away = True
    first = await desk.limits.take(PROGRAM, 60)
    with pytest.raises(TooManyTokens):
        await desk.limits.take(PROGRAM, 60)
    await first.settle(10)
    await desk.limits.take(PROGRAM, 59)
    assert len(desk.shared.asked) == 1
    assert desk.limits.counted_locally == 3
    desk.now = RETRY_SECONDS
    desk.shared.away = False
    await desk.limits.take(PROGRAM, 60)
    assert len(desk.shared.asked) == 2


async def test_what_may_be_held_where_no_answer_came_from_is_settled_there_too(desk: Desk) -> None:
    desk.shared.away = True
    taken = await desk.limits.take(PROGRAM, 60)
    desk.shared.away = False
    await taken.settle(20)
    assert [used for _, used in desk.shared.settled] == [20]


async def test_who_goes_away_while_asking_holds_nothing(desk: Desk) -> None:
    desk.shared.slow.clear()
    asking = asyncio.create_task(desk.limits.take(PROGRAM, 60))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.sleep(0)
    assert desk.shared.settled == [(desk.shared.asked[0], 0)]


def test_the_most_a_call_uses() -> None:
    chat = {"model": "m", "messages": [{"role": "user", "content": "x" * 40}]}
    assert ChatCompletionRequest.model_validate(chat).most_tokens == 10 + 256
    assert ChatCompletionRequest.model_validate(chat | {"n": 3, "max_tokens": 5}).most_tokens == 3 * 15
    assert EmbeddingRequest.model_validate({"model": "m", "input": ["x" * 8, "y"]}).most_tokens == 4
