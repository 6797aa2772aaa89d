"""Services whose use cases are doubles: real mutual TLS, real interceptors, and answers that say who was let in."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from mesh.policy.table import services
from services.common.context import caller
from services.common.interceptors.chain import ConcernedServer, Concerns, OpenStreams

KNOWN_AS = "known-as"


def services_of(callee: str) -> list[ServiceDescriptor]:
    """The services that a workload hosts, by the name of their package."""
    return [service for service in services() if service.file.package.split(".")[1] == callee]


def request_for(method: MethodDescriptor) -> bytes:
    """A request that says nothing but a request_id where there is one."""
    request = message_factory.GetMessageClass(method.input_type)()
    if "request_id" in method.input_type.fields_by_name:
        request.request_id = "conformance"  # type: ignore[attr-defined]
    return request.SerializeToString()


def add_doubles(server: ConcernedServer, service: ServiceDescriptor) -> None:
    """Register a double of every RPC: it answers with nothing but, in its trailers, whom it knows the caller as."""
    handlers = {method.name: _handler(method) for method in service.methods}
    server.add_registered_method_handlers(service.full_name, handlers)


def _handler(method: MethodDescriptor) -> Any:
    request, response = (message_factory.GetMessageClass(one) for one in (method.input_type, method.output_type))
    coders = (request.FromString, response.SerializeToString)

    def say_who(context: Any) -> Any:
        found = caller()
        who = json.dumps([found.workload, found.organization_id, found.user_id])
        context.set_trailing_metadata(((KNOWN_AS, who),))
        return response()

    async def one(_request: Any, context: Any) -> Any:
        return say_who(context)

    async def many(_request: Any, context: Any) -> AsyncIterator[Any]:
        yield say_who(context)

    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    make: Any = getattr(grpc, f"{kind}_rpc_method_handler")
    return make(many if method.server_streaming else one, *coders)


@asynccontextmanager
async def serving(
    callee: str, port: int, concerns: Concerns, credentials: grpc.ServerCredentials | None
) -> AsyncIterator[Sequence[str]]:
    """Serve doubles of all that a workload hosts on a loopback port; without credentials as a replica of Ray Serve."""
    server = grpc.aio.server()
    concerned = ConcernedServer(server, concerns, OpenStreams())
    for service in services_of(callee):
        add_doubles(concerned, service)
    servicer = health.HealthServicer()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    address = f"127.0.0.1:{port}"
    if credentials is None:
        server.add_insecure_port(address)
    else:
        server.add_secure_port(address, credentials)
    await server.start()
    try:
        yield concerned.service_names
    finally:
        await server.stop(grace=None)
