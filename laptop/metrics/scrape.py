"""Asks a process for its metrics, on a Unix socket or a port of this machine."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import aiohttp

from laptop.specs import MetricsEndpoint, ProcessSpec

SECONDS = 5.0


async def scrape(spec: ProcessSpec) -> tuple[str, bool]:
    """Everything a process says, and whether each of its endpoints answered (a process without any never does)."""
    urls = [url for endpoint in spec.metrics for url in _addresses(endpoint)]
    texts = await asyncio.gather(*(_get(socket, url) for socket, url in urls))
    return "\n".join(text for text in texts if text), bool(texts) and None not in texts


def _addresses(endpoint: MetricsEndpoint) -> Iterator[tuple[Path | None, str]]:
    if not endpoint.address.startswith("/"):
        yield None, f"http://{endpoint.address}{endpoint.path}"
        return
    pattern = Path(endpoint.address)
    for socket in sorted(pattern.parent.glob(pattern.name)):
        yield socket, f"http://localhost{endpoint.path}"


async def _get(socket: Path | None, url: str) -> str | None:
    """The body of a 200 answer, None for anything else."""
    connector = aiohttp.UnixConnector(path=str(socket)) if socket else aiohttp.TCPConnector()
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    try:
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session, session.get(url) as response:
            return await response.text() if response.status == 200 else None
    except (OSError, TimeoutError, aiohttp.ClientError):
        return None
