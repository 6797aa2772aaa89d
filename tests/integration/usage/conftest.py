"""The usage service on real stores and mTLS, with a clock that tests move."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from services.common.server import serving
from services.usage.app import wire
from services.usage.settings import ModelPrice, UsageSettings
from tests.integration.usage.desk import MODEL, Clock, Desk
from tests.support.server import RunningService, TestStack
from tests.support.valkey import running_valkey


@pytest.fixture(scope="session")
def usage_settings(stack: TestStack) -> Iterator[UsageSettings]:
    """With a Valkey of its own, because tests flush it, and so that no other usage service reads along."""
    prices = {
        "*": ModelPrice(prompt=2_000_000, cached_prompt=1_000_000, completion=4_000_000),
        MODEL: ModelPrice(prompt=1_000_000, cached_prompt=500_000, completion=2_000_000),
    }
    with running_valkey() as redis_url:
        yield stack.settings(
            "usage",
            UsageSettings,
            redis_url=redis_url,
            prices=prices,
            unknown_prompt_tokens=100,
            unknown_completion_tokens=0,
            reap_seconds=0.05,
            takeover_seconds=0.2,
            drain_seconds=0.2,
        )


@pytest_asyncio.fixture(scope="session")
async def running(stack: TestStack, usage_settings: UsageSettings) -> AsyncIterator[tuple[RunningService, Clock]]:
    clock = Clock()
    async with serving("usage", usage_settings, wire, clock=clock) as server:
        service = RunningService("usage", f"127.0.0.1:{server.port}", usage_settings, stack, server.stop)
        yield service, clock
        await service.close()


@pytest.fixture
def desk(running: tuple[RunningService, Clock], organization_id: str) -> Desk:
    service, clock = running
    clock.now = Clock().now
    return Desk(service, organization_id, clock)
