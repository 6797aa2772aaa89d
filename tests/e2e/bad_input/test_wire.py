"""What is no call at all, or none that a service sees, is refused with a reason as well."""

import grpc
import pytest

from deskmesh.tickets.v1 import ticket_service_pb2
from deskmesh_client import DeskmeshError
from tests.e2e.bad_input.calls import refusal_of
from tests.support.stack import Stack

SEND_MESSAGE = "/deskmesh.orchestrator.v1.OrchestratorService/SendMessage"


# Field 3 is text: 0xff is no UTF-8; the second is cut off in the middle of a field.
@pytest.mark.parametrize("payload", [b"\x1a\x01\xff", b"\x1a\x7f"], ids=["no UTF-8", "cut off"])
async def test_undecodable_bytes_are_refused(stack: Stack, payload: bytes) -> None:
    async with stack.client("customer") as client:
        token = await client.access_token()
    error = await refusal_of(stack, SEND_MESSAGE, payload, token)
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert error.message == "The request is no message of this method."


@pytest.mark.parametrize(
    "method",
    [
        "/deskmesh.orchestrator.v1.OrchestratorService/Nothing",
        "/deskmesh.nobody.v1.NobodyService/Call",
        "/deskmesh.",
        "/grpc.reflection.v1alpha.ServerReflection/Call",
    ],
)
async def test_an_unknown_method_is_named_as_such(stack: Stack, method: str) -> None:
    error = await refusal_of(stack, method, b"")
    assert (error.code, error.reason) == (grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN")


@pytest.mark.parametrize("mebibytes", [3, 5], ids=["more than a service takes", "more than the edge takes"])
async def test_an_oversized_request_is_named_as_such(stack: Stack, mebibytes: int) -> None:
    async with stack.client("customer") as client:
        token = await client.access_token()
    error = await refusal_of(stack, SEND_MESSAGE, b"\x1a" + bytes(mebibytes << 20), token)
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_TOO_LARGE")


async def test_a_deadline_that_passes_on_the_way_has_a_reason(stack: Stack) -> None:
    async with stack.client("customer") as client:
        await client.access_token()
        with pytest.raises(DeskmeshError) as caught:
            await client.tickets.ListTickets(ticket_service_pb2.ListTicketsRequest(), timeout=0.0005)
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert len(caught.value.trace_id) == 32
