"""Changing tickets, their status, and who wins."""

import asyncio

import grpc
import grpc.aio
import pytest

from deskmesh.tickets.v1 import ticket_pb2
from deskmesh.tickets.v1 import ticket_service_pb2 as pb
from services.common.errors import from_rpc_error
from services.common.ids import new_id
from tests.integration.tickets.desk import Client, Desk, due_text
from tests.support.server import refused

OPEN, SOLVED, CLOSED = ticket_pb2.TICKET_STATUS_OPEN, ticket_pb2.TICKET_STATUS_SOLVED, ticket_pb2.TICKET_STATUS_CLOSED


async def changes(person: Client, ticket_id: str) -> list[tuple[str, str, str]]:
    """Every changed field in the ticket's history: name, before, after."""
    events = (await person.events(ticket_id, page_size=200)).events
    changed = [event.field_changed for event in events if event.WhichOneof("event") == "field_changed"]
    return [(change.field, change.before, change.after) for change in changed]


async def test_each_changed_field_becomes_one_event(desk: Desk) -> None:
    agent = desk.person("agent")
    ticket = await desk.person("customer").create(tags=["tent"])
    updated = await agent.update(
        ticket,
        subject="The tent leaks badly",
        description="",
        status=OPEN,
        priority=ticket_pb2.TICKET_PRIORITY_URGENT,
        assignee_id=agent.user_id,
        tags=["tent", "rain, wind"],
    )
    assert updated.etag != ticket.etag
    assert updated == await agent.get(ticket.id)
    # The description was empty before.
    assert await changes(agent, ticket.id) == [
        ("subject", "The tent leaks", "The tent leaks badly"),
        ("status", "TICKET_STATUS_NEW", "TICKET_STATUS_OPEN"),
        ("priority", "TICKET_PRIORITY_NORMAL", "TICKET_PRIORITY_URGENT"),
        ("assignee_id", "", agent.user_id),
        ("tags", '["tent"]', '["tent", "rain, wind"]'),
        ("due_at", due_text(ticket), due_text(updated)),
    ]
    events = (await agent.events(ticket.id)).events
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5, 6, 7]
    assert {event.actor_id for event in events[1:]} == {agent.user_id}
    assert events[0].opened.status == ticket_pb2.TICKET_STATUS_NEW


async def test_nothing_happens_when_nothing_changes(desk: Desk) -> None:
    agent = desk.person("agent")
    ticket = await agent.create()
    assert await agent.update(ticket, subject=ticket.subject, tags=[]) == ticket
    assert len((await agent.events(ticket.id)).events) == 1


async def test_only_named_fields_change(desk: Desk) -> None:
    agent = desk.person("agent")
    ticket = await agent.create(description="As it was")
    request = pb.UpdateTicketRequest(ticket_id=ticket.id, etag=ticket.etag, subject="New", description="Not named")
    request.update_mask.paths.append("subject")
    updated = (await agent.stub.UpdateTicket(request, metadata=agent.headers)).ticket
    assert (updated.subject, updated.description) == ("New", "As it was")


async def test_giving_a_new_ticket_to_an_agent_opens_it(desk: Desk) -> None:
    agent = desk.person("supervisor")
    ticket = await desk.person("customer").create()
    updated = await agent.update(ticket, assignee_id=agent.user_id)
    assert (updated.status, updated.assignee_id) == (OPEN, agent.user_id)
    taken_away = await agent.update(updated, assignee_id="")
    assert (taken_away.status, taken_away.assignee_id) == (OPEN, "")


async def test_only_agents_of_the_organization_get_tickets(desk: Desk) -> None:
    agent = desk.person("agent")
    ticket = await agent.create()
    others = (
        desk.person("customer").user_id,
        desk.person("agent", organization_id=new_id("org")).user_id,
        "usr_nobody",
    )
    for user_id in others:
        async with refused() as refusal:
            await agent.update(ticket, assignee_id=user_id, subject="Not kept")
        assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "ASSIGNEE_NOT_AGENT")
        assert [field for field, _ in refusal.error.violations] == ["assignee_id"]
    assert await agent.get(ticket.id) == ticket


