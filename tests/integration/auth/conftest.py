"""The auth service on real stores: by itself, and with its OAuth endpoints."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.integration.auth.people import AuthClient, serve
from tests.integration.auth.programs import Provider, provider_beside
from tests.support.server import TestStack


@pytest_asyncio.fixture(scope="session")
async def client(stack: TestStack) -> AsyncIterator[AuthClient]:
    async with serve(stack, "own") as served:
        yield served


@pytest_asyncio.fixture(scope="session")
async def provider(stack: TestStack) -> AsyncIterator[Provider]:
    async with provider_beside(stack) as found:
        yield found
