"""The service as a process of its own: killed between opening a ticket and linking it, it loses nothing."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import grpc.aio
import pytest

from services.common.ids import new_id
from services.tickets.settings import TicketsSettings
from tests.integration.tickets.desk import Client, Desk
from tests.integration.tickets.test_links import eventually, nothing_pending, run_sql


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@asynccontextmanager
async def process(settings: TicketsSettings) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m services.tickets`, ready to serve; ended by SIGTERM unless it is gone by then."""
    values = settings.model_dump(mode="json")
    environment = {f"DESKMESH_{name.upper()}": str(value) for name, value in values.items()}
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.tickets", env=os.environ | environment, stderr=asyncio.subprocess.DEVNULL
    )

    async def listens() -> bool:
        assert started.returncode is None
        host, _, port = settings.listen_address.rpartition(":")
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    try:
        await eventually(listens, seconds=60)
        yield started
    finally:
        if started.returncode is None:
            started.send_signal(signal.SIGTERM)
        await started.wait()


async def test_a_killed_process_loses_no_ticket_and_no_link(desk: Desk) -> None:
    base = desk.service.settings
    assert isinstance(base, TicketsSettings)
    address = f"127.0.0.1:{free_port()}"
    ops_socket = desk.service.stack.folder / f"{new_id('ops')[-8:]}.sock"
    settings = base.model_copy(update={"listen_address": address, "ops_socket": ops_socket})
    killed = replace(desk.service, address=address, _channels={})
    customer = desk.person("customer")
    at_process = Client(killed, customer.organization_id, customer.user_id, customer.headers)
    conversation_id, request_id = desk.conversation_of(customer), new_id("req")

    async def being_linked() -> bool:
        return desk.sessions.link_calls > calls_before

    calls_before = desk.sessions.link_calls
    desk.sessions.links_hang = True
    try:
        async with process(settings) as running:
            opening = asyncio.create_task(at_process.create(conversation_id=conversation_id, request_id=request_id))
            await eventually(being_linked)
            running.kill()
            with pytest.raises(grpc.aio.AioRpcError):
                await opening
    finally:
        desk.sessions.links_hang = False
    await killed.close()

    # The caller repeats what was not answered, here at the other process: one ticket, and its link is made.
    ticket = await customer.create(conversation_id=conversation_id, request_id=request_id)
    assert [found.id for found in (await customer.list()).tickets] == [ticket.id]
    # Instead of waiting until the killed call's grace is over.
    await run_sql(desk, "update pending_links set due_at = now()")
    await nothing_pending(desk)
    assert desk.sessions.linked[ticket.id].conversation_id == conversation_id


async def test_a_process_ends_cleanly_when_told(desk: Desk) -> None:
    base = desk.service.settings
    assert isinstance(base, TicketsSettings)
    ops_socket = desk.service.stack.folder / f"{new_id('ops')[-8:]}.sock"
    address = f"127.0.0.1:{free_port()}"
    async with process(base.model_copy(update={"listen_address": address, "ops_socket": ops_socket})) as running:
        pass
    assert running.returncode == 0
