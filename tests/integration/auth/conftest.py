"""The auth service on real stores: by itself, with its OAuth endpoints, and beside an organization's own provider."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.integration.auth.acme import acme, unchanged
from tests.integration.auth.people import AuthClient, serve
from tests.integration.auth.programs import Provider, provider_beside
from tests.integration.auth.provider_house import CALLBACK, PUBLIC, House
from tests.support.server import TestStack


@pytest_asyncio.fixture(scope="session")
async def client(stack: TestStack) -> AsyncIterator[AuthClient]:
    async with serve(stack, "own") as served:
        yield served


@pytest_asyncio.fixture(scope="session")
async def provider(stack: TestStack) -> AsyncIterator[Provider]:
    async with provider_beside(stack) as found:
        yield found


@pytest_asyncio.fixture(scope="session")
async def at_home(stack: TestStack) -> AsyncIterator[House]:
    socket = stack.folder / "auth-providers.oauth.sock"
    changes = {
        "public_url": PUBLIC,
        "oauth_socket": socket,
        "identity_provider_ca_file": stack.pki.files("auth")["tls_ca_file"],
        "identity_provider_private_addresses": True,
    }
    async with acme(stack, CALLBACK) as provider, serve(stack, "providers", **changes) as auth:
        yield House(auth, provider, await auth.founder(), socket)


@pytest_asyncio.fixture
async def house(at_home: House) -> House:
    """The house as it was before anybody changed anything."""
    at_home.acme.instead = {}
    at_home.acme.discovery = at_home.acme.tokens = unchanged
    if at_home.changed:
        await at_home.set_up()
        at_home.changed = False
    return at_home
