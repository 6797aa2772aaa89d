"""When tickets are due, who may say so, and that what is solved closes by itself."""

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from deskmesh.tickets.v1 import ticket_pb2
from deskmesh.tickets.v1 import ticket_service_pb2 as pb
from tests.integration.tickets.desk import Client, Desk
from tests.integration.tickets.test_links import eventually, run_sql
from tests.support.server import refused

NORMAL, HIGH, URGENT = (
    ticket_pb2.TICKET_PRIORITY_NORMAL,
    ticket_pb2.TICKET_PRIORITY_HIGH,
    ticket_pb2.TICKET_PRIORITY_URGENT,
)
HOURS = {ticket_pb2.TICKET_PRIORITY_LOW: 168, NORMAL: 72, HIGH: 24, URGENT: 4}


def hours(ticket: ticket_pb2.Ticket) -> float:
    """How long after its opening it is due."""
    return (ticket.due_at.ToMicroseconds() - ticket.created_at.ToMicroseconds()) / 3.6e9


async def due(person: Client, **values: object) -> list[int]:
    found = (await person.list(order=pb.TICKET_ORDER_DUE_ASC, **values)).tickets
    return [ticket.number for ticket in found]


async def test_it_is_due_by_its_priority_until_an_agent_says_otherwise(desk: Desk) -> None:
    agent = desk.person("agent")
    for priority, expected in HOURS.items():
        assert hours(await agent.create(priority=priority)) == expected
    ticket = await agent.create()
    ticket = await agent.update(ticket, priority=URGENT)
    assert hours(ticket) == 4
    promised = Timestamp(seconds=1_900_000_000)
    ticket = await agent.update(ticket, due_at=promised)
    ticket = await agent.update(ticket, priority=NORMAL)
    assert ticket.due_at == promised
    # Named in the mask and not given: it is taken away.
    request = pb.UpdateTicketRequest(ticket_id=ticket.id, etag=ticket.etag)
    request.update_mask.paths.append("due_at")
    ticket = (await agent.stub.UpdateTicket(request, metadata=agent.headers)).ticket
    assert not ticket.HasField("due_at")
    assert ticket == await agent.get(ticket.id)
    events = [event.field_changed for event in (await agent.events(ticket.id)).events]
    assert [change.after for change in events if change.field == "due_at"][1:] == ["2030-03-17T17:46:40Z", ""]


async def test_a_customer_sees_it_and_does_not_set_it(desk: Desk) -> None:
    customer = desk.person("customer")
    ticket = await customer.create()
    async with refused() as refusal:
        await customer.update(ticket, due_at=Timestamp(seconds=1_900_000_000))
    assert refusal.error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [field for field, _ in refusal.error.violations] == ["due_at"]
    assert hours(await customer.update(ticket, priority=HIGH)) == 24


@pytest.mark.parametrize(
    "wrong",
    [Timestamp(seconds=-1), Timestamp(seconds=4102444800), Timestamp(seconds=1, nanos=2**31 - 1), Timestamp(nanos=-1)],
    ids=str,
)
async def test_a_time_that_makes_no_sense_is_refused(desk: Desk, wrong: Timestamp) -> None:
    agent = desk.person("agent")
    ticket = await agent.create()
    async with refused() as update:
        await agent.update(ticket, due_at=wrong)
    async with refused() as listing:
        await agent.list(due_before=wrong)
    assert update.error.code is listing.error.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_first_due_comes_first_and_overdue_ones_can_be_asked_for(desk: Desk) -> None:
    agent = desk.person("agent")
    for priority in (NORMAL, URGENT, HIGH, NORMAL):
        await agent.create(priority=priority)
    await run_sql(desk, "update tickets set due_at = null where number = 1")
    await run_sql(desk, "update tickets set due_at = created_at - interval '1 hour' where number = 3")
    assert await due(agent) == [3, 2, 4, 1]
    paged, token = [], ""
    while True:
        page = await agent.list(order=pb.TICKET_ORDER_DUE_ASC, page_size=1, page_token=token)
        paged += [ticket.number for ticket in page.tickets]
        token = page.next_page_token
        if not token:
            break
    assert paged == [3, 2, 4, 1]
    now = Timestamp()
    now.GetCurrentTime()
    assert await due(agent, due_before=now) == [3]


async def test_what_was_solved_long_ago_closes_by_itself_and_the_rest_stays(desk: Desk) -> None:
    agent, customer = desk.person("agent"), desk.person("customer")
    old, young = [await agent.update(await customer.create(), status=ticket_pb2.TICKET_STATUS_SOLVED) for _ in range(2)]
    await run_sql(desk, f"update tickets set solved_at = '1900-01-01' where id = '{old.id}'")

    async def closed() -> bool:
        return (await customer.get(old.id)).status == ticket_pb2.TICKET_STATUS_CLOSED

    await eventually(closed)
    last = (await customer.events(old.id)).events[-1]
    assert (last.actor_id, last.field_changed.after) == ("", "TICKET_STATUS_CLOSED")
    async with refused() as refusal:
        await customer.comment(old.id)
    assert refusal.error.reason == "TICKET_TRANSITION_NOT_ALLOWED"
    # A reply to the one that is only solved opens it again.
    assert (await customer.comment(young.id)).ticket.status == ticket_pb2.TICKET_STATUS_OPEN
