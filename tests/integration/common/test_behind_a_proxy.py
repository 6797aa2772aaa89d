"""A service behind a mesh's proxy: no TLS of its own, and the proxy's word for who calls."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from pydantic import ValidationError

from services.common.clients import ChannelFactory, acting_as
from services.common.context import Caller
from services.common.interceptors.identity import FORWARDED
from services.common.permissions import permissions_of
from services.common.server import Platform, ServicerRegistration
from services.common.settings import ServiceSettings
from tests.integration.common.test_chain import behave
from tests.support.echo import EchoRequest, EchoServicer, EchoStub, add_to_server
from tests.support.server import TestStack, refused


def word(workload: str, namespace: str = "dev", domain: str = "deskmesh.local") -> str:
    """What Istio's proxy says of a caller."""
    us, them = (f"spiffe://{domain}/ns/{namespace}/sa/{name}" for name in ("tickets", workload))
    return f'By={us};Hash=0af1;Subject="";URI={them}'


async def wire(_stack: AsyncExitStack, _platform: Platform[ServiceSettings]) -> list[ServicerRegistration]:
    return [ServicerRegistration(add_to_server, EchoServicer(behave))]


@pytest_asyncio.fixture(scope="module")
async def stub(stack: TestStack) -> AsyncIterator[Any]:
    """Calls as a service behind a proxy makes them; tests add what the callee's proxy would."""
    async with stack.service("tickets", ServiceSettings, wire, behind_proxy=True) as service:
        factory = ChannelFactory(None, default_deadline_seconds=5)
        yield EchoStub(factory.channel(service.address, "tickets"))
        await factory.close()


async def who(stub: Any, said: str, **headers: str) -> str:
    metadata = [(FORWARDED, said)] if said else []
    metadata += list(headers.items())
    return str((await stub.Echo(EchoRequest(text="who"), metadata=metadata)).text)


async def test_a_workload_acts_for_a_person_under_the_name_that_the_proxy_says(stub: Any) -> None:
    with acting_as(Caller("orchestrator", "org_1", "usr_1", ("agent",), permissions_of(("agent",)))):
        known = '["orchestrator", "org_1", "usr_1", ["agent"]]'
        assert await who(stub, word("orchestrator")) == known
        assert await who(stub, f"{word('edge')},{word('orchestrator')}") == known


async def test_the_edge_brings_a_token_and_speaks_for_nobody(stub: Any, stack: TestStack) -> None:
    with acting_as(Caller("edge", "org_1", "usr_1", ("agent",), permissions_of(("agent",)))):
        async with refused() as refusal:
            await who(stub, word("edge"))
    assert refusal.error.reason == "TOKEN_MISSING"
    [(name, value)] = stack.person("org_2", "usr_2", "agent")
    assert await who(stub, word("edge"), **{name: value}) == '["edge", "org_2", "usr_2", ["agent"]]'


@pytest.mark.parametrize(
    "said",
    [
        "",
        "URI=",
        word("orchestrator", "staging"),
        word("orchestrator", domain="elsewhere.local"),
        f"{word('orchestrator')},By=spiffe://deskmesh.local/ns/dev/sa/tickets;Hash=0af1",
        f'{word("edge")};Subject="x,{word("orchestrator")};y";{word("edge")}',
        f"{word('orchestrator')}/more",
    ],
)
async def test_nobody_else_is_anybody(stub: Any, said: str) -> None:
    async with refused() as refusal:
        await who(stub, said)
    assert refusal.error.reason == "WORKLOAD_NOT_ALLOWED"


def settings(stack: TestStack, **changes: Any) -> ServiceSettings:
    return stack.settings("tickets", ServiceSettings, **changes)


def test_without_tls_a_service_stands_on_loopback_only(stack: TestStack) -> None:
    for address in ("0.0.0.0:7100", "10.0.0.7:7100", "[::]:7100"):
        with pytest.raises(ValidationError, match="loopback"):
            settings(stack, behind_proxy=True, listen_address=address)
        assert settings(stack, listen_address=address).behind_proxy is False


def test_no_certificate_is_no_proxy(stack: TestStack) -> None:
    given = settings(stack).model_dump(exclude={"tls_ca_file"})
    with pytest.raises(ValidationError, match="behind_proxy"):
        ServiceSettings(**given)
