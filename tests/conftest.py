"""Fixtures every area shares. The stores are real and start once a session, on first use."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import settings

from services.common.ids import new_id
from tests.support.pki import TestPki, TokenIssuer
from tests.support.postgres import Postgres, running_postgres
from tests.support.server import TestStack, new_folder, remove_folder
from tests.support.valkey import running_valkey

pytest_plugins = ["tests.support.stack"]
# How long an example takes is the machine's doing.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with running_valkey() as url:
        yield url


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    folder = new_folder()
    yield folder
    remove_folder(folder)


@pytest.fixture(scope="session")
def pki(short_folder: Path) -> TestPki:
    return TestPki(short_folder / "pki")


@pytest_asyncio.fixture(scope="session")
async def stack(postgres: Postgres, redis_url: str, pki: TestPki, short_folder: Path) -> AsyncIterator[TestStack]:
    """Stores, certificates and a token issuer; `stack.service(…)` runs a service on them."""
    tokens = TokenIssuer()
    runner = await tokens.serve(short_folder / "jwks.sock")
    yield TestStack(postgres, redis_url, pki, tokens, short_folder)
    await runner.cleanup()


@pytest.fixture
def organization_id() -> str:
    """An organization of this test alone, so that tests share the database without seeing each other."""
    return new_id("org")
