"""A service made up at run time, with one RPC of every kind of policy, for tests and benchmarks of the interceptors."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from buf.validate import validate_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from deskmesh.common.v1 import policy_pb2

PACKAGE = "deskmesh.testing.v1"
SERVICE = f"{PACKAGE}.EchoService"

_STRING = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_OPTIONAL = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
_OPTION: Any = policy_pb2.policy
_FIELD_RULE: Any = validate_pb2.field


def _policy(idempotency: Any = policy_pb2.IDEMPOTENCY_READ, **rules: Any) -> policy_pb2.Policy:
    callers = rules.pop("callers", ("edge", "orchestrator"))
    rate_class = rules.pop("rate_class", policy_pb2.RATE_CLASS_READ)
    return policy_pb2.Policy(callers=callers, idempotency=idempotency, rate_class=rate_class, **rules)


POLICIES = {
    "Echo": _policy(permission="tickets.read"),
    "Anonymous": _policy(anonymous=True),
    "Internal": _policy(callers=("orchestrator",)),
    "Publish": _policy(permission="articles.publish"),
    "Dangerous": _policy(permission="tickets.read", step_up=True),
    "Create": _policy(policy_pb2.IDEMPOTENCY_REQUEST_ID, permission="tickets.create"),
    "Watch": _policy(permission="tickets.read", rate_class=policy_pb2.RATE_CLASS_STREAM),
    "Collect": _policy(policy_pb2.IDEMPOTENCY_NONE, permission="tickets.read"),
    "Talk": _policy(policy_pb2.IDEMPOTENCY_NONE, permission="tickets.read"),
}
CLIENT_STREAMING = frozenset({"Collect", "Talk"})
SERVER_STREAMING = frozenset({"Watch", "Talk"})


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="deskmesh/testing/v1/echo_service.proto",
        package=PACKAGE,
        syntax="proto3",
        dependency=["buf/validate/validate.proto", "deskmesh/common/v1/policy.proto"],
    )
    for message in ("EchoRequest", "EchoResponse"):
        proto = file.message_type.add(name=message)
        text = proto.field.add(name="text", number=1, type=_STRING, label=_OPTIONAL)
        if message == "EchoRequest":
            text.options.Extensions[_FIELD_RULE].string.min_len = 1
            text.options.Extensions[_FIELD_RULE].string.max_bytes = 1 << 22
            proto.field.add(name="request_id", number=2, type=_STRING, label=_OPTIONAL)
    service = file.service.add(name="EchoService")
    for name, policy in POLICIES.items():
        method = service.method.add(
            name=name,
            input_type=f".{PACKAGE}.EchoRequest",
            output_type=f".{PACKAGE}.EchoResponse",
            client_streaming=name in CLIENT_STREAMING,
            server_streaming=name in SERVER_STREAMING,
        )
        method.options.Extensions[_OPTION].CopyFrom(policy)
    return file


_pool = descriptor_pool.Default()
_pool.AddSerializedFile(_file().SerializeToString())
EchoRequest: Callable[..., Any] = message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.EchoRequest"))
EchoResponse: Callable[..., Any] = message_factory.GetMessageClass(
    _pool.FindMessageTypeByName(f"{PACKAGE}.EchoResponse")
)

Behaviour = Callable[[Any], Awaitable[str]]


class EchoServicer:
    """Answers with the text of the request; `behaviour`, if given, decides what unary calls and streams answer."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self._behaviour = behaviour

    async def unary(self, request: Any, context: Any) -> Message:
        text = request.text if self._behaviour is None else await self._behaviour(request)
        response: Message = EchoResponse(text=text)
        return response

    async def watch(self, request: Any, context: Any) -> AsyncIterator[Message]:
        """The text three times, then silence until the call ends; "end" ends at once after them."""
        for _ in range(3):
            yield await self.unary(request, context)
        if request.text != "end":
            await asyncio.Event().wait()

    async def collect(self, requests: AsyncIterator[Any], context: Any) -> Message:
        response: Message = EchoResponse(text=",".join([request.text async for request in requests]))
        return response

    async def talk(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Message]:
        async for request in requests:
            yield EchoResponse(text=request.text)


def add_to_server(servicer: EchoServicer, server: Any) -> None:
    """What generated code does for a service of its own."""
    coders: tuple[Any, Any] = (EchoRequest.FromString, lambda message: message.SerializeToString())  # type: ignore[attr-defined]
    handlers: dict[str, Any] = {}
    for name in POLICIES:
        match name in CLIENT_STREAMING, name in SERVER_STREAMING:
            case False, False:
                handlers[name] = grpc.unary_unary_rpc_method_handler(servicer.unary, *coders)
            case False, True:
                handlers[name] = grpc.unary_stream_rpc_method_handler(servicer.watch, *coders)
            case True, False:
                handlers[name] = grpc.stream_unary_rpc_method_handler(servicer.collect, *coders)
            case _:
                handlers[name] = grpc.stream_stream_rpc_method_handler(servicer.talk, *coders)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    if hasattr(server, "add_registered_method_handlers"):
        server.add_registered_method_handlers(SERVICE, handlers)


class EchoStub:
    """The client's side."""

    def __init__(self, channel: Any) -> None:
        def of(name: str) -> Any:
            kind = ("stream" if name in CLIENT_STREAMING else "unary") + (
                "_stream" if name in SERVER_STREAMING else "_unary"
            )
            return getattr(channel, kind)(
                f"/{SERVICE}/{name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=EchoResponse.FromString,  # type: ignore[attr-defined]
            )

        self.Echo, self.Anonymous, self.Internal = of("Echo"), of("Anonymous"), of("Internal")
        self.Publish, self.Create, self.Dangerous = of("Publish"), of("Create"), of("Dangerous")
        self.Watch, self.Collect, self.Talk = of("Watch"), of("Collect"), of("Talk")