async def test_of_racing_updates_one_wins_each_etag(desk: Desk) -> None:
    agents = [desk.person("agent") for _ in range(6)]
    ticket = await agents[0].create()
    for turn in range(3):
        calls = [agent.update(ticket, subject=f"{turn} by {agent.user_id}") for agent in agents]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        winners = [outcome for outcome in outcomes if isinstance(outcome, ticket_pb2.Ticket)]
        losers = [from_rpc_error(outcome) for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
        assert len(winners) == 1
        assert {(loser.code, loser.reason) for loser in losers} == {(grpc.StatusCode.ABORTED, "STALE_ETAG")}
        assert len(losers) == 5
        ticket = winners[0]
        assert await agents[0].get(ticket.id) == ticket
    assert len(await changes(agents[0], ticket.id)) == 3


async def test_a_comment_makes_an_etag_stale(desk: Desk) -> None:
    agent, customer = desk.person("agent"), desk.person("customer")
    ticket = await customer.create()
    await customer.comment(ticket.id)
    async with refused() as refusal:
        await agent.update(ticket, status=SOLVED)
    assert refusal.error.reason == "STALE_ETAG"


async def test_ways_the_status_machine_does_not_know(desk: Desk) -> None:
    agent = desk.person("agent")
    ticket = await agent.create()
    async with refused() as refusal:
        await agent.update(ticket, status=CLOSED, subject="Not kept")
    error = refusal.error
    assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TICKET_TRANSITION_NOT_ALLOWED")
    assert (error.metadata["from"], error.metadata["to"]) == ("TICKET_STATUS_NEW", "TICKET_STATUS_CLOSED")
    assert await agent.get(ticket.id) == ticket


async def test_nothing_changes_a_closed_ticket(desk: Desk) -> None:
    agent, customer = desk.person("agent"), desk.person("customer")
    solved = await agent.update(await customer.create(), status=SOLVED)
    assert solved.HasField("solved_at")
    closed = await agent.update(solved, status=CLOSED)
    assert closed.HasField("closed_at")
    assert closed.solved_at == solved.solved_at
    for call in (
        agent.update(closed, status=OPEN),
        agent.update(closed, subject="New"),
        customer.update(closed, status=OPEN),
        agent.comment(closed.id),
        customer.comment(closed.id),
    ):
        async with refused() as refusal:
            await call
        assert refusal.error.reason == "TICKET_TRANSITION_NOT_ALLOWED"
        assert refusal.error.metadata["from"] == "TICKET_STATUS_CLOSED"
        assert "to" in refusal.error.metadata
    assert await agent.get(closed.id) == closed


async def test_what_customers_may_change(desk: Desk) -> None:
    agent, customer = desk.person("agent"), desk.person("customer")
    ticket = await customer.create()
    ticket = await customer.update(ticket, subject="Clearer", priority=ticket_pb2.TICKET_PRIORITY_HIGH, status=SOLVED)
    ticket = await customer.update(ticket, status=OPEN)
    assert (ticket.status, ticket.HasField("solved_at")) == (OPEN, False)
    for values, field in (
        ({"assignee_id": agent.user_id}, "assignee_id"),
        ({"priority": ticket_pb2.TICKET_PRIORITY_URGENT}, "priority"),
        ({"status": ticket_pb2.TICKET_STATUS_PENDING}, "status"),
    ):
        async with refused() as refusal:
            await customer.update(ticket, **values)
        assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        assert [path for path, _ in refusal.error.violations] == [field]


@pytest.mark.parametrize("field", ["subject", "status", "priority"])
async def test_a_named_field_must_have_a_value(desk: Desk, field: str) -> None:
    agent = desk.person("agent")
    ticket = await agent.create()
    request = pb.UpdateTicketRequest(ticket_id=ticket.id, etag=ticket.etag)
    request.update_mask.paths.append(field)
    async with refused() as refusal:
        await agent.stub.UpdateTicket(request, metadata=agent.headers)
    assert [path for path, _ in refusal.error.violations] == [field]


@pytest.mark.parametrize("paths", [[], ["number"], ["subject", "etag"], ["*"]])
async def test_a_mask_names_what_can_be_changed(desk: Desk, paths: list[str]) -> None:
    agent = desk.person("agent")
    ticket = await agent.create()
    request = pb.UpdateTicketRequest(ticket_id=ticket.id, etag=ticket.etag, subject="New")
    request.update_mask.paths.extend(paths)
    async with refused() as refusal:
        await agent.stub.UpdateTicket(request, metadata=agent.headers)
    assert (refusal.error.reason, [path for path, _ in refusal.error.violations]) == ("INVALID_FIELD", ["update_mask"])
