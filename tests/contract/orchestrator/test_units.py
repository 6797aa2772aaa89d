"""Units of work and the queue of turns: the same tests on the fake and on Postgres."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from services.common.context import IdempotencyKey
from services.common.errors import RequestIdReused
from services.common.ids import new_id
from services.common.spending import Usage
from services.orchestrator.adapters.reports import SqlUnsentReports
from services.orchestrator.adapters.sql import SqlTurnQueue, SqlWork
from services.orchestrator.domain import (
    Citation,
    Decision,
    Message,
    Outcome,
    Person,
    Proposal,
    ProposalReply,
    ProposalState,
    Step,
    Turn,
    TurnState,
    UsageLine,
    UsageReport,
)
from services.orchestrator.errors import TurnInProgress, TurnNotFound
from services.orchestrator.ports import Ending, TurnQueue, UnsentReports, Work
from tests.contract.orchestrator.memory import MemoryTurnQueue, MemoryUnsentReports, MemoryWork, Tables
from tests.support.postgres import Postgres

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LEASE = timedelta(seconds=5)


@dataclass
class Store:
    """One implementation of the ports."""

    work: Callable[[str], Work]
    queue: TurnQueue
    unsent: UnsentReports


@pytest_asyncio.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "memory":
        tables = Tables()
        yield Store(partial(MemoryWork, tables), MemoryTurnQueue(tables), MemoryUnsentReports(tables))
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    engine = create_async_engine(postgres.url("orchestrator"))
    sessionmaker = async_sessionmaker(engine, expire_on_commit=False)
    empty(postgres)
    yield Store(partial(SqlWork, sessionmaker), SqlTurnQueue(sessionmaker), SqlUnsentReports(sessionmaker))
    await engine.dispose()
    # Turns that were left waiting would be taken up by the workers of other tests.
    empty(postgres)


def empty(postgres: Postgres) -> None:
    """Take everything out of the tables."""
    admin = sa.create_engine(sa.make_url(postgres.admin_url).set(drivername="postgresql+psycopg"))
    with admin.begin() as connection:
        connection.execute(
            sa.text(
                "truncate orchestrator.turn_steps, orchestrator.proposals, orchestrator.turns, "
                "orchestrator.idempotency_records, orchestrator.usage_reports"
            )
        )
    admin.dispose()


def new_turn(organization_id: str, **changes: object) -> Turn:
    turn = Turn(
        id=new_id("trn"),
        conversation_id=new_id("cnv"),
        customer=Person(organization_id, "usr_1", ("customer",), "key_1"),
        text="How long?",
        state=TurnState.QUEUED,
        created_at=NOW,
        trace_id="0" * 32,
        traceparent="00-0-0-01",
        reply=ProposalReply("prp_0", accepted=True),
    )
    return replace(turn, **changes)  # type: ignore[arg-type]


async def add(store: Store, turn: Turn) -> Turn:
    async with store.work(turn.customer.organization_id) as work:
        await work.turns.add(turn)
        await work.commit()
    return turn


async def get(store: Store, turn: Turn) -> Turn:
    async with store.work(turn.customer.organization_id) as work:
        return await work.turns.get(turn.id)


def outcome(turn: Turn) -> Outcome:
    proposal = Proposal(
        f"prp_{turn.id[4:]}", turn.conversation_id, turn.id, "A broken pole", ProposalState.OPEN, turn.created_at
    )
    return Outcome(
        Decision.TICKET,
        "Shall I?",
        citations=(Citation("art_1", "Returns", "Within 45 days.", "/help/returns", "psg_1", 2, "How long"),),
        proposal=proposal,
        resolved=ProposalReply("prp_0", accepted=False),
        ticket_id="tkt_1",
        model="small",
        usage=Usage(10, 4, 2),
        first_token=0.5,
    )


async def test_a_turn_is_kept_as_it_was_added(store: Store, organization_id: str) -> None:
    turn = await add(store, new_turn(organization_id))
    assert await get(store, turn) == turn


async def test_nothing_is_kept_without_commit(store: Store, organization_id: str) -> None:
    turn = new_turn(organization_id)
    async with store.work(organization_id) as work:
        await work.turns.add(turn)
    with pytest.raises(TurnNotFound):
        await get(store, turn)


async def test_other_organizations_see_nothing(store: Store, organization_id: str) -> None:
    turn = await add(store, new_turn(organization_id))
    async with store.work(new_id("org")) as work:
        with pytest.raises(TurnNotFound):
            await work.turns.get(turn.id)
        assert not await work.turns.cancel(turn.id, NOW)


async def test_one_active_turn_a_conversation(store: Store, organization_id: str) -> None:
    turn = await add(store, new_turn(organization_id))
    with pytest.raises(TurnInProgress):
        await add(store, new_turn(organization_id, conversation_id=turn.conversation_id))
    async with store.work(organization_id) as work:
        assert await work.turns.cancel(turn.id, NOW)
        await work.commit()
    await add(store, new_turn(organization_id, conversation_id=turn.conversation_id))


async def test_the_message_is_attached(store: Store, organization_id: str) -> None:
    turn = await add(store, new_turn(organization_id))
    message = Message("msg_1", turn.conversation_id, "customer", "usr_1", turn.text, turn.id, NOW, 7)
    async with store.work(organization_id) as work:
        await work.turns.attach_message(turn.id, message)
        await work.commit()
    kept = await get(store, turn)
    assert (kept.message_id, kept.message_offset) == ("msg_1", 7)


async def test_turns_are_claimed_once_oldest_first(store: Store, organization_id: str) -> None:
    younger = await add(store, new_turn(organization_id, created_at=NOW + timedelta(seconds=1)))
    older = await add(store, new_turn(organization_id))
    assert await store.queue.waiting() == 2
    first = await store.queue.claim("one", NOW, NOW + LEASE)
    second = await store.queue.claim("two", NOW, NOW + LEASE)
    assert first is not None
    assert second is not None
    assert (first.id, second.id) == (older.id, younger.id)
    assert (first.state, first.attempt) == (TurnState.RUNNING, 1)
    assert await store.queue.claim("three", NOW, NOW + LEASE) is None
    assert await store.queue.waiting() == 0


async def test_a_lapsed_lease_is_taken_up_by_another(store: Store, organization_id: str) -> None:
    turn = await add(store, new_turn(organization_id))
    await store.queue.claim("one", NOW, NOW + LEASE)
    assert await store.queue.renew(turn.id, "one", NOW + 2 * LEASE)
    assert await store.queue.claim("two", NOW + LEASE, NOW + 2 * LEASE) is None
    late = NOW + 3 * LEASE
    taken = await store.queue.claim("two", late, late + LEASE)
    assert taken is not None
    assert (taken.id, taken.attempt) == (turn.id, 2)
    assert not await store.queue.renew(turn.id, "one", late + LEASE)
    async with store.work(organization_id) as work:
        assert not await work.turns.begin_streaming(turn.id, "one")
        assert not await work.turns.conclude(turn.id, "one", outcome(turn))
        assert not await work.turns.end(turn.id, "one", Ending(TurnState.FINISHED, late, 1.0, ()))
        assert await work.turns.begin_streaming(turn.id, "two")
        await work.commit()
    assert (await get(store, turn)).streaming


async def test_a_turn_is_concluded_and_ended_with_all_it_did(store: Store, organization_id: str) -> None:
    turn = await add(store, new_turn(organization_id))
    await store.queue.claim("one", NOW, NOW + LEASE)
    what = outcome(turn)
    assert what.proposal is not None
    async with store.work(organization_id) as work:
        assert await work.turns.conclude(turn.id, "one", replace(what, first_token=None))
        await work.proposals.add(what.proposal)
        await work.commit()
    assert (await get(store, turn)).outcome == replace(what, first_token=None)
    steps = (
        Step("route", 0.1, 0.2, "small", None, {}, {"reason": "only one"}, ""),
        Step("score", 0.3, 0.4, "small", Usage(10, 4, 2), {"prompt": "likelihood/1"}, {}, "MODEL_UNAVAILABLE"),
    )
    async with store.work(organization_id) as work:
        assert not await work.turns.cancel(turn.id, NOW)
        assert await work.turns.end(turn.id, "one", Ending(TurnState.FINISHED, NOW, 1.5, steps, outcome=what))
        await work.commit()
    kept = await get(store, turn)
    assert kept.state is TurnState.FINISHED
    assert (kept.outcome, kept.steps, kept.total, kept.ended_at) == (what, steps, 1.5, NOW)
    assert not await store.queue.renew(turn.id, "one", NOW + LEASE)


async def test_a_cancelled_turn_stays_cancelled(store: Store, organization_id: str) -> None:
    turn = await add(store, new_turn(organization_id))
    await store.queue.claim("one", NOW, NOW + LEASE)
    async with store.work(organization_id) as work:
        assert await work.turns.cancel(turn.id, NOW + timedelta(seconds=2))
        await work.commit()
    async with store.work(organization_id) as work:
        assert not await work.turns.cancel(turn.id, NOW)
        assert not await work.turns.conclude(turn.id, "one", outcome(turn))
    kept = await get(store, turn)
    assert (kept.state, kept.error_reason, kept.total) == (TurnState.CANCELLED, "TURN_CANCELLED", 2.0)
    assert await store.queue.claim("two", NOW + 3 * LEASE, NOW + 4 * LEASE) is None


async def test_a_conversation_has_one_open_proposal(store: Store, organization_id: str) -> None:
    turn = await add(store, new_turn(organization_id))
    first = Proposal("prp_" + turn.id, turn.conversation_id, turn.id, "One", ProposalState.OPEN, NOW)
    second = replace(first, id="prp_2" + turn.id, ticket_subject="Two")
    async with store.work(organization_id) as work:
        assert await work.proposals.find_open(turn.conversation_id) is None
        await work.proposals.add(first)
        assert await work.proposals.find_open(turn.conversation_id) == first
        await work.proposals.add(second)
        assert await work.proposals.find_open(turn.conversation_id) == second
        await work.proposals.settle(first.id, ProposalState.ACCEPTED)
        await work.proposals.settle(second.id, ProposalState.DECLINED)
        await work.proposals.settle(second.id, ProposalState.ACCEPTED)
        assert await work.proposals.find_open(turn.conversation_id) is None
        await work.commit()
    async with store.work(new_id("org")) as work:
        assert await work.proposals.find_open(turn.conversation_id) is None


async def test_a_request_stands_for_what_it_made(store: Store, organization_id: str) -> None:
    key = IdempotencyKey("req_00000001", "/deskmesh.orchestrator.v1.OrchestratorService/SendMessage", b"one")
    async with store.work(organization_id) as work:
        assert await work.requests.claim(key, "trn_1") is None
        await work.commit()
    async with store.work(organization_id) as work:
        assert await work.requests.claim(key, "trn_2") == "trn_1"
        with pytest.raises(RequestIdReused):
            await work.requests.claim(replace(key, fingerprint=b"two"), "trn_1")


def report_of(organization_id: str, number: int) -> UsageReport:
    turn_id = new_id("trn")
    line = UsageLine(
        f"{turn_id}:1:0",
        NOW,
        "usr_1",
        "key_1",
        "cnv_1",
        "tkt_1",
        turn_id,
        "score",
        "small",
        Usage(10, 4, 2),
        0.25,
        f"res_{number}",
    )
    return UsageReport(f"{turn_id}:1", organization_id, "usr_1", (line, replace(line, id=f"{turn_id}:1:1")))


async def test_a_report_is_kept_until_it_is_confirmed(store: Store, organization_id: str) -> None:
    reports = [report_of(organization_id, number) for number in range(3)]
    async with store.work(organization_id) as work:
        for number, report in enumerate(reports):
            await work.reports.add(report, NOW + timedelta(seconds=number))
        await work.reports.add(reports[0], NOW + timedelta(days=1))
        await work.commit()
    async with store.work(organization_id) as work:
        await work.reports.add(report_of(organization_id, 9), NOW)
    assert await store.unsent.take(NOW - LEASE, lease_until=NOW, limit=9) == []
    later = NOW + timedelta(seconds=9)
    first = await store.unsent.take(NOW + timedelta(seconds=1), lease_until=later, limit=9)
    assert sorted(first, key=reports.index) == reports[:2]
    assert await store.unsent.take(NOW + timedelta(seconds=2), lease_until=later, limit=9) == reports[2:]
    assert await store.unsent.take(NOW + timedelta(seconds=3), lease_until=later, limit=9) == []
    await store.unsent.remove(reports[1:])
    assert await store.unsent.take(later, lease_until=later, limit=9) == reports[:1]
    await store.unsent.postpone(reports[:1], later + LEASE)
    assert await store.unsent.take(later, lease_until=later, limit=9) == []
    assert await store.unsent.take(later + LEASE, lease_until=later, limit=9) == reports[:1]
    await store.unsent.remove(reports)
