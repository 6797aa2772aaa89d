"""An orchestrator on real stores, with doubles for the services it calls."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from services.common.settings import ServiceSettings
from services.orchestrator.app import wire
from services.orchestrator.settings import OrchestratorSettings
from tests.integration.orchestrator.desk import Desk
from tests.integration.orchestrator.doubles import Doubles
from tests.support.server import TestStack


@pytest.fixture
def doubles() -> Doubles:
    return Doubles()


@pytest_asyncio.fixture
async def addresses(stack: TestStack, doubles: Doubles) -> AsyncIterator[dict[str, str]]:
    """Where the doubles serve, as settings of an orchestrator."""
    wires = {
        "sessions": doubles.wire_sessions,
        "tickets": doubles.wire_tickets,
        "knowledge": doubles.wire_knowledge,
        "inference": doubles.wire_inference,
        "usage": doubles.wire_usage,
    }
    async with AsyncExitStack() as running:
        yield {
            f"{name}_address": (
                await running.enter_async_context(stack.service(name, ServiceSettings, one, drain_seconds=0.2))
            ).address
            for name, one in wires.items()
        }


@pytest_asyncio.fixture
async def desk(
    stack: TestStack, doubles: Doubles, addresses: dict[str, str], organization_id: str
) -> AsyncIterator[Desk]:
    """A customer before a running orchestrator."""
    settings = {"lease_seconds": 4.0, "drain_seconds": 0.5, **addresses}
    async with stack.service("orchestrator", OrchestratorSettings, wire, **settings) as service:
        yield Desk(service, doubles, organization_id)
