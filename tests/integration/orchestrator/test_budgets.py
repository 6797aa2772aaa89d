"""Turns with the real usage service: what they use is in the ledger once, and budgets hold while they run."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio

from deskmesh.inference.v1 import router_service_pb2
from deskmesh.orchestrator.v1 import orchestrator_service_pb2 as pb
from deskmesh.orchestrator.v1 import turn_pb2
from deskmesh.usage.v1 import (
    budget_pb2,
    budget_service_pb2,
    budget_service_pb2_grpc,
    usage_pb2,
    usage_service_pb2,
    usage_service_pb2_grpc,
)
from services.common.errors import Unavailable
from services.common.ids import new_id
from services.orchestrator.adapters import usage as usage_adapter
from services.orchestrator.app import wire
from services.orchestrator.errors import ModelOverloaded
from services.orchestrator.settings import OrchestratorSettings
from services.usage.app import wire as wire_usage
from services.usage.settings import ModelPrice, UsageSettings
from tests.integration.orchestrator.desk import Desk
from tests.integration.orchestrator.doubles import Doubles
from tests.integration.orchestrator.neighbours.inference import MODEL
from tests.support.server import RunningService, TestStack
from tests.support.valkey import running_valkey

QUESTION = "What does standard delivery cost?"
# A token costs a micro.
PRICE = ModelPrice(prompt=1_000_000, cached_prompt=1_000_000, completion=1_000_000)


class Office:
    """A customer's desk, and the usage service, which can be taken away and brought back."""

    def __init__(self, stack: TestStack, running: AsyncExitStack, redis_url: str) -> None:
        self._stack = stack
        self._running = running
        # Its own, because one of the tests flushes it, and so that no other usage service reads along.
        self.redis_url = redis_url
        self.usage: RunningService
        self.desk: Desk

    async def open_usage(self, address: str = "127.0.0.1:0") -> None:
        """Start the usage service."""
        settings: dict[str, Any] = {
            "prices": {"*": PRICE},
            "unknown_prompt_tokens": 100,
            "unknown_completion_tokens": 0,
            "listen_address": address,
            "redis_url": self.redis_url,
            "drain_seconds": 0.2,
        }
        self.usage = await self._running.enter_async_context(
            self._stack.service("usage", UsageSettings, wire_usage, **settings)
        )

    async def close_usage(self) -> str:
        """Stop it; returns where it was."""
        await self.usage.stop()
        return self.usage.address

    @property
    def _admin(self) -> Any:
        return self.usage.person(self.desk.organization_id, new_id("usr"), "admin")

    async def budget(
        self, limit: int, scope: Any = budget_pb2.BUDGET_SCOPE_ORGANIZATION, subject: str = ""
    ) -> budget_pb2.Budget:
        """A budget, of the organization unless it says otherwise."""
        stub = budget_service_pb2_grpc.BudgetServiceStub(self.usage.channel("edge"))
        request = budget_service_pb2.CreateBudgetRequest(
            request_id=new_id("req"),
            scope=scope,
            subject=subject,
            period=budget_pb2.BUDGET_PERIOD_ALL,
            limit_micros=limit,
        )
        return (await stub.CreateBudget(request, metadata=self._admin)).budget

    async def standing(self, budget: budget_pb2.Budget) -> tuple[int, int]:
        """What is spent and held."""
        stub = budget_service_pb2_grpc.BudgetServiceStub(self.usage.channel("edge"))
        request = budget_service_pb2.GetBudgetRequest(budget_id=budget.id)
        found = (await stub.GetBudget(request, metadata=self._admin)).budget
        return found.spent_micros, found.reserved_micros

    async def lines(self) -> list[usage_pb2.UsageEntry]:
        """The ledger."""
        stub = usage_service_pb2_grpc.UsageServiceStub(self.usage.channel("edge"))
        request = usage_service_pb2.ListUsageEntriesRequest(page_size=500)
        return list((await stub.ListUsageEntries(request, metadata=self._admin)).entries)

    async def until(self, holds: Callable[[list[usage_pb2.UsageEntry]], bool]) -> list[usage_pb2.UsageEntry]:
        """The ledger as soon as this holds of it."""
        async with asyncio.timeout(20):
            while True:
                if holds(lines := await self.lines()):
                    return lines
                await asyncio.sleep(0.05)

    async def settled(self, budget: budget_pb2.Budget) -> int:
        """What is spent once nothing is held."""
        async with asyncio.timeout(10):
            while True:
                spent, held = await self.standing(budget)
                if not held:
                    return spent
                await asyncio.sleep(0.02)


