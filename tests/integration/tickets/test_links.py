"""A ticket knows its conversation, and the conversation its ticket, whatever happens in between."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import redis.asyncio
from sqlalchemy import text

from deskmesh.tickets.v1 import ticket_pb2
from services.common.db import SqlUnitOfWork, create_engine, create_sessionmaker
from services.common.ids import new_id
from services.common.outbox import stream_name
from tests.integration.tickets.desk import Desk
from tests.support.server import refused


async def test_a_ticket_is_linked_when_it_is_opened(desk: Desk) -> None:
    customer = desk.person("customer")
    conversation_id = desk.conversation_of(customer)
    kind = ticket_pb2.TICKET_KIND_HANDOFF
    ticket = await customer.create(conversation_id=conversation_id, subject="A person, please", kind=kind)
    assert (ticket.conversation_id, ticket.kind) == (conversation_id, kind)
    told = desk.sessions.linked[ticket.id]
    assert (told.conversation_id, told.ticket_number, told.subject) == (conversation_id, 1, "A person, please")
    await nothing_pending(desk)


async def test_an_agent_opens_one_from_a_customers_conversation(desk: Desk) -> None:
    agent, customer = desk.person("agent"), desk.person("customer")
    conversation_id = desk.conversation_of(customer)
    ticket = await agent.create(conversation_id=conversation_id, requester_id=customer.user_id)
    assert desk.sessions.linked[ticket.id].conversation_id == conversation_id
    async with refused() as refusal:
        await agent.create(conversation_id=conversation_id)
    assert [field for field, _ in refusal.error.violations] == ["conversation_id"]


async def test_the_conversation_must_exist_for_the_caller(desk: Desk) -> None:
    customer, other = desk.person("customer"), desk.person("customer")
    elsewhere = desk.person("customer", organization_id=new_id("org"))
    for conversation_id in ("cnv_none", desk.conversation_of(other), desk.conversation_of(elsewhere)):
        async with refused() as refusal:
            await customer.create(conversation_id=conversation_id)
        assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.NOT_FOUND, "CONVERSATION_NOT_FOUND")
    assert not (await customer.list()).tickets
    # Numbers have no gap after refusals.
    assert (await customer.create()).number == 1


async def test_a_link_that_fails_at_first_is_made_later(desk: Desk) -> None:
    customer = desk.person("customer")
    conversation_id = desk.conversation_of(customer)
    desk.sessions.links_fail = True
    try:
        ticket = await customer.create(conversation_id=conversation_id)
    finally:
        desk.sessions.links_fail = False
    assert ticket.id not in desk.sessions.linked
    # As if the first attempt's grace were over, which a crash in between comes to as well.
    await run_sql(desk, "update pending_links set due_at = now()")
    await nothing_pending(desk)
    assert desk.sessions.linked[ticket.id].conversation_id == conversation_id


async def test_a_repeat_does_not_depend_on_the_conversation(desk: Desk) -> None:
    customer, request_id = desk.person("customer"), new_id("req")
    conversation_id = desk.conversation_of(customer)
    ticket = await customer.create(conversation_id=conversation_id, request_id=request_id)
    del desk.sessions.customers[(desk.organization_id, conversation_id)]
    assert await customer.create(conversation_id=conversation_id, request_id=request_id) == ticket


async def test_others_are_told_of_changes_in_order(desk: Desk, redis_url: str) -> None:
    agent, customer = desk.person("agent"), desk.person("customer")
    ticket = await customer.create()
    commented = await agent.comment(ticket.id)
    updated = await agent.update(commented.ticket, subject="Changed")

    store: Any = redis.asyncio.Redis.from_url(redis_url)

    async def entries(topic: str) -> list[bytes]:
        found = await store.xrange(stream_name("tickets", topic))
        return [fields[b"payload"] for _, fields in found if fields[b"key"] == ticket.id.encode()]

    async def all_told() -> bool:
        return len(await entries("ticket.updated")) == 2

    await eventually(all_told)
    assert [ticket_pb2.Ticket.FromString(entry) for entry in await entries("ticket.created")] == [ticket]
    changed = [ticket_pb2.Ticket.FromString(entry) for entry in await entries("ticket.updated")]
    assert changed == [commented.ticket, updated]
    comments = [ticket_pb2.Comment.FromString(entry) for entry in await entries("ticket.commented")]
    assert comments == [commented.comment]
    await store.aclose()


async def run_sql(desk: Desk, statement: str) -> int:
    """Run a statement in this organization's scope; returns how many rows it touched or found."""
    engine = create_engine(desk.service.settings)
    try:
        async with SqlUnitOfWork(create_sessionmaker(engine), desk.organization_id) as work:
            result: Any = await work.session.execute(text(statement))
            await work.commit()
        return int(result.rowcount)
    finally:
        await engine.dispose()


async def nothing_pending(desk: Desk) -> None:
    """Wait until every link of the organization is made."""

    async def none() -> bool:
        return await run_sql(desk, "select 1 from pending_links") == 0

    await eventually(none)


async def eventually(holds: Callable[[], Awaitable[bool]], *, seconds: float = 10) -> None:
    """Wait for something to hold."""
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.02)
