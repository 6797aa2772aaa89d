"""HTTP without TLS, for nobody but the proxy in front: on a Unix socket, or on loopback behind a mesh's proxy."""

import ipaddress
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import aiohttp
from aiohttp import web
from pydantic import AfterValidator


def _on_loopback(address: str) -> str:
    if address:
        if not is_loopback(address):
            raise ValueError("HTTP without TLS stands on loopback only")
        if not 0 <= split(address)[1] < 65536:
            raise ValueError("no port")
    return address


def is_loopback(address: str) -> bool:
    """Whether nobody but this machine, or this pod, reaches "host:port". Raises ValueError for a name."""
    return ipaddress.ip_address(split(address)[0]).is_loopback


# "127.0.0.1:7181" or "[::1]:7181"; empty for none.
LoopbackAddress = Annotated[str, AfterValidator(_on_loopback)]


def way_to(at: Path | str) -> tuple[aiohttp.BaseConnector, str]:
    """How to ask what listens at a socket or an address: a connector, to be closed, and what URLs begin with."""
    if isinstance(at, Path):
        return aiohttp.UnixConnector(path=str(at)), "http://localhost"
    return aiohttp.TCPConnector(), f"http://{at}"


def split(address: str) -> tuple[str, int]:
    """Host and port. Raises ValueError."""
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


async def listen(
    stack: AsyncExitStack, runner: web.AppRunner, *, socket: Path | None = None, address: str = ""
) -> int | None:
    """Serve on either or both until the stack is left. Returns the port that was bound, None without an address.

    Whoever reaches either is believed what a proxy says, such as where a request came from.
    """
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    if socket is not None:
        _make_way(socket)
        await web.UnixSite(runner, str(socket)).start()
        os.chmod(socket, 0o600)
    if not address:
        return None
    await web.TCPSite(runner, *split(address)).start()
    return int(runner.addresses[-1][1])


def _make_way(socket: Path) -> None:
    """A socket left behind by a dead process is replaced."""
    socket.parent.mkdir(parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)
