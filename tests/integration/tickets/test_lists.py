"""Filters, orders and pages of the list of tickets."""

from collections.abc import Sequence

import grpc
import pytest

from deskmesh.tickets.v1 import ticket_pb2
from deskmesh.tickets.v1 import ticket_service_pb2 as pb
from services.common import pagination
from services.common.ids import new_id
from tests.integration.tickets.desk import Client, Desk
from tests.support.server import refused

LOW, HIGH, URGENT = (
    ticket_pb2.TICKET_PRIORITY_LOW,
    ticket_pb2.TICKET_PRIORITY_HIGH,
    ticket_pb2.TICKET_PRIORITY_URGENT,
)
ORDERS = {
    pb.TICKET_ORDER_UPDATED_DESC: [2, 6, 5, 4, 3, 1],
    pb.TICKET_ORDER_CREATED_DESC: [6, 5, 4, 3, 2, 1],
    pb.TICKET_ORDER_CREATED_ASC: [1, 2, 3, 4, 5, 6],
    pb.TICKET_ORDER_PRIORITY_DESC: [3, 2, 5, 1, 4, 6],
}


async def numbers(person: Client, **values: object) -> list[int]:
    return [ticket.number for ticket in (await person.list(**values)).tickets]


async def all_pages(person: Client, **values: object) -> list[int]:
    found: list[int] = []
    token = ""
    while True:
        page = await person.list(page_token=token, **values)
        assert len(page.tickets) <= 2
        found += [ticket.number for ticket in page.tickets]
        token = page.next_page_token
        if not token:
            return found


async def six_tickets(agent: Client, customer: Client) -> Sequence[ticket_pb2.Ticket]:
    """By the customer, with different priorities; the second was changed last."""
    tickets = [
        await agent.create(requester_id=customer.user_id, priority=priority)
        for priority in (0, HIGH, URGENT, LOW, HIGH, LOW)
    ]
    await agent.comment(tickets[1].id)
    return tickets


@pytest.mark.parametrize("order", ORDERS)
async def test_every_order_in_pages(desk: Desk, order: "pb.TicketOrder") -> None:
    agent, customer = desk.person("agent"), desk.person("customer")
    await six_tickets(agent, customer)
    assert await numbers(agent, order=order) == ORDERS[order]
    assert await all_pages(agent, order=order, page_size=2) == ORDERS[order]
    assert await all_pages(customer, order=order, page_size=2) == ORDERS[order]


async def test_newest_change_comes_first_unless_told(desk: Desk) -> None:
    agent, customer = desk.person("agent"), desk.person("customer")
    await six_tickets(agent, customer)
    assert await numbers(agent) == ORDERS[pb.TICKET_ORDER_UPDATED_DESC]


async def test_filters(desk: Desk) -> None:
    agent, one, other = desk.person("agent"), desk.person("customer"), desk.person("customer")
    conversation_id = desk.conversation_of(one)
    first = await one.create(tags=["tent", "rain"], conversation_id=conversation_id)
    await one.create(tags=["tent"], priority=HIGH)
    await other.create()
    await agent.update(first, assignee_id=agent.user_id)
    opened, new = ticket_pb2.TICKET_STATUS_OPEN, ticket_pb2.TICKET_STATUS_NEW

    async def ascending(**values: object) -> list[int]:
        return await numbers(agent, order=pb.TICKET_ORDER_CREATED_ASC, **values)

    assert await ascending() == [1, 2, 3]
    assert await ascending(statuses=[opened]) == [1]
    assert await ascending(statuses=[opened, new]) == [1, 2, 3]
    assert await ascending(priorities=[HIGH]) == [2]
    assert await ascending(assignee_id=agent.user_id) == [1]
    assert await ascending(assignee_id="none") == [2, 3]
    assert await ascending(requester_id=one.user_id) == [1, 2]
    assert await ascending(conversation_id=conversation_id) == [1]
    assert await ascending(tags=["tent"]) == [1, 2]
    assert await ascending(tags=["tent", "rain"]) == [1]
    assert await ascending(tags=["te"]) == []
    assert await ascending(requester_id=one.user_id, assignee_id="none") == [2]


async def test_a_customer_lists_their_own(desk: Desk) -> None:
    one, other = desk.person("customer"), desk.person("customer")
    await one.create()
    await other.create()
    assert await numbers(one) == [1]
    assert await numbers(one, requester_id=one.user_id) == [1]
    assert await numbers(one, requester_id=other.user_id) == []


async def test_a_token_belongs_to_its_list(desk: Desk) -> None:
    agent, customer = desk.person("agent"), desk.person("customer")
    stranger = desk.person("agent", organization_id=new_id("org"))
    await six_tickets(agent, customer)
    token = (await agent.list(page_size=2, priorities=[HIGH, LOW])).next_page_token
    assert token
    for person, values in (
        (agent, {}),
        (agent, {"priorities": [HIGH]}),
        (agent, {"priorities": [HIGH, LOW], "order": pb.TICKET_ORDER_CREATED_ASC}),
        (agent, {"priorities": [HIGH, LOW], "assignee_id": "none"}),
        (customer, {"priorities": [HIGH, LOW]}),
        (stranger, {"priorities": [HIGH, LOW]}),
    ):
        async with refused() as refusal:
            await person.list(page_token=token, **values)
        assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")
    # In another order of the same filters, with another size of pages, it is the same list.
    assert len((await agent.list(page_token=token, priorities=[LOW, HIGH], page_size=200)).tickets) == 2


@pytest.mark.parametrize(
    "cursor",
    [
        {},
        {"n": 1, "u": "soon", "p": 1},
        {"n": 1, "u": "2026-01-01T00:00:00", "p": 1},
        {"n": 2**70, "u": "2026-01-01T00:00:00+00:00", "p": 1},
        {"n": -1, "u": "2026-01-01T00:00:00+00:00", "p": 1},
        {"n": True, "u": "2026-01-01T00:00:00+00:00", "p": 1},
        {"n": "1", "u": "2026-01-01T00:00:00+00:00", "p": 1},
        {"n": 1, "u": "2026-01-01T00:00:00+00:00", "p": 9},
    ],
)
async def test_a_forged_token_is_an_invalid_one(desk: Desk, cursor: dict[str, object]) -> None:
    agent = desk.person("agent")
    filters: pagination.Filters = {
        "organization": agent.organization_id,
        "only": "",
        "statuses": [],
        "priorities": [],
        "assignee": None,
        "requester": None,
        "conversation": None,
        "tags": [],
        "order": "updated_desc",
    }
    good = pagination.encode({"n": 1, "u": "2026-01-01T00:00:00+00:00", "p": 1}, filters)
    assert not (await agent.list(page_token=good)).tickets
    async with refused() as refusal:
        await agent.list(page_token=pagination.encode(cursor, filters))  # type: ignore[arg-type]
    assert refusal.error.reason == "INVALID_PAGE_TOKEN"
