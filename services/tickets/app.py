"""Wires the tickets service."""

from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial

from deskmesh.tickets.v1 import ticket_service_pb2_grpc
from services.common.janitor import request_ids
from services.common.outbox import OutboxRelay
from services.common.server import Platform, ServicerRegistration
from services.tickets import tables
from services.tickets.adapters.links import SqlLinkQueue
from services.tickets.adapters.neighbours import RemoteConversations, RemoteMembers
from services.tickets.adapters.solved import SqlSolvedTickets
from services.tickets.adapters.units import SqlTicketsWork
from services.tickets.servicer import TicketServicer
from services.tickets.settings import TicketsSettings
from services.tickets.usecases.closing import Closer
from services.tickets.usecases.comments import Correspondence
from services.tickets.usecases.linking import Linker
from services.tickets.usecases.tickets import TicketDesk


async def wire(stack: AsyncExitStack, platform: Platform[TicketsSettings]) -> list[ServicerRegistration]:
    """Build the servicer, the outbox's relay, the linker and the closer, which run until the stack closes."""
    settings = platform.settings
    await stack.enter_async_context(platform.janitor(request_ids(tables.idempotency_records, settings)))
    relay = await stack.enter_async_context(
        OutboxRelay("tickets", platform.sessionmaker, platform.redis, tables.outbox)
    )
    conversations = RemoteConversations(
        platform.channels.channel(settings.sessions_address, "sessions"),
        lookup_timeout_seconds=settings.lookup_timeout_seconds,
        link_timeout_seconds=settings.link_timeout_seconds,
    )
    members = RemoteMembers(
        platform.channels.channel(settings.auth_address, "auth"),
        lookup_timeout_seconds=settings.lookup_timeout_seconds,
    )
    linker = await stack.enter_async_context(
        Linker(
            SqlLinkQueue(platform.sessionmaker),
            conversations,
            platform.clock,
            poll_seconds=settings.link_poll_seconds,
        )
    )
    work = partial(SqlTicketsWork, platform.sessionmaker, relay.wake)
    await stack.enter_async_context(
        Closer(
            SqlSolvedTickets(platform.sessionmaker),
            work,
            platform.clock,
            after=timedelta(days=settings.close_solved_days),
            poll_seconds=settings.close_poll_seconds,
        )
    )
    desk = TicketDesk(work, conversations, members, linker, platform.clock, settings.terms)
    servicer = TicketServicer(desk, Correspondence(work, platform.clock))
    return [ServicerRegistration(ticket_service_pb2_grpc.add_TicketServiceServicer_to_server, servicer)]
