"""Every RPC of a served process passes the concerns in their order, and every failure carries its details."""

import asyncio
import functools
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
import pytest_asyncio

from mesh.policy.limits import PERSON, Limit
from mesh.policy.table import RateClass
from services.common import context
from services.common.errors import NotFound, from_rpc_error
from services.common.interceptors.deadline import Deadline, limit
from services.common.interceptors.limits import PeopleLimits
from services.common.logs import JsonFormatter
from services.common.server import Platform, ServicerRegistration
from services.common.settings import ServiceSettings
from services.common.tokens import LEEWAY_SECONDS
from tests.support.echo import EchoRequest, EchoServicer, EchoStub, add_to_server
from tests.support.pki import TestPki
from tests.support.server import RunningService, TestStack, acting, refused

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


async def behave(request: Any) -> str:
    """What the echo service does with the words it knows."""
    match request.text:
        case "who":
            who = context.caller()
            return json.dumps([who.workload, who.organization_id, who.user_id, who.roles])
        case "key":
            key = context.idempotency()
            return json.dumps([key.request_id, key.short_method, key.fingerprint.hex()])
        case "trace":
            return context.trace_id()
        case "missing":
            raise NotFound("No such thing.", resource_name="thing_1")
        case "defect":
            raise RuntimeError("secret words")
        case "sleep":
            await asyncio.sleep(30)
        case "driver":
            raise TimeoutError
    text: str = request.text
    return text


@dataclass
class Served:
    """The running echo service, and short ways to call it."""

    service: RunningService
    organization_id: str

    def stub(self, workload: str = "edge") -> EchoStub:
        return EchoStub(self.service.channel(workload))

    def agent(self) -> tuple[tuple[str, str], ...]:
        return self.service.person(self.organization_id, "usr_1", "agent")

    def customer(self) -> tuple[tuple[str, str], ...]:
        return self.service.person(self.organization_id, "usr_2", "customer")


async def wire(_stack: AsyncExitStack, _platform: Platform[ServiceSettings]) -> list[ServicerRegistration]:
    return [ServicerRegistration(add_to_server, EchoServicer(behave))]


@pytest_asyncio.fixture
async def served(stack: TestStack, organization_id: str) -> AsyncIterator[Served]:
    async with stack.service(
        "tickets", ServiceSettings, wire, default_deadline_seconds=0.3, maximum_deadline_seconds=0.6
    ) as service:
        yield Served(service, organization_id)


async def test_a_signed_in_person_is_served(served: Served) -> None:
    response = await served.stub().Echo(EchoRequest(text="who"), metadata=served.agent())
    assert json.loads(response.text) == ["edge", served.organization_id, "usr_1", ["agent"]]


async def test_an_own_permission_is_enough_to_get_in(served: Served) -> None:
    assert (await served.stub().Echo(EchoRequest(text="hi"), metadata=served.customer())).text == "hi"


async def test_without_a_token_the_edge_is_refused(served: Served) -> None:
    async with refused() as refusal:
        await served.stub().Echo(EchoRequest(text="hello"))
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
    assert len(refusal.error.metadata["trace_id"]) == 32


@pytest.mark.parametrize("header", ["Bearer abc", "Basic abc", "abc", "Bearer "])
async def test_a_token_that_is_none_is_refused(served: Served, header: str) -> None:
    async with refused() as refusal:
        await served.stub().Echo(EchoRequest(text="hello"), metadata=(("authorization", header),))
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


async def test_an_expired_token_is_told_apart(served: Served) -> None:
    token = served.service.stack.tokens.token(organization_id="o", user_id="u", roles=(), exp=int(time.time()) - 60)
    async with refused() as refusal:
        await served.stub().Echo(EchoRequest(text="hello"), metadata=(("authorization", f"Bearer {token}"),))
    assert refusal.error.reason == "TOKEN_EXPIRED"


async def test_the_edge_cannot_say_for_whom_it_acts(served: Served) -> None:
    async with refused() as refusal:
        await served.stub().Echo(EchoRequest(text="who"), metadata=acting("org_1", "usr_1", ("owner",)))
    assert refusal.error.reason == "TOKEN_MISSING"
    response = await served.stub().Echo(
        EchoRequest(text="who"), metadata=(*served.agent(), *acting("org_other", "usr_other", ("owner",)))
    )
    assert json.loads(response.text)[1:] == [served.organization_id, "usr_1", ["agent"]]


async def test_a_trusted_workload_acts_for_a_person(served: Served) -> None:
    stub = served.stub("orchestrator")
    response = await stub.Echo(EchoRequest(text="who"), metadata=acting("org_1", "usr_1", ("agent", "made-up")))
    assert json.loads(response.text) == ["orchestrator", "org_1", "usr_1", ["agent"]]


