"""Opening, reading and listing tickets over mTLS."""

import asyncio

import grpc
import pytest

from deskmesh.tickets.v1 import ticket_pb2, ticket_service_pb2_grpc
from deskmesh.tickets.v1 import ticket_service_pb2 as pb
from services.common.ids import new_id
from tests.integration.tickets.desk import Desk
from tests.support.server import refused


async def test_a_customer_opens_and_reads_a_ticket(desk: Desk) -> None:
    customer = desk.person("customer")
    created = await customer.create(subject="The tent leaks", description="At the seams", tags=["tent", "rain"])
    assert created.number == 1
    assert created.requester_id == customer.user_id
    assert created.status == ticket_pb2.TICKET_STATUS_NEW
    assert created.priority == ticket_pb2.TICKET_PRIORITY_NORMAL
    assert created.kind == ticket_pb2.TICKET_KIND_REQUEST
    assert (created.description, list(created.tags)) == ("At the seams", ["tent", "rain"])
    assert not created.HasField("solved_at")
    assert await customer.get(created.id) == created
    assert list((await customer.list()).tickets) == [created]


async def test_racing_creates_get_all_numbers_once(desk: Desk) -> None:
    customers = [desk.person("customer") for _ in range(4)]
    created = await asyncio.gather(*(customers[n % 4].create(subject=f"Ticket {n}") for n in range(24)))
    assert sorted(ticket.number for ticket in created) == list(range(1, 25))


async def test_racing_repeats_of_one_request_open_one_ticket(desk: Desk) -> None:
    customer, request_id = desk.person("customer"), new_id("req")
    created = await asyncio.gather(*(customer.create(request_id=request_id) for _ in range(8)))
    assert len({ticket.id for ticket in created}) == 1
    assert len((await customer.list()).tickets) == 1


async def test_a_request_id_with_other_content_is_refused(desk: Desk) -> None:
    customer, request_id = desk.person("customer"), new_id("req")
    await customer.create(request_id=request_id)
    async with refused() as refusal:
        await customer.create(request_id=request_id, subject="Another")
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert len((await customer.list()).tickets) == 1


async def test_another_persons_request_id_is_refused(desk: Desk) -> None:
    one, other, request_id = desk.person("customer"), desk.person("customer"), new_id("req")
    await one.create(request_id=request_id)
    async with refused() as refusal:
        await other.create(request_id=request_id)
    assert refusal.error.reason == "REQUEST_ID_REUSED"


async def test_numbers_begin_at_one_in_every_organization(desk: Desk) -> None:
    await desk.person("customer").create()
    assert (await desk.person("customer", organization_id=new_id("org")).create()).number == 1


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("priority", {"priority": ticket_pb2.TICKET_PRIORITY_URGENT}),
        ("requester_id", {"requester_id": "usr_somebody"}),
        ("subject", {"subject": " \n\t"}),
        ("subject", {"subject": ""}),
        ("subject", {"subject": "x" * 201}),
        ("description", {"description": "ä" * 16385}),
        ("tags", {"tags": ["a", "a"]}),
        ("tags", {"tags": [f"t{n}" for n in range(21)]}),
        ("priority", {"priority": 17}),
        ("request_id", {"request_id": "short"}),
    ],
)
async def test_what_a_customer_may_not_send(desk: Desk, field: str, values: dict[str, object]) -> None:
    customer = desk.person("customer")
    async with refused() as refusal:
        await customer.create(**values)  # type: ignore[arg-type]
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert {path.partition("[")[0] for path, _ in refusal.error.violations} == {field}
    assert not (await customer.list()).tickets


async def test_an_agent_opens_a_ticket_for_a_customer(desk: Desk) -> None:
    agent, customer = desk.person("agent"), desk.person("customer")
    created = await agent.create(requester_id=customer.user_id, priority=ticket_pb2.TICKET_PRIORITY_URGENT)
    assert (created.requester_id, created.priority) == (customer.user_id, ticket_pb2.TICKET_PRIORITY_URGENT)
    assert await customer.get(created.id) == created
    own = await agent.create()
    assert own.requester_id == agent.user_id


async def test_the_requester_must_be_a_member(desk: Desk) -> None:
    agent = desk.person("agent")
    stranger = desk.person("customer", organization_id=new_id("org"))
    async with refused() as refusal:
        await agent.create(requester_id=stranger.user_id)
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND")


async def test_anothers_tickets_are_not_found(desk: Desk) -> None:
    owner = desk.person("customer")
    ticket = await owner.create()
    strangers = [
        desk.person("customer"),
        desk.person("customer", organization_id=new_id("org")),
        desk.person("owner", organization_id=new_id("org")),
        # The same person as a customer of another organization.
        desk.person("customer", organization_id=new_id("org"), user_id=owner.user_id),
    ]
    for stranger in strangers:
        calls = (
            stranger.get(ticket.id),
            stranger.update(ticket, subject="Mine"),
            stranger.comment(ticket.id),
            stranger.comments(ticket.id),
            stranger.events(ticket.id),
        )
        for call in calls:
            async with refused() as refusal:
                await call
            assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.NOT_FOUND, "TICKET_NOT_FOUND")
        assert not (await stranger.list()).tickets
        assert not (await stranger.list(requester_id=owner.user_id)).tickets
    assert await owner.get(ticket.id) == ticket


async def test_an_unknown_ticket_is_not_found(desk: Desk) -> None:
    async with refused() as refusal:
        await desk.person("agent").get("tkt_none")
    assert refusal.error.reason == "TICKET_NOT_FOUND"


async def test_a_person_without_roles_is_refused(desk: Desk) -> None:
    async with refused() as refusal:
        await desk.person().list()
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING")


async def test_a_workload_that_the_policy_does_not_name_is_refused(desk: Desk) -> None:
    agent = desk.person("agent")
    stub = ticket_service_pb2_grpc.TicketServiceStub(desk.service.channel("knowledge"))
    async with refused() as refusal:
        await stub.ListTickets(pb.ListTicketsRequest(), metadata=agent.headers)
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "WORKLOAD_NOT_ALLOWED")


@pytest.mark.parametrize("values", [{"subject": "a\0b"}, {"description": "\0"}, {"tags": ["\0"]}])
async def test_text_that_postgres_cannot_keep_is_refused(desk: Desk, values: dict[str, object]) -> None:
    async with refused() as refusal:
        await desk.person("customer").create(**values)  # type: ignore[arg-type]
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


async def test_an_identifier_that_postgres_cannot_keep_is_refused(desk: Desk) -> None:
    async with refused() as refusal:
        await desk.person("agent").get("tkt_\0")
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
