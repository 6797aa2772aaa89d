"""The client against a real gRPC server whose answers the test scripts."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from deskmesh.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from deskmesh.orchestrator.v1 import orchestrator_service_pb2, orchestrator_service_pb2_grpc
from deskmesh.sessions.v1 import conversation_service_pb2, conversation_service_pb2_grpc
from deskmesh.sessions.v1.event_pb2 import ConversationEvent
from deskmesh.tickets.v1 import ticket_service_pb2, ticket_service_pb2_grpc
from deskmesh_client import Delta, Finished, conversations, errors
from deskmesh_client.interceptors import Caller, StreamInterceptor, UnaryInterceptor


async def fail(context: Any, code: grpc.StatusCode, reason: str, retry_after: float | None = None) -> None:
    """End a call as a service of ours does."""
    details = [AnyMessage(), AnyMessage()]
    details[0].Pack(error_details_pb2.ErrorInfo(reason=reason, domain="deskmesh", metadata={"trace_id": "t" * 32}))
    if retry_after is None:
        details.pop()
    else:
        details[1].Pack(error_details_pb2.RetryInfo(retry_delay=Duration(nanos=int(retry_after * 1e9))))
    status = status_pb2.Status(code=code.value[0], message="No.", details=details)
    await context.abort_with_status(rpc_status.to_status(status))


class Scripted:
    """A servicer double: each RPC takes its next step from a list."""

    def __init__(self) -> None:
        self.steps: list[Callable[[Any, Any], Any]] = []
        self.calls: list[tuple[Any, dict[str, str]]] = []

    async def _unary(self, request: Any, context: Any) -> Any:
        self.calls.append((request, dict(context.invocation_metadata())))
        return await self.steps.pop(0)(request, context)

    async def _stream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.calls.append((request, dict(context.invocation_metadata())))
        async for frame in self.steps.pop(0)(request, context):
            yield frame

    WhoAmI = UpdateTicket = CreateTicket = _unary
    Watch = RunTurn = _stream


@asynccontextmanager
async def channel_to(scripted: Scripted, tokens: list[str] | None = None) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server()
    auth_service_pb2_grpc.add_AuthServiceServicer_to_server(
        _only(scripted, auth_service_pb2_grpc.AuthServiceServicer), server
    )
    ticket_service_pb2_grpc.add_TicketServiceServicer_to_server(
        _only(scripted, ticket_service_pb2_grpc.TicketServiceServicer), server
    )
    conversation_service_pb2_grpc.add_ConversationServiceServicer_to_server(
        _only(scripted, conversation_service_pb2_grpc.ConversationServiceServicer), server
    )
    orchestrator_service_pb2_grpc.add_OrchestratorServiceServicer_to_server(
        _only(scripted, orchestrator_service_pb2_grpc.OrchestratorServiceServicer), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    available = tokens or ["token"]

    async def token(renew: bool) -> str | None:
        if renew:
            available.pop(0)
        return available[0]

    caller = Caller(token)
    interceptors = [UnaryInterceptor(caller), StreamInterceptor(caller)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", interceptors=interceptors) as channel:
        yield channel
    await server.stop(None)


def _only(scripted: Scripted, base: type[Any]) -> Any:
    """A servicer of this service whose scripted RPCs are those of `scripted`."""
    names = {
        name: getattr(scripted, name) for name in dir(base) if hasattr(Scripted, name) and not name.startswith("_")
    }
    return type("ScriptedServicer", (base,), {name: staticmethod(method) for name, method in names.items()})()


async def ok_who(_request: Any, _context: Any) -> Any:
    return auth_service_pb2.WhoAmIResponse()


def unary_failure(code: grpc.StatusCode, reason: str, retry_after: float | None = None) -> Callable[[Any, Any], Any]:
    async def step(_request: Any, context: Any) -> Any:
        await fail(context, code, reason, retry_after)

    return step


async def test_a_call_carries_token_trace_and_deadline() -> None:
    scripted = Scripted()

    async def step(request: Any, context: Any) -> Any:
        assert 0 < context.time_remaining() <= 30
        return auth_service_pb2.WhoAmIResponse()

    scripted.steps = [step]
    async with channel_to(scripted) as channel:
        await auth_service_pb2_grpc.AuthServiceStub(channel).WhoAmI(auth_service_pb2.WhoAmIRequest())
    metadata = scripted.calls[0][1]
    assert metadata["authorization"] == "Bearer token"
    assert len(metadata["traceparent"].split("-")[1]) == 32


async def test_a_read_is_repeated_when_a_part_is_down() -> None:
    scripted = Scripted()
    scripted.steps = [unary_failure(grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE", 0.01)] * 2 + [ok_who]
    async with channel_to(scripted) as channel:
        await auth_service_pb2_grpc.AuthServiceStub(channel).WhoAmI(auth_service_pb2.WhoAmIRequest())
    assert len(scripted.calls) == 3


async def test_a_write_that_is_not_repeatable_is_sent_once() -> None:
    scripted = Scripted()
    scripted.steps = [unary_failure(grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE", 0.01)] * 3
    async with channel_to(scripted) as channel:
        stub = ticket_service_pb2_grpc.TicketServiceStub(channel)
        with pytest.raises(errors.Unavailable):
            await stub.UpdateTicket(ticket_service_pb2.UpdateTicketRequest())
    assert len(scripted.calls) == 1


async def test_a_write_with_a_request_id_is_repeated() -> None:
    async def ok(_request: Any, _context: Any) -> Any:
        return ticket_service_pb2.CreateTicketResponse()

    scripted = Scripted()
    scripted.steps = [unary_failure(grpc.StatusCode.UNAVAILABLE, "DRAINING", 0.01), ok]
    async with channel_to(scripted) as channel:
        stub = ticket_service_pb2_grpc.TicketServiceStub(channel)
        await stub.CreateTicket(ticket_service_pb2.CreateTicketRequest(request_id="the same"))
    assert [request.request_id for request, _ in scripted.calls] == ["the same"] * 2


async def test_an_expired_token_is_renewed_once() -> None:
    scripted = Scripted()
    scripted.steps = [unary_failure(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED"), ok_who]
    async with channel_to(scripted, ["old", "new"]) as channel:
        await auth_service_pb2_grpc.AuthServiceStub(channel).WhoAmI(auth_service_pb2.WhoAmIRequest())
    assert [metadata["authorization"] for _, metadata in scripted.calls] == ["Bearer old", "Bearer new"]


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (grpc.StatusCode.NOT_FOUND, "TICKET_NOT_FOUND", errors.NotFound),
        (grpc.StatusCode.ABORTED, "STALE_ETAG", errors.StaleEtag),
        (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED", errors.RequestIdReused),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "MODEL_OVERLOADED", errors.Busy),
        (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID", errors.CredentialsInvalid),
        (grpc.StatusCode.FAILED_PRECONDITION, "CONVERSATION_CLOSED", errors.NotNow),
    ],
)
async def test_a_failure_is_a_class_by_reason(
    code: grpc.StatusCode, reason: str, kind: type[errors.DeskmeshError]
) -> None:
    scripted = Scripted()
    scripted.steps = [unary_failure(code, reason, 1.5)]
    async with channel_to(scripted) as channel:
        with pytest.raises(kind) as caught:
            await auth_service_pb2_grpc.AuthServiceStub(channel).WhoAmI(auth_service_pb2.WhoAmIRequest())
    error = caught.value
    assert (error.code, error.reason, error.retry_after_seconds, error.trace_id) == (code, reason, 1.5, "t" * 32)


async def test_a_watch_goes_on_after_the_last_event_it_saw() -> None:
    def events(first: int, last: int, *, then: grpc.StatusCode | None) -> Callable[[Any, Any], AsyncIterator[Any]]:
        async def step(_request: Any, context: Any) -> AsyncIterator[Any]:
            for offset in range(first, last + 1):
                yield conversation_service_pb2.WatchResponse(event=ConversationEvent(offset=offset))
            if then is not None:
                await fail(context, then, "WATCHER_TOO_SLOW", 0.01)
            yield conversation_service_pb2.WatchResponse(ended=conversation_service_pb2.WatchEnded(last_offset=last))

        return step

    scripted = Scripted()
    scripted.steps = [
        events(1, 3, then=grpc.StatusCode.UNAVAILABLE),
        events(4, 5, then=grpc.StatusCode.RESOURCE_EXHAUSTED),
        events(6, 6, then=None),
    ]
    async with channel_to(scripted) as channel:
        stub = conversation_service_pb2_grpc.ConversationServiceStub(channel)
        seen = [event.offset async for event in conversations.watch(stub, "cnv")]
    assert seen == [1, 2, 3, 4, 5, 6]
    assert [request.from_offset for request, _ in scripted.calls] == [0, 3, 5]


async def test_a_watch_waits_out_a_restart_but_not_an_outage() -> None:
    async def down(_request: Any, context: Any) -> AsyncIterator[Any]:
        await fail(context, grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE", 0.01)
        yield

    async def ended(_request: Any, _context: Any) -> AsyncIterator[Any]:
        yield conversation_service_pb2.WatchResponse(event=ConversationEvent(offset=1))
        yield conversation_service_pb2.WatchResponse(ended=conversation_service_pb2.WatchEnded(last_offset=1))

    scripted = Scripted()
    scripted.steps = [*[down] * 30, ended]
    async with channel_to(scripted) as channel:
        stub = conversation_service_pb2_grpc.ConversationServiceStub(channel)
        assert [event.offset async for event in conversations.watch(stub, "cnv")] == [1]

        scripted.steps = [down] * 1_000
        with pytest.raises(errors.Unavailable):
            await anext(conversations.watch(stub, "cnv", patience_seconds=0.1))
    assert scripted.steps, "it gave up before they were used up"


async def test_a_watch_outlives_the_token_that_opened_it() -> None:
    def events(*offsets: int, ended: bool) -> Callable[[Any, Any], AsyncIterator[Any]]:
        async def step(_request: Any, context: Any) -> AsyncIterator[Any]:
            for offset in offsets:
                yield conversation_service_pb2.WatchResponse(event=ConversationEvent(offset=offset))
            if not ended:
                await fail(context, grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")
            yield conversation_service_pb2.WatchResponse(ended=conversation_service_pb2.WatchEnded())

        return step

    scripted = Scripted()
    # The client's clock is slow: it comes back with the same token, is refused, and renews it.
    scripted.steps = [events(1, 2, ended=False), events(ended=False), events(3, ended=True)]
    async with channel_to(scripted, ["old", "new"]) as channel:
        stub = conversation_service_pb2_grpc.ConversationServiceStub(channel)
        seen = [event.offset async for event in conversations.watch(stub, "cnv")]
    assert seen == [1, 2, 3]
    assert [request.from_offset for request, _ in scripted.calls] == [0, 2, 2]
    assert [metadata["authorization"][7:] for _, metadata in scripted.calls] == ["old", "old", "new"]


async def test_a_stream_that_never_began_is_sent_again() -> None:
    async def refused(_request: Any, context: Any) -> AsyncIterator[Any]:
        await fail(context, grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")
        yield

    async def served(_request: Any, _context: Any) -> AsyncIterator[Any]:
        yield conversation_service_pb2.WatchResponse(ended=conversation_service_pb2.WatchEnded())

    scripted = Scripted()
    scripted.steps = [refused, served]
    async with channel_to(scripted, ["old", "new"]) as channel:
        stub = conversation_service_pb2_grpc.ConversationServiceStub(channel)
        frames = [frame async for frame in stub.Watch(conversation_service_pb2.WatchRequest())]
    assert [frame.WhichOneof("frame") for frame in frames] == ["ended"]
    assert [metadata["authorization"] for _, metadata in scripted.calls] == ["Bearer old", "Bearer new"]


async def test_a_broken_turn_is_joined_again_without_repeating_pieces() -> None:
    def pieces(*texts: str, finished: bool) -> Callable[[Any, Any], AsyncIterator[Any]]:
        async def step(_request: Any, context: Any) -> AsyncIterator[Any]:
            for text in texts:
                yield orchestrator_service_pb2.RunTurnResponse(delta=orchestrator_service_pb2.RunTurnDelta(text=text))
            if not finished:
                await fail(context, grpc.StatusCode.UNAVAILABLE, "DRAINING", 0.01)
            yield orchestrator_service_pb2.RunTurnResponse(finished=orchestrator_service_pb2.RunTurnFinished())

        return step

    scripted = Scripted()
    scripted.steps = [pieces("a", "b", finished=False), pieces("a", "b", "c", finished=True)]
    async with channel_to(scripted) as channel:
        stub = orchestrator_service_pb2_grpc.OrchestratorServiceStub(channel)
        frames = [frame async for frame in conversations.run_turn(stub, "cnv", "question")]
    assert [frame.text for frame in frames if isinstance(frame, Delta)] == ["a", "b", "c"]
    assert isinstance(frames[-1], Finished)
    assert len({request.request_id for request, _ in scripted.calls}) == 1


@pytest.mark.parametrize(
    ("code", "text", "reason", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, "failed to connect", "DEPENDENCY_UNAVAILABLE", errors.Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", "DEADLINE_EXCEEDED", errors.TimedOut),
        (grpc.StatusCode.CANCELLED, "Locally cancelled", "CANCELLED", errors.Cancelled),
        (grpc.StatusCode.UNIMPLEMENTED, "Method not found!", "METHOD_UNKNOWN", errors.DeskmeshError),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "SERVER: Received message larger than max (5 vs. 4)",
            "REQUEST_TOO_LARGE",
            errors.InvalidRequest,
        ),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "overload", "RATE_LIMITED", errors.Busy),
        (grpc.StatusCode.UNKNOWN, "?", "INTERNAL", errors.DeskmeshError),
    ],
)
def test_what_grpc_says_itself_has_a_reason_too(
    code: grpc.StatusCode, text: str, reason: str, kind: type[errors.DeskmeshError]
) -> None:
    nothing = grpc.aio.Metadata()
    error = errors.from_rpc_error(grpc.aio.AioRpcError(code, nothing, nothing, text), "t" * 32)
    assert (type(error), error.reason, error.trace_id) == (kind, reason, "t" * 32)


async def test_a_reset_stream_is_told_as_unavailable() -> None:
    """A failure without details comes from the way, not from a service."""
    metadata = grpc.aio.Metadata()
    reset = grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, metadata, metadata, "Received RST_STREAM with error code 2")
    error = errors.from_rpc_error(reset, "t" * 32)
    assert isinstance(error, errors.Unavailable)
    assert (error.code, error.trace_id) == (grpc.StatusCode.UNAVAILABLE, "t" * 32)