def step(turn: turn_pb2.Turn, name: str) -> turn_pb2.TurnStep:
    (found,) = [one for one in turn.steps if one.name == name]
    return found


@pytest_asyncio.fixture
async def office(
    stack: TestStack, doubles: Doubles, addresses: dict[str, str], organization_id: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Office]:
    # A machine that is busy with other tests must not pass for a usage service that is away. A reservation, the first
    # like any other, takes 50 ms of computing by all who have a part in it, but can wait seconds for a processor.
    monkeypatch.setattr(usage_adapter, "RESERVE_SECONDS", 5.0)
    async with AsyncExitStack() as running:
        office = Office(stack, running, running.enter_context(running_valkey()))
        await office.open_usage()
        settings: dict[str, Any] = {
            **addresses,
            "usage_address": office.usage.address,
            "redis_url": office.redis_url,
            "drain_seconds": 0.5,
            "offline_turns": 2,
            "usage_confirm_seconds": 0.2,
            "usage_poll_seconds": 0.05,
        }
        service = await running.enter_async_context(
            stack.service("orchestrator", OrchestratorSettings, wire, **settings)
        )
        office.desk = Desk(service, doubles, organization_id)
        yield office


async def test_what_a_turn_used_is_in_the_ledger_once(office: Office) -> None:
    desk = office.desk
    desk.conversation.proto.ticket_ids.extend(["tkt_1", "tkt_2"])
    turn = await desk.ask(QUESTION)
    (line,) = await office.until(bool)
    assert (line.step, line.model, line.turn_id) == ("score", MODEL, turn.id)
    assert (line.user_id, line.conversation_id, line.ticket_id) == (desk.user_id, desk.conversation_id, "tkt_2")
    assert line.prompt_tokens == line.cost_micros == turn.usage.prompt_tokens > 0
    assert line.elapsed.ToTimedelta() == step(turn, "score").elapsed.ToTimedelta()
    assert step(turn, "budget").details["grounds"] == "unlimited"
    again = await desk.ask(QUESTION)
    await office.until(lambda lines: len(lines) == 2)
    # By the stream, by settling, by delivery: however often a line comes, it counts once.
    await asyncio.sleep(0.5)
    assert {each.turn_id for each in await office.lines()} == {turn.id, again.id}
    assert len(await office.lines()) == 2


async def test_a_turn_is_spent_in_its_budget(office: Office) -> None:
    budget = await office.budget(10_000)
    turn = await office.desk.ask(QUESTION)
    assert step(turn, "budget").details["grounds"] == "reserved"
    assert await office.settled(budget) == turn.usage.prompt_tokens
    await _spent_by_a_key(office)


async def _spent_by_a_key(office: Office) -> None:
    """A program that speaks for the customer spends in the budgets of its key and of the person."""
    desk, key_id = office.desk, new_id("key")
    of_key = await office.budget(10_000, budget_pb2.BUDGET_SCOPE_KEY, key_id)
    of_user = await office.budget(10_000, budget_pb2.BUDGET_SCOPE_USER, desk.user_id)
    before = await office.settled(of_user)
    token = desk.service.stack.tokens.token(
        organization_id=desk.organization_id, user_id=desk.user_id, roles=("customer",), sid=key_id
    )
    desk.person = (("authorization", f"Bearer {token}"),)
    turn = await desk.ask(QUESTION)
    assert await office.settled(of_key) == turn.usage.prompt_tokens > 0
    assert await office.settled(of_user) == before + turn.usage.prompt_tokens
    assert {line.key_id for line in await office.lines() if line.turn_id == turn.id} == {key_id}
    last = await office.budget(0, budget_pb2.BUDGET_SCOPE_KEY, new_id("key"))
    assert step(await desk.ask(QUESTION), "budget").details["grounds"] == "reserved", f"{last.id} is of another key"


