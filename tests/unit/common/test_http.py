"""Where HTTP without TLS may stand."""

import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from services.common.http import LoopbackAddress, listen
from services.common.settings import ServiceSettings

ADDRESS: TypeAdapter[str] = TypeAdapter(LoopbackAddress)


@pytest.mark.parametrize("address", ["", "127.0.0.1:7181", "[::1]:7181", "127.0.0.9:0"])
def test_loopback_or_nowhere(address: str) -> None:
    assert ADDRESS.validate_python(address) == address


@pytest.mark.parametrize(
    "address", ["0.0.0.0:7181", "[::]:7181", "10.0.0.1:80", "localhost:80", ":80", "127.0.0.1", "127.0.0.1:70000"]
)
def test_nowhere_else(address: str) -> None:
    with pytest.raises(ValidationError):
        ADDRESS.validate_python(address)


@pytest_asyncio.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


def runner() -> web.AppRunner:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(text="here")

    app = web.Application()
    app.router.add_get("/", answer)
    return web.AppRunner(app)


async def test_a_socket_and_a_port_answer_alike_until_the_end(stack: AsyncExitStack, tmp_path: Path) -> None:
    socket = tmp_path / "run" / "a.sock"
    socket.parent.mkdir()
    socket.write_text("left behind")
    async with AsyncExitStack() as serving:
        port = await listen(serving, runner(), socket=socket, address="127.0.0.1:0")
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        url = f"http://127.0.0.1:{port}/"
        for connector in (aiohttp.UnixConnector(str(socket)), aiohttp.TCPConnector()):
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            async with session.get(url) as answer:
                assert await answer.text() == "here"
    with pytest.raises(aiohttp.ClientConnectionError):
        await session.get(url)


async def test_without_an_address_there_is_no_port(stack: AsyncExitStack, tmp_path: Path) -> None:
    assert await listen(stack, runner(), socket=tmp_path / "a.sock") is None


@pytest.mark.parametrize(
    ("given", "at"),
    [
        ({"jwks_socket": Path("/run/auth.ops.sock")}, Path("/run/auth.ops.sock")),
        ({"jwks_address": "auth:7180"}, "auth:7180"),
        ({"jwks_socket": Path("/run/auth.ops.sock"), "jwks_address": "auth:7180"}, "auth:7180"),
    ],
)
def test_a_service_knows_whose_tokens_hold_by_a_socket_or_an_address(given: dict[str, Any], at: Path | str) -> None:
    assert settings(**given).issuer_at == at


def test_without_either_it_does_not_start() -> None:
    with pytest.raises(ValidationError, match="jwks_address"):
        settings()


def settings(**given: Any) -> ServiceSettings:
    file = Path("/pki/tls")
    return ServiceSettings(
        database_url="",
        redis_url="",
        listen_address="127.0.0.1:0",
        ops_socket=file,
        tls_cert_file=file,
        tls_key_file=file,
        tls_ca_file=file,
        **given,
    )
