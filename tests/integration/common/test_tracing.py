"""Sampled calls leave a span with the collector, and what happens in an unsampled call leaves none."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc.aio
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from services.common.server import Platform, ServicerRegistration
from services.common.settings import ServiceSettings
from tests.support.echo import EchoRequest, EchoServicer, EchoStub, add_to_server
from tests.support.server import TestStack

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


class Sink(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the spans it is sent."""

    def __init__(self) -> None:
        self.spans: list[Any] = []

    async def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()


@asynccontextmanager
async def collecting(address: str) -> AsyncIterator[Sink]:
    sink, server = Sink(), grpc.aio.server()
    add: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
    add(sink, server)
    server.add_insecure_port(address)
    await server.start()
    yield sink
    await server.stop(0)


async def behave(request: Any) -> str:
    with trace.get_tracer("test").start_as_current_span("inner"):
        await asyncio.sleep(0)
    text: str = request.text
    return text


async def wire(_stack: AsyncExitStack, _platform: Platform[ServiceSettings]) -> list[ServicerRegistration]:
    return [ServicerRegistration(add_to_server, EchoServicer(behave))]


async def test_only_sampled_calls_are_exported(stack: TestStack, organization_id: str) -> None:
    address = f"unix:{stack.folder / secrets.token_hex(4)}.sock"
    async with (
        collecting(address) as sink,
        stack.service("tickets", ServiceSettings, wire, otlp_endpoint=address, trace_sample_ratio=0.0) as service,
    ):
        stub = EchoStub(service.channel("edge"))
        person = service.person(organization_id, "usr_1", "agent")
        for flags in ("01", "00"):
            header = ("traceparent", f"00-{TRACE_ID}-b7ad6b7169203331-{flags}")
            await stub.Echo(EchoRequest(text="hi"), metadata=(*person, header))
        await stub.Echo(EchoRequest(text="hi"), metadata=person)
        # Spans may come in any number of parcels.
        for _ in range(200):
            if len(sink.spans) > 1:
                break
            await asyncio.sleep(0.1)
    served = next(span for span in sink.spans if span.name == "deskmesh.testing.v1.EchoService/Echo")
    assert served.trace_id.hex() == TRACE_ID
    assert served.parent_span_id.hex() == "b7ad6b7169203331"
    attributes = {item.key: item.value.string_value or item.value.int_value for item in served.attributes}
    assert attributes["rpc.method"] == "Echo"
    assert attributes["deskmesh.organization_id"] == organization_id
    assert sorted(span.name for span in sink.spans) == ["deskmesh.testing.v1.EchoService/Echo", "inner"]
    assert {span.trace_id.hex() for span in sink.spans} == {TRACE_ID}
