"""Answers for the metrics of the whole stack: `/metrics`, or `/metrics/NAME` for one process.

It listens on a Unix socket, and on a port of loopback if one is given, for a Prometheus that runs beside.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from laptop.metrics import exposition, processes
from laptop.metrics.scrape import scrape
from laptop.metrics.stores import Gather
from laptop.specs import ProcessSpec
from laptop.supervisor import Supervisor

SUPERVISOR = "supervisor"


class _Found(Collector):
    """Metrics that are known already."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = tuple(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def text_of(metrics: Iterable[Metric]) -> str:
    """Metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Found(metrics))
    return generate_latest(registry).decode()


class MetricsServer:
    """`stores` are named after the processes they speak for."""

    def __init__(self, supervisor: Supervisor, specs: Sequence[ProcessSpec], stores: Mapping[str, Gather]) -> None:
        self._supervisor = supervisor
        self._specs = {spec.name: spec for spec in specs if spec.metrics}
        self._stores = stores
        self._own = CollectorRegistry()
        ProcessCollector(registry=self._own)
        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        app.router.add_get("/metrics/{name}", self._answer)
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self, socket: Path, port: int = 0) -> None:
        """Listen. Raises OSError when the port is taken."""
        await self._runner.setup()
        await web.UnixSite(self._runner, str(socket)).start()
        if port:
            await web.TCPSite(self._runner, "127.0.0.1", port).start()

    async def stop(self) -> None:
        """Stop listening; a scrape under way is cut."""
        with contextlib.suppress(asyncio.CancelledError):
            await self._runner.cleanup()

    async def text(self, only: str = "") -> str:
        """All metrics, or those of one process. Raises KeyError for a name that nobody has."""
        known = {*self._specs, *self._stores, SUPERVISOR, *self._supervisor.names}
        if only and only not in known:
            raise KeyError(only)
        specs = [spec for name, spec in self._specs.items() if only in ("", name)]
        gathers = {name: gather for name, gather in self._stores.items() if only in ("", name)}
        scraped = await asyncio.gather(*(scrape(spec) for spec in specs))
        gathered = await asyncio.gather(*(gather() for gather in gathers.values()))
        answered = {spec.name: fine for spec, (_, fine) in zip(specs, scraped, strict=True)}
        seen = processes.families(self._supervisor.status(), answered)
        documents = [
            (SUPERVISOR, generate_latest(self._own).decode() + text_of(seen)),
            *((spec.name, text) for spec, (text, _) in zip(specs, scraped, strict=True)),
            *((name, text_of(metrics)) for name, metrics in zip(gathers, gathered, strict=True)),
        ]
        # Thousands of lines from the Envoys: not on the loop that watches the processes.
        return await asyncio.to_thread(exposition.merge, documents, only=only)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await self.text(request.match_info.get("name", ""))
        except KeyError:
            raise web.HTTPNotFound(text="No process of this name.\n") from None
        return web.Response(body=body.encode(), headers={"Content-Type": CONTENT_TYPE_LATEST})
