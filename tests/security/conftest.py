"""The services that the tests of this folder share, as they really run, and the door before them."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.security.gate import Gate, gate
from tests.security.houses import Street, street
from tests.support.server import TestStack


@pytest_asyncio.fixture(scope="package")
async def open_street(stack: TestStack) -> AsyncIterator[Street]:
    async with street(stack) as running:
        yield running


@pytest_asyncio.fixture(scope="package")
async def open_gate(stack: TestStack, open_street: Street) -> AsyncIterator[Gate]:
    async with gate(stack, open_street) as running:
        yield running