async def test_without_budget_a_ticket_is_offered_and_the_record_says_why(office: Office) -> None:
    budget = await office.budget(0)
    turn = await office.desk.ask(QUESTION)
    assert (turn.state, turn.decision) == (turn_pb2.TURN_STATE_FINISHED, turn_pb2.DECISION_TICKET)
    assert "open a ticket" in turn.answer
    assert "budget" not in turn.answer
    refused = step(turn, "budget")
    assert (refused.error_reason, refused.details["budget_id"]) == ("BUDGET_EXCEEDED", budget.id)
    assert refused.details["scope"] == "ORGANIZATION"
    assert not [one for one in turn.steps if one.name == "score"]
    assert await office.desk.ask("Hello")  # what needs no model costs nothing
    accepted = await office.desk.ask("yes")
    assert accepted.ticket_id
    assert await office.standing(budget) == (0, 0)
    assert await office.lines() == []


async def test_a_budget_that_ends_while_the_model_writes_cuts_it_off(office: Office) -> None:
    doubles = office.desk.doubles
    doubles.inference.capabilities = [router_service_pb2.CAPABILITY_CHAT, router_service_pb2.CAPABILITY_FREE_WORDING]
    doubles.inference.writes = ["Standard delivery costs £3.95. "] + ["Standard delivery costs £3.95 "] * 2_000
    budget = await office.budget(1_000)
    turn = await office.desk.ask(QUESTION)
    cut = step(turn, "word")
    assert cut.error_reason == "BUDGET_EXCEEDED"
    assert (turn.state, turn.decision) == (turn_pb2.TURN_STATE_FINISHED, turn_pb2.DECISION_TICKET)
    assert turn.answer.startswith("Standard delivery costs £3.95. [1]")
    assert turn.proposal.id
    told = "".join(event.answer_delta.text for event in office.desk.conversation.events if event.turn_id == turn.id)
    assert told == turn.answer
    spent = await office.settled(budget)
    assert spent == turn.usage.prompt_tokens + turn.usage.completion_tokens
    # All of the limit and of the overshoot's bound was had, and at most one piece more.
    assert 1_000 <= spent <= 1_100 + 1
    assert await office.desk.ask("yes")


async def test_cancelling_and_failing_free_what_was_held(office: Office) -> None:
    budget = await office.budget(10_000)
    await office.desk.ask(QUESTION)
    spent = await office.settled(budget)
    faults = office.desk.doubles.inference.faults
    faults.gates["Score"] = asyncio.Event()
    sent = await office.desk.send(QUESTION)
    await asyncio.wait_for(faults.entered["Score"].wait(), 10)
    faults.entered["Score"].clear()
    await office.desk.stub.CancelTurn(pb.CancelTurnRequest(turn_id=sent.turn.id), metadata=office.desk.person)
    assert await office.settled(budget) == spent
    faults.gates.clear()
    faults.errors["Score"] = ModelOverloaded()
    failed = await office.desk.ask(QUESTION)
    assert failed.state == turn_pb2.TURN_STATE_FAILED
    assert await office.settled(budget) == spent