async def test_a_workload_alone_may_call_what_needs_no_permission(served: Served) -> None:
    response = await served.stub("orchestrator").Internal(EchoRequest(text="who"))
    assert json.loads(response.text) == ["orchestrator", "", "", []]
    async with refused() as refusal:
        await served.stub("orchestrator").Echo(EchoRequest(text="hi"))
    assert refusal.error.reason == "PERMISSION_MISSING"


@pytest.mark.parametrize("workload", ["edge", "knowledge", "laptop"])
async def test_a_workload_that_is_not_listed_is_refused(served: Served, workload: str) -> None:
    async with refused() as refusal:
        await served.stub(workload).Internal(EchoRequest(text="hi"), metadata=served.agent())
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "WORKLOAD_NOT_ALLOWED")


async def test_a_role_without_the_permission_is_refused(served: Served) -> None:
    async with refused() as refusal:
        await served.stub().Publish(EchoRequest(text="hi"), metadata=served.agent())
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING")
    assert refusal.error.metadata["permission"] == "articles.publish"


async def test_an_anonymous_rpc_asks_for_no_token_and_knows_nobody_by_one(served: Served) -> None:
    for metadata in ((), served.agent()):
        response = await served.stub().Anonymous(EchoRequest(text="who"), metadata=metadata)
        assert json.loads(response.text) == ["edge", "", "", []]


async def test_a_bad_token_is_refused_also_where_none_is_needed(served: Served) -> None:
    async with refused() as refusal:
        await served.stub().Anonymous(EchoRequest(text="who"), metadata=(("authorization", "Bearer junk"),))
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


async def test_an_invalid_request_names_its_fields(served: Served) -> None:
    async with refused() as refusal:
        await served.stub().Echo(EchoRequest(), metadata=served.agent())
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert [field for field, _ in refusal.error.violations] == ["text"]


async def test_a_request_that_is_too_big_or_no_message_is_refused(served: Served) -> None:
    async with refused() as refusal:
        await served.stub().Echo(EchoRequest(text="x" * (3 << 20)), metadata=served.agent())
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_TOO_LARGE")
    assert refusal.error.metadata["limit_bytes"] == str(2 << 20)
    async with refused() as refusal:
        await served.stub().Echo(EchoRequest(text="x" * (9 << 20)), metadata=served.agent())
    assert refusal.error.code is grpc.StatusCode.RESOURCE_EXHAUSTED, "so large that it is not even read"
    raw: Any = served.service.channel("edge").unary_unary("/deskmesh.testing.v1.EchoService/Echo")
    async with refused() as refusal:
        await raw(b"\xff\xff\xff", metadata=served.agent())
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert refusal.error.message == "The request is no message of this method."
    async with refused() as refusal:
        await served.stub().Echo(EchoRequest(text="a\0b"), metadata=served.agent())
    assert refusal.error.violations == [("text", "must not contain null characters")]


@pytest.mark.parametrize("path", ["/deskmesh.testing.v1.EchoService/Nothing", "/no.such.Service/Call", "/nonsense"])
async def test_an_unknown_method_is_refused_like_everything_else(served: Served, path: str) -> None:
    channel: Any = served.service.channel("edge")
    metadata = (("traceparent", TRACEPARENT),)
    unary, stream = (
        channel.unary_unary(path)(b"", metadata=metadata),
        channel.unary_stream(path)(b"", metadata=metadata),
    )
    for call in (unary, stream.read()):
        async with refused() as refusal:
            await call
        assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN")
        assert refusal.error.metadata["trace_id"] == TRACEPARENT[3:35]


async def test_the_request_id_and_a_fingerprint_reach_the_servicer(served: Served) -> None:
    async def key(text: str, request_id: str) -> list[str]:
        request = EchoRequest(text=text, request_id=request_id)
        response = await served.stub().Create(request, metadata=served.agent())
        found: list[str] = json.loads(response.text)
        return found

    first, again, other = await key("key", "r-1"), await key("key", "r-1"), await key("key", "r-2")
    assert first == again
    assert first[:2] == ["r-1", "Create"]
    assert first[2] != other[2]
    async with refused() as refusal:
        await served.stub().Create(EchoRequest(text="key"), metadata=served.agent())
    assert refusal.error.violations == [("request_id", "is required")]


async def test_the_callers_trace_goes_on_and_a_new_one_begins_without(served: Served) -> None:
    stub = served.stub()
    metadata = (*served.agent(), ("traceparent", TRACEPARENT))
    assert (await stub.Echo(EchoRequest(text="trace"), metadata=metadata)).text == TRACEPARENT[3:35]
    fresh = {(await stub.Echo(EchoRequest(text="trace"), metadata=served.agent())).text for _ in range(3)}
    assert len(fresh) == 3
    async with refused() as refusal:
        await stub.Echo(EchoRequest(text="missing"), metadata=metadata)
    assert refusal.error.metadata["trace_id"] == TRACEPARENT[3:35]


