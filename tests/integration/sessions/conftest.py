"""A sessions service on real stores, a real tokenizer's place taken by nobody unless a test serves one."""

from collections.abc import AsyncIterator

import pytest_asyncio

from services.sessions.app import wire
from services.sessions.settings import SessionsSettings
from tests.integration.sessions.people import People
from tests.support.server import RunningService, TestStack

# Nobody listens there.
NOWHERE = "127.0.0.1:9"


@pytest_asyncio.fixture(scope="session")
async def service(stack: TestStack) -> AsyncIterator[RunningService]:
    """One service for all tests that leave it as they found it."""
    async with stack.service("sessions", SessionsSettings, wire, inference_address=NOWHERE) as running:
        yield running


@pytest_asyncio.fixture
async def people(service: RunningService, organization_id: str) -> People:
    """The people of an organization of this test alone."""
    return People(service, organization_id)
