"""What the gateway remembers of keys, on a clock moved by hand."""

import asyncio

import pytest

from services.common.api_keys import hash_key, new_key
from services.common.errors import Unavailable
from services.gateway.errors import ApiKeyInvalid, TooManyWrongKeys, TwoProofs
from services.gateway.keys import SPARE_SECONDS, KeyTokens
from services.gateway.ports import Access
from services.gateway.servicer import key_of, source_of

SOURCE = "203.0.113.5"


class FakeExchange:
    """Auth with some good keys; away when told so, and slow while `gate` is closed."""

    def __init__(self) -> None:
        self.good: set[bytes] = set()
        self.away = False
        self.asked: list[tuple[bytes, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def exchange(self, key_hash: bytes, source: str) -> Access:
        self.asked.append((key_hash, source))
        await self.gate.wait()
        if self.away:
            raise Unavailable(retry_after_seconds=1.0)
        if key_hash not in self.good:
            raise ApiKeyInvalid
        return Access(f"token {len(self.asked)}", 300.0, "org_1", "svc_1", "key_1")


class Desk:
    """The cache on a fake."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.exchange = FakeExchange()
        self.tokens = KeyTokens(
            self.exchange,
            recheck_seconds=4.0,
            remembered=3,
            wrong_per_minute=3,
            monotonic=lambda: self.now,
        )

    def key(self) -> str:
        key = new_key()
        self.exchange.good.add(hash_key(key))
        return key

    async def token(self, key: str, source: str = SOURCE) -> str:
        return (await self.tokens.access(key, source)).token


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_a_key_is_asked_about_again_after_its_time_only(desk: Desk) -> None:
    key = desk.key()
    assert await desk.token(key) == "token 1"
    desk.now += 3.9
    assert await desk.token(key) == "token 1"
    desk.now += 0.1
    assert await desk.token(key) == "token 2"


async def test_a_revoked_key_ends_at_the_next_look(desk: Desk) -> None:
    key = desk.key()
    await desk.token(key)
    desk.exchange.good.clear()
    desk.now += 4
    for _ in range(2):
        with pytest.raises(ApiKeyInvalid):
            await desk.token(key)
    assert len(desk.exchange.asked) == 2
    # While auth is away a key once refused stays refused.
    desk.exchange.away = True
    desk.now += 4
    with pytest.raises(Unavailable):
        await desk.token(key)


async def test_a_good_key_outlasts_auth_until_its_token_ends(desk: Desk) -> None:
    key = desk.key()
    await desk.token(key)
    desk.exchange.away = True
    desk.now += 300 - SPARE_SECONDS
    assert await desk.token(key) == "token 1"
    desk.now += 0.1
    with pytest.raises(Unavailable):
        await desk.token(key)
    with pytest.raises(Unavailable):
        await desk.token(desk.key())


async def test_calls_at_once_ask_once_even_when_the_first_goes_away(desk: Desk) -> None:
    key = desk.key()
    desk.exchange.gate.clear()
    calls = [asyncio.create_task(desk.token(key)) for _ in range(5)]
    await asyncio.sleep(0)
    calls[0].cancel()
    await asyncio.sleep(0)
    desk.exchange.gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == ["token 1"] * 4
    assert len(desk.exchange.asked) == 1


async def test_each_address_has_an_answer_of_its_own(desk: Desk) -> None:
    key = desk.key()
    await desk.token(key, "a")
    await desk.token(key, "b")
    assert [source for _, source in desk.exchange.asked] == ["a", "b"]


async def test_an_address_that_guesses_has_to_wait_while_others_do_not(desk: Desk) -> None:
    good = desk.key()
    for _ in range(3):
        with pytest.raises(ApiKeyInvalid):
            await desk.token(new_key())
    with pytest.raises(TooManyWrongKeys) as caught:
        await desk.token(new_key())
    assert caught.value.retry_after_seconds == 60
    assert await desk.token(good, "elsewhere")
    desk.now += 60
    assert await desk.token(good)


async def test_made_up_keys_do_not_push_good_ones_out(desk: Desk) -> None:
    key = desk.key()
    await desk.token(key)
    for number in range(20):
        with pytest.raises(ApiKeyInvalid):
            await desk.token(new_key(), f"address {number}")
    asked = len(desk.exchange.asked)
    assert await desk.token(key) == "token 1"
    assert len(desk.exchange.asked) == asked


async def test_what_is_malformed_asks_nobody(desk: Desk) -> None:
    for text in ("", "dm_live_", new_key()[:-1], new_key() + "x"):
        with pytest.raises(ApiKeyInvalid):
            await desk.token(text)
    assert desk.exchange.asked == []


@pytest.mark.parametrize(
    ("authorization", "api_key", "found"),
    [
        ("Bearer dm_live_x", "", "dm_live_x"),
        ("bearer dm_live_x", "", "dm_live_x"),
        ("", "dm_live_x", "dm_live_x"),
        ("Bearer dm_live_x", "dm_live_x", "dm_live_x"),
    ],
)
def test_a_key_may_come_in_either_header(authorization: str, api_key: str, found: str) -> None:
    assert key_of(authorization, api_key) == found


@pytest.mark.parametrize(
    ("authorization", "api_key"), [("Bearer ey.a.b", "dm_live_x"), ("Bearer dm_live_a", "dm_live_b")]
)
def test_two_different_proofs_are_none(authorization: str, api_key: str) -> None:
    with pytest.raises(TwoProofs):
        key_of(authorization, api_key)


@pytest.mark.parametrize("text", ["", "Bearer ", "Bearer ey.a.b", "Basic dm"])
def test_other_words_are_no_key(text: str) -> None:
    with pytest.raises(ApiKeyInvalid):
        key_of(text, "")


def test_the_address_is_what_the_edge_wrote_last() -> None:
    assert source_of("1.1.1.1, 203.0.113.5") == "203.0.113.5"
    assert source_of("203.0.113.5") == "203.0.113.5"
    assert source_of("") == ""
