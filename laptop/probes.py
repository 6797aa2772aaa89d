"""Ways to ask a process whether it is ready; each answers within a second or two and never raises."""

import asyncio
import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import aiohttp

PROBE_SECONDS = 2.0


class Probe(Protocol):
    """A question with yes or no as its answer."""

    async def __call__(self) -> bool: ...


@dataclass(frozen=True)
class UnixSocketProbe:
    """Somebody accepts connections on the socket."""

    path: Path

    async def __call__(self) -> bool:
        return await _answers(self.path, b"", expected=b"")


@dataclass(frozen=True)
class ValkeyProbe:
    """Valkey answers PING; while it loads its data it does not."""

    path: Path

    async def __call__(self) -> bool:
        return await _answers(self.path, b"PING\r\n", expected=b"+PONG")


@dataclass(frozen=True)
class HttpProbe:
    """GET on a Unix socket gives status 200."""

    path: Path
    target: str

    async def __call__(self) -> bool:
        return await http_get(self.path, self.target) is not None


@dataclass(frozen=True)
class CommandProbe:
    """A program ends with status 0."""

    argv: tuple[str, ...]

    async def __call__(self) -> bool:
        quiet = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*self.argv, stdin=quiet, stdout=quiet, stderr=quiet)
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await process.wait() == 0
        except TimeoutError:
            process.kill()
            await process.wait()
            return False


@dataclass(frozen=True)
class AllProbe:
    """Every one of several says yes."""

    probes: tuple[Probe, ...]

    async def __call__(self) -> bool:
        return all([await probe() for probe in self.probes])


@dataclass(frozen=True)
class EndpointsProbe:
    """An endpoints file of Envoy names at least one replica."""

    file: Path

    async def __call__(self) -> bool:
        try:
            content = json.loads(self.file.read_text())
        except (OSError, ValueError):
            return False
        localities = [one for resource in content["resources"] for one in resource["endpoints"]]
        return any(locality["lb_endpoints"] for locality in localities)


@dataclass(frozen=True)
class EnvoyProbe:
    """Envoy takes requests, and each of its upstreams has hosts that are healthy."""

    admin: Path

    async def __call__(self) -> bool:
        if await http_get(self.admin, "/ready") is None:
            return False
        clusters = await http_get(self.admin, "/clusters?format=json")
        return clusters is not None and not unhealthy_upstreams(clusters)


def unhealthy_upstreams(clusters: bytes) -> list[str]:
    """Names of clusters that have no host or one that fails its health check.

    `clusters` is what Envoy answers to `/clusters?format=json`.
    """
    return [
        cluster["name"]
        for cluster in json.loads(clusters).get("cluster_statuses", ())
        if not cluster.get("host_statuses")
        or any(host.get("health_status", {}).get("failed_active_health_check") for host in cluster["host_statuses"])
    ]


async def http_get(socket: Path, target: str) -> bytes | None:
    """The body of a 200 answer over a Unix socket, None for anything else."""
    timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(socket)), timeout=timeout) as session,
            session.get(f"http://localhost{target}") as response,
        ):
            return await response.read() if response.status == 200 else None
    except (OSError, TimeoutError, aiohttp.ClientError):
        return None


async def _answers(path: Path, request: bytes, *, expected: bytes) -> bool:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(request)
                await writer.drain()
                return not expected or await reader.readexactly(len(expected)) == expected
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
