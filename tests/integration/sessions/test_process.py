"""The service as a process of its own, killed while it is written to and watched."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio

from services.sessions.settings import SessionsSettings
from tests.integration.sessions.conftest import NOWHERE
from tests.integration.sessions.people import SECONDS, People
from tests.support.server import RunningService, TestStack

ROOT = Path(__file__).parents[3]
START_SECONDS = 120
MESSAGES = 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def process(settings: SessionsSettings) -> AsyncIterator[asyncio.subprocess.Process]:
    """The service's process, ended at the end of the block unless it was before."""
    environment = {f"DESKMESH_{name.upper()}": str(value) for name, value in settings.model_dump().items()}
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "services.sessions"),
        cwd=ROOT,
        env=os.environ | environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


async def keep_saying(people: People, conversation_id: str) -> None:
    """Say numbered things, each until it is acknowledged, as a caller with retries does."""
    for number in range(MESSAGES):
        while True:
            try:
                await people.say(conversation_id, str(number), request_id=f"request-{number}")
                break
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE
                await asyncio.sleep(0.05)


async def keep_watching(
    people: People, conversation_id: str, seen: list[tuple[int, str]], enough: asyncio.Event
) -> None:
    """Watch until everything was said, resuming after each failure; `enough` is set on the way."""
    while len(seen) < MESSAGES:
        try:
            async with people.watching(conversation_id, seen[-1][0] if seen else 0) as stream:
                while len(seen) < MESSAGES:
                    event = await stream.event()
                    seen.append((event.offset, event.message_added.message.text))
                    if len(seen) == MESSAGES // 3:
                        enough.set()
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            await asyncio.sleep(0.05)


async def test_killed_and_started_again_it_loses_and_repeats_nothing(stack: TestStack, organization_id: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    settings = stack.settings("sessions", SessionsSettings, listen_address=address, inference_address=NOWHERE)

    async def stop() -> None:
        raise AssertionError("this test ends processes by signals")

    service = RunningService("sessions", address, settings, stack, stop)
    people = People(service, organization_id)
    seen: list[tuple[int, str]] = []
    async with process(settings) as first:
        async with asyncio.timeout(START_SECONDS):
            await service.channel("edge").channel_ready()
        conversation = await people.begin()
        enough = asyncio.Event()
        work = asyncio.gather(
            keep_saying(people, conversation.id), keep_watching(people, conversation.id, seen, enough)
        )
        async with asyncio.timeout(SECONDS):
            await enough.wait()
        first.kill()
        await first.wait()
        async with process(settings) as second:
            async with asyncio.timeout(START_SECONDS):
                await work
            second.send_signal(signal.SIGTERM)
            async with asyncio.timeout(SECONDS):
                assert await second.wait() == 0
    assert seen == [(number + 1, str(number)) for number in range(MESSAGES)]
    await service.close()
