"""What units of work promise, on the fake that other tests use and on Postgres."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from services.common.context import IdempotencyKey
from services.common.db import create_engine, create_sessionmaker
from services.common.errors import RequestIdReused
from services.common.ids import new_id
from services.sessions.adapters.units import SqlEventLog, SqlUnitsOfWork
from services.sessions.domain import Author, Citation, Conversation, Message, Rating, State, TurnEvent
from services.sessions.mappings import events
from services.sessions.ports import Appended, ConversationCursor, EventLog, UnitsOfWork
from services.sessions.settings import SessionsSettings
from tests.contract.sessions.memory import Announced, MemoryStore
from tests.support.server import TestStack

# Later than anything a service that runs beside these tests would close as idle.
NOW = datetime(2100, 5, 4, 12, tzinfo=UTC)


@dataclass
class Kept:
    """One implementation."""

    units: UnitsOfWork
    log: EventLog
    announced: Announced


@pytest_asyncio.fixture(params=["memory", "postgres"])
async def kept(request: pytest.FixtureRequest, stack: TestStack) -> AsyncIterator[Kept]:
    announced = Announced()
    if request.param == "memory":
        store = MemoryStore(announced, events.encode)
        yield Kept(store, store, announced)
        return
    engine = create_engine(stack.settings("sessions", SessionsSettings, inference_address="127.0.0.1:9"))
    sessionmaker = create_sessionmaker(engine)
    units = SqlUnitsOfWork(
        sessionmaker,
        announced,
        encode=events.encode,
        encode_conversation=events.encode_conversation,
        encode_message=events.encode_message,
    )
    yield Kept(units, SqlEventLog(sessionmaker), announced)
    await engine.dispose()


def new_conversation(organization_id: str, *, customer_id: str = "usr_1", at: datetime = NOW) -> Conversation:
    return Conversation.begin(
        conversation_id=new_id("cnv"),
        organization_id=organization_id,
        customer_id=customer_id,
        title="",
        idle_timeout=None,
        at=at,
    )


async def keep(kept: Kept, conversation: Conversation) -> Conversation:
    async with kept.units.of(conversation.organization_id) as work:
        await work.conversations.add(conversation)
        await work.commit()
    return conversation


async def add_message(kept: Kept, conversation: Conversation, text: str) -> Message:
    async with kept.units.of(conversation.organization_id) as work:
        locked = await work.conversations.lock(conversation.id)
        assert locked is not None
        message = locked.add_message(
            message_id=new_id("msg"), author=Author.CUSTOMER, user_id=locked.customer_id, text=text, at=NOW
        )
        await work.conversations.save(locked)
        await work.messages.add(message)
        await work.commit()
    return message


async def add_events(kept: Kept, conversation: Conversation, *kinds: str) -> None:
    async with kept.units.of(conversation.organization_id) as work:
        locked = await work.conversations.lock(conversation.id)
        assert locked is not None
        locked.add_turn_events([("trn_1", TurnEvent(kind, b"")) for kind in kinds], at=NOW)
        await work.conversations.save(locked)
        await work.commit()


async def test_a_conversation_comes_back_as_it_was_kept(kept: Kept, organization_id: str) -> None:
    conversation = new_conversation(organization_id)
    conversation.ticket_ids = ("tkt_1", "tkt_2")
    await keep(kept, conversation)
    async with kept.units.of(organization_id) as work:
        assert await work.conversations.find(conversation.id) == conversation


async def test_nothing_is_kept_without_commit(kept: Kept, organization_id: str) -> None:
    conversation = new_conversation(organization_id)
    async with kept.units.of(organization_id) as work:
        await work.conversations.add(conversation)
    async with kept.units.of(organization_id) as work:
        assert await work.conversations.find(conversation.id) is None


async def test_another_organization_sees_nothing(kept: Kept, organization_id: str) -> None:
    conversation = await keep(kept, new_conversation(organization_id))
    message = await add_message(kept, conversation, "mine")
    async with kept.units.of(new_id("org")) as work:
        assert await work.conversations.find(conversation.id) is None
        assert await work.conversations.lock(conversation.id) is None
        assert await work.conversations.page(customer_id=None, state=None, after=None, limit=10) == []
        assert await work.messages.find(message.id) is None
        assert await work.messages.page(conversation.id, after_offset=0, limit=10) == []
        assert await work.messages.newest(conversation.id, before_offset=None, limit=10) == []
        assert await work.events.after(conversation.id, 0, 10) == []


async def test_writers_at_once_leave_no_gap(kept: Kept, organization_id: str) -> None:
    conversation = await keep(kept, new_conversation(organization_id))
    await asyncio.gather(*(add_message(kept, conversation, str(number)) for number in range(20)))
    async with kept.units.of(organization_id) as work:
        stored = await work.events.after(conversation.id, 0, 100)
        messages = await work.messages.page(conversation.id, after_offset=0, limit=100)
    assert [event.offset for event in stored] == list(range(1, 21))
    assert [message.offset for message in messages] == list(range(1, 21))


async def test_a_commit_announces_what_was_added_and_nothing_else(kept: Kept, organization_id: str) -> None:
    conversation = await keep(kept, new_conversation(organization_id))
    assert kept.announced.notices == []
    await add_events(kept, conversation, "turn_started", "answer_delta")
    (notice,) = kept.announced.notices
    assert isinstance(notice, Appended)
    assert [event.offset for event in notice.events] == [1, 2]
    async with kept.units.of(organization_id) as work:
        stored = await work.events.after(conversation.id, 0, 10)
    assert [event.payload for event in stored] == [event.payload for event in notice.events]


async def test_a_message_comes_back_with_its_citations_and_rating(kept: Kept, organization_id: str) -> None:
    conversation = await keep(kept, new_conversation(organization_id))
    citation = Citation("art_1", "Returns", "30 days.", "/articles/returns#how", "psg_1", 3, "How")
    async with kept.units.of(organization_id) as work:
        locked = await work.conversations.lock(conversation.id)
        assert locked is not None
        message = locked.add_message(
            message_id=new_id("msg"),
            author=Author.ASSISTANT,
            user_id="",
            text="30 days [1].",
            citations=(citation,),
            turn_id="trn_1",
            at=NOW,
        )
        await work.conversations.save(locked)
        await work.messages.add(message)
        await work.commit()
    message.rating = Rating.UP
    async with kept.units.of(organization_id) as work:
        await work.messages.save_rating(message)
        await work.commit()
    async with kept.units.of(organization_id) as work:
        assert await work.messages.find(message.id) == message


async def test_pages_follow_each_other_without_overlap(kept: Kept, organization_id: str) -> None:
    ids = []
    for number in range(7):
        # Two at a time share an instant, so that the identifier must decide.
        at = NOW + timedelta(minutes=number // 2)
        ids.append((await keep(kept, new_conversation(organization_id, at=at))).id)
    seen: list[str] = []
    cursor = None
    while True:
        async with kept.units.of(organization_id) as work:
            page = await work.conversations.page(customer_id=None, state=None, after=cursor, limit=3)
        seen.extend(one.id for one in page)
        if len(page) < 3:
            break
        cursor = ConversationCursor(page[-1].last_activity_at, page[-1].id)
    assert seen == ids[::-1]


async def test_pages_are_filtered(kept: Kept, organization_id: str) -> None:
    mine = await keep(kept, new_conversation(organization_id, customer_id="usr_me"))
    await keep(kept, new_conversation(organization_id, customer_id="usr_you"))
    closed = new_conversation(organization_id, customer_id="usr_me")
    closed.close(at=NOW)
    await keep(kept, closed)
    async with kept.units.of(organization_id) as work:
        own = await work.conversations.page(customer_id="usr_me", state=None, after=None, limit=10)
        shut = await work.conversations.page(customer_id=None, state=State.CLOSED, after=None, limit=10)
    assert {one.id for one in own} == {mine.id, closed.id}
    assert [one.id for one in shut] == [closed.id]


async def test_messages_are_read_from_both_ends(kept: Kept, organization_id: str) -> None:
    conversation = await keep(kept, new_conversation(organization_id))
    for text in "abcd":
        await add_message(kept, conversation, text)
    async with kept.units.of(organization_id) as work:
        oldest = await work.messages.page(conversation.id, after_offset=1, limit=2)
        newest = await work.messages.newest(conversation.id, before_offset=4, limit=2)
    assert [message.text for message in oldest] == ["b", "c"]
    assert [message.text for message in newest] == ["c", "b"]


async def test_a_proposal_is_open_until_it_is_settled(kept: Kept, organization_id: str) -> None:
    conversation = await keep(kept, new_conversation(organization_id))

    async def proposal() -> int | None:
        async with kept.units.of(organization_id) as work:
            return await work.events.open_proposal(conversation.id)

    assert await proposal() is None
    await add_events(kept, conversation, "turn_started", "action_proposed", "turn_finished")
    assert await proposal() == 2
    await add_events(kept, conversation, "proposal_resolved")
    assert await proposal() is None


async def test_tokens_are_kept_by_model_and_once(kept: Kept, organization_id: str) -> None:
    conversation = await keep(kept, new_conversation(organization_id))
    message = await add_message(kept, conversation, "hello")
    for tokens in (3, 4):
        async with kept.units.of(organization_id) as work:
            await work.messages.keep_token_counts({message.id: tokens}, "small")
            await work.commit()
    async with kept.units.of(organization_id) as work:
        assert await work.messages.token_counts([message.id], "small") == {message.id: 3}
        assert await work.messages.token_counts([message.id], "large") == {}


async def test_a_request_stands_for_one_resource(kept: Kept, organization_id: str) -> None:
    key = IdempotencyKey("request-1", "/service/Method", b"content")

    async def claim(key: IdempotencyKey, resource_id: str) -> str | None:
        async with kept.units.of(organization_id) as work:
            existing = await work.idempotency.claim(key, resource_id)
            await asyncio.sleep(0)
            await work.commit()
        return existing

    answers = await asyncio.gather(*(claim(key, f"res_{number}") for number in range(4)))
    first = next(f"res_{number}" for number, answer in enumerate(answers) if answer is None)
    assert [answer for answer in answers if answer is not None] == [first] * 3
    with pytest.raises(RequestIdReused):
        await claim(IdempotencyKey("request-1", "/service/Method", b"other"), "res_9")


async def test_idle_conversations_are_shared_out(kept: Kept, organization_id: str) -> None:
    idle = [await keep(kept, new_conversation(organization_id, at=NOW - timedelta(hours=2))) for _ in range(4)]
    fresh = await keep(kept, new_conversation(organization_id))
    async with kept.units.of_system() as one, kept.units.of_system() as other:
        first = await one.conversations.lock_idle(NOW, 2)
        second = await other.conversations.lock_idle(NOW, 1_000)
        assert len(first) == 2
        assert not {found.id for found in first} & {found.id for found in second}
        assert {found.id for found in idle} <= {found.id for found in [*first, *second]}
        assert fresh.id not in {found.id for found in second}
        for work, found in ((one, first), (other, second)):
            for conversation in found:
                conversation.close(at=NOW, expired=True)
                await work.conversations.save(conversation)
                await work.outbox.conversation_closed(conversation)
            await work.commit()
    async with kept.units.of_system() as work:
        assert await work.conversations.lock_idle(NOW, 10) == []


async def test_the_log_gives_what_is_missing_of_many_conversations(kept: Kept, organization_id: str) -> None:
    one = await keep(kept, new_conversation(organization_id))
    other = await keep(kept, new_conversation(new_id("org")))
    await add_events(kept, one, *["answer_delta"] * 5)
    await add_events(kept, other, *["answer_delta"] * 3)
    found = await kept.log.missing({one.id: 1, other.id: 2, "cnv_unknown": 0}, 3)
    assert [(event.conversation_id, event.offset) for event in found] == [
        (one.id, 2),
        (one.id, 3),
        (one.id, 4),
        (other.id, 3),
    ]