async def test_a_turn_that_is_cancelled_while_the_model_writes_pays_for_what_was_written(office: Office) -> None:
    doubles = office.desk.doubles
    doubles.inference.capabilities = [router_service_pb2.CAPABILITY_CHAT, router_service_pb2.CAPABILITY_FREE_WORDING]
    doubles.inference.writes = ["Standard delivery costs £3.95. ", "More."]
    budget = await office.budget(10_000)
    faults = doubles.inference.faults
    sent = await office.desk.send(QUESTION)
    await office.desk.told(sent.turn.id, "answer_delta")
    faults.gates["ChatDelta"] = asyncio.Event()
    turn = await office.desk.ended(sent.turn.id)
    assert turn.state == turn_pb2.TURN_STATE_FINISHED
    before = await office.settled(budget)
    faults.entered["ChatDelta"].clear()
    doubles.inference.writes = ["Standard delivery costs £3.95. "]
    sent = await office.desk.send(QUESTION)
    await asyncio.wait_for(faults.entered["ChatDelta"].wait(), 10)
    await office.desk.stub.CancelTurn(pb.CancelTurnRequest(turn_id=sent.turn.id), metadata=office.desk.person)
    await office.until(lambda lines: any(line.turn_id == sent.turn.id for line in lines))
    assert await office.settled(budget) > before


async def test_while_the_usage_service_is_away_a_few_turns_go_on_and_are_counted_later(office: Office) -> None:
    budget = await office.budget(100_000)
    turns = [await office.desk.ask(QUESTION)]
    await office.settled(budget)
    address = await office.close_usage()
    for _ in range(2):
        turns.append(await office.desk.ask(QUESTION))
        assert step(turns[-1], "budget").details["grounds"] == "offline"
    beyond = await office.desk.ask(QUESTION)
    assert beyond.decision == turn_pb2.DECISION_TICKET
    assert step(beyond, "budget").error_reason == "DEPENDENCY_UNAVAILABLE"
    # What was published meanwhile is lost with the stream; the ledger gets it all the same.
    store = redis.asyncio.Redis.from_url(office.redis_url)
    await store.flushall()
    await store.aclose()
    await office.open_usage(address)
    lines = await office.until(lambda lines: len(lines) == 3)
    assert {line.turn_id for line in lines} == {turn.id for turn in turns}
    assert await office.settled(budget) == sum(turn.usage.prompt_tokens for turn in turns)
    async with asyncio.timeout(20):
        while True:
            turn = await office.desk.ask(QUESTION)
            if step(turn, "budget").details.get("grounds") == "reserved":
                break


async def test_a_usage_service_that_hangs_delays_a_turn_by_little(
    stack: TestStack, doubles: Doubles, addresses: dict[str, str], organization_id: str
) -> None:
    gate = doubles.usage.faults.gates["Reserve"] = asyncio.Event()
    doubles.usage.faults.errors["SettleReservation"] = Unavailable()
    async with stack.service("orchestrator", OrchestratorSettings, wire, drain_seconds=0.5, **addresses) as service:
        desk = Desk(service, doubles, organization_id)
        turn = await desk.ask(QUESTION)
        assert step(turn, "budget").details["grounds"] == "offline"
        assert step(turn, "budget").elapsed.ToTimedelta().total_seconds() < 1.5
        gate.set()
        del doubles.usage.faults.errors["SettleReservation"]


async def nothing_held(desk: Desk) -> None:
    """Wait until every reservation is settled."""
    async with asyncio.timeout(10):
        while True:
            if not desk.doubles.usage.open:
                return
            await asyncio.sleep(0.01)


async def test_a_reservation_begins_beside_the_first_steps(desk: Desk) -> None:
    await desk.ask(QUESTION)
    usage = desk.doubles.usage
    gate = desk.doubles.knowledge.faults.gates["Search"] = asyncio.Event()
    usage.faults.entered["Reserve"].clear()
    sent = await desk.send(QUESTION)
    await asyncio.wait_for(usage.faults.entered["Reserve"].wait(), 10)
    gate.set()
    turn = await desk.ended(sent.turn.id)
    assert turn.state == turn_pb2.TURN_STATE_FINISHED
    await nothing_held(desk)


async def test_a_greeting_frees_what_was_held_for_it(desk: Desk) -> None:
    await desk.ask(QUESTION)
    await nothing_held(desk)
    known = len(desk.doubles.usage.entries)
    await desk.ask("Hello")
    await nothing_held(desk)
    assert len(desk.doubles.usage.entries) == known
