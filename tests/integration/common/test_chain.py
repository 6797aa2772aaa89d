"""Every RPC of a served process passes the concerns in their order, and every failure carries its details."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import grpc
import pytest_asyncio

from services.common.server import Platform, ServicerRegistration
from services.common.settings import ServiceSettings
from tests.support.echo import EchoRequest, EchoServicer, EchoStub, add_to_server
from tests.support.server import RunningService, TestStack, refused


async def wire(_stack: AsyncExitStack, _platform: Platform[ServiceSettings]) -> list[ServicerRegistration]:
    return [ServicerRegistration(add_to_server, EchoServicer())]


@pytest_asyncio.fixture
async def service(stack: TestStack) -> AsyncIterator[RunningService]:
    async with stack.service("tickets", ServiceSettings, wire) as running:
        yield running


async def test_a_signed_in_person_is_served(service: RunningService, organization_id: str) -> None:
    stub = EchoStub(service.channel("edge"))
    response = await stub.Echo(EchoRequest(text="hello"), metadata=service.person(organization_id, "usr_1", "agent"))
    assert response.text == "hello"


async def test_without_a_token_the_edge_is_refused(service: RunningService) -> None:
    async with refused() as refusal:
        await EchoStub(service.channel("edge")).Echo(EchoRequest(text="hello"))
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
    assert len(refusal.error.metadata["trace_id"]) == 32