async def test_what_a_servicer_raises_is_mapped_and_a_defect_says_nothing(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    async with refused() as refusal:
        await served.stub().Echo(EchoRequest(text="missing"), metadata=served.agent())
    assert (refusal.error.code, refusal.error.message) == (grpc.StatusCode.NOT_FOUND, "No such thing.")
    with caplog.at_level(logging.ERROR):
        async with refused() as refusal:
            await served.stub().Echo(
                EchoRequest(text="defect"), metadata=(*served.agent(), ("traceparent", TRACEPARENT))
            )
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "secret" not in refusal.error.message
    record = next(record for record in caplog.records if record.exc_info)
    assert "secret words" in json.loads(JsonFormatter("tickets").format(record))["exception"]
    async with refused() as refusal:
        await served.stub().Echo(EchoRequest(text="driver"), metadata=served.agent())
    assert refusal.error.reason == "DEPENDENCY_UNAVAILABLE"


async def test_no_unary_call_runs_for_ever(served: Served) -> None:
    started = time.monotonic()
    async with refused() as refusal:
        await served.stub().Echo(EchoRequest(text="sleep"), metadata=served.agent())
    assert refusal.error.reason == "DEADLINE_EXCEEDED"
    async with refused() as refusal:
        await served.stub().Echo(EchoRequest(text="sleep"), metadata=served.agent(), timeout=600)
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    async with refused() as refusal:
        await served.stub().Echo(EchoRequest(text="sleep"), metadata=served.agent(), timeout=0.1)
    assert refusal.error.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 10


async def test_the_limit_tells_its_own_end_from_a_drivers_timeout() -> None:
    with pytest.raises(TimeoutError):
        async with limit(5):
            raise TimeoutError
    assert Deadline(1, 2)._default == 1


async def test_streams_of_every_kind_pass_the_same_concerns(served: Served) -> None:
    stub = served.stub()
    seen = [response.text async for response in stub.Watch(EchoRequest(text="end"), metadata=served.agent())]
    assert seen == ["end"] * 3
    collected = await stub.Collect(iter([EchoRequest(text="a"), EchoRequest(text="b")]), metadata=served.agent())
    assert collected.text == "a,b"
    talk = stub.Talk(iter([EchoRequest(text="a"), EchoRequest()]), metadata=served.agent())
    async with refused() as refusal:
        assert [response.text async for response in talk] == ["a"]
    assert refusal.error.violations[0][0] == "text"
    for refused_stream in (stub.Watch(EchoRequest(text="x")), stub.Talk(iter([EchoRequest(text="x")]))):
        async with refused() as refusal:
            async for _ in refused_stream:
                raise AssertionError("nothing may come")
        assert refusal.error.reason == "TOKEN_MISSING"
    async with refused() as refusal:
        async for _ in stub.Watch(EchoRequest(text="missing"), metadata=served.agent()):
            raise AssertionError("nothing may come")
    assert refusal.error.code is grpc.StatusCode.NOT_FOUND


async def test_a_long_stream_ends_with_the_token_that_let_it_in(served: Served) -> None:
    def metadata(exp: float) -> tuple[tuple[str, str], ...]:
        token = served.service.stack.tokens.token(
            organization_id=served.organization_id, user_id="usr_1", roles=("agent",), exp=int(exp)
        )
        return (("authorization", f"Bearer {token}"),)

    stub, soon = served.stub(), time.time() - LEEWAY_SECONDS + 3
    lasting = stub.Watch(EchoRequest(text="on"), metadata=metadata(soon + 300))
    ending = stub.Watch(EchoRequest(text="on"), metadata=metadata(soon))
    for _ in range(3):
        await ending.read()
        await lasting.read()
    async with refused() as refusal:
        await ending.read()
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")
    assert soon - 1 < time.time() - LEEWAY_SECONDS < soon + 5
    assert not lasting.done()
    trusted = served.stub("orchestrator").Watch(EchoRequest(text="on"), metadata=acting("org_1", "usr_1", ("agent",)))
    await trusted.read()
    async with refused() as refusal:
        await stub.Watch(EchoRequest(text="on"), metadata=metadata(soon)).read()
    assert refusal.error.reason == "TOKEN_EXPIRED"
    for stream in (trusted, lasting):
        stream.cancel()


async def test_metrics_health_and_reflection_are_served(served: Served) -> None:
    stub = served.stub()
    await stub.Echo(EchoRequest(text="hi"), metadata=served.agent())
    watching = stub.Watch(EchoRequest(text="on"), metadata=served.agent())
    await watching.read()
    metrics = await _get(served.service, "/metrics")
    labels = 'grpc_code="OK",grpc_method="Echo",grpc_service="deskmesh.testing.v1.EchoService"'
    assert f"grpc_server_handled_total{{{labels}}} 1.0" in metrics
    assert 'grpc_server_open_streams{grpc_method="Watch",grpc_service="deskmesh.testing.v1.EchoService"} 1.0' in metrics
    assert "process_cpu_seconds_total" in metrics
    watching.cancel()
    assert json.loads(await _get(served.service, "/healthz")) == {"alive": True}
    health: Any = served.service.channel("edge").unary_unary("/grpc.health.v1.Health/Check")
    assert await health(b"") == b"\x08\x01"


async def test_a_process_that_stops_ends_long_streams_with_a_typed_error(
    stack: TestStack, organization_id: str
) -> None:
    async with stack.service("tickets", ServiceSettings, wire) as service:
        stub = EchoStub(service.channel("edge"))
        watching = stub.Watch(EchoRequest(text="on"), metadata=service.person(organization_id, "usr_1", "agent"))
        for _ in range(3):
            await watching.read()
        reading = asyncio.ensure_future(watching.read())
        closing = asyncio.ensure_future(service.stop())
        async with refused() as refusal:
            await reading
        assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert refusal.error.retry_after_seconds == 0.0
        await closing


async def test_two_processes_let_no_more_calls_of_a_person_through_than_the_limit(
    stack: TestStack, organization_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing comes back while the test runs; a lease's second is taken off.
    limits = (Limit(RateClass.READ, PERSON, 1, 11), Limit(RateClass.STREAM, PERSON, 1, 2))
    monkeypatch.setattr("services.common.server.PeopleLimits", functools.partial(PeopleLimits, limits=limits))
    began = time.monotonic()
    async with (
        # On a busy machine, too, it is Valkey that counts.
        stack.service("tickets", ServiceSettings, wire, count_timeout_seconds=30.0) as first,
        stack.service("tickets", ServiceSettings, wire, count_timeout_seconds=30.0) as second,
    ):
        ann = first.person(organization_id, "usr_ann", "agent")
        stubs = [EchoStub(service.channel("edge")) for service in (first, second)]
        request = EchoRequest(text="hi")
        calls = [stub.Echo(request, metadata=ann) for _ in range(12) for stub in stubs]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        failures = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        came_back = time.monotonic() - began
        assert len(answers) - 10 - came_back <= len(failures) < len(answers)
        trailers = dict(failures[0].trailing_metadata() or ())
        error = from_rpc_error(failures[0])
        assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
        assert 0 < (error.retry_after_seconds or 0) <= 1
        assert trailers["retry-after"] == "1"
        assert error.metadata["trace_id"]
        # Streams are counted when they begin, and apart from other calls; and whoever acts for her is not.
        assert await stubs[0].Watch(request, metadata=ann).read()
        async with refused() as refusal:
            await stubs[1].Watch(request, metadata=ann).read()
        assert refusal.error.reason == "RATE_LIMITED"
        for_her = acting(organization_id, "usr_ann", ("agent",))
        assert (await EchoStub(first.channel("orchestrator")).Echo(request, metadata=for_her)).text == "hi"
        counted = await _get(first, "/metrics")
        assert 'deskmesh_people_limited_calls_total{rate_class="READ"}' in counted


async def test_nobody_gets_in_without_a_certificate_of_this_authority(
    served: Served, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def fails(channel: grpc.aio.Channel) -> None:
        async with channel:
            async with refused() as refusal:
                await EchoStub(channel).Echo(EchoRequest(text="hi"), metadata=served.agent(), timeout=2)
            assert refusal.error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)

    foreign = TestPki(tmp_path_factory.mktemp("foreign"))
    authority = served.service.stack.pki.files("edge")["tls_ca_file"].read_bytes()
    await fails(grpc.aio.insecure_channel(served.service.address))
    await fails(grpc.aio.secure_channel(served.service.address, grpc.ssl_channel_credentials(authority)))
    await fails(served.service.new_channel(foreign, "edge"))


async def test_a_certificate_of_another_environment_is_no_identity(
    served: Served, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = served.service.stack.folder / "pki"
    elsewhere = TestPki(tmp_path_factory.mktemp("prod"), environment="prod", authority_of=folder)
    async with served.service.new_channel(elsewhere, "edge") as channel:
        async with refused() as refusal:
            await EchoStub(channel).Echo(EchoRequest(text="hi"), metadata=served.agent())
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "WORKLOAD_NOT_ALLOWED")


async def _get(service: RunningService, path: str) -> str:
    connector = aiohttp.UnixConnector(path=str(service.settings.ops_socket))
    async with aiohttp.ClientSession(connector=connector) as session, session.get(f"http://ops{path}") as response:
        return await response.text()
