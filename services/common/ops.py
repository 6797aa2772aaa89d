"""The ops HTTP server of a process, on a Unix socket: metrics, liveness, readiness and what a service adds."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Check = Callable[[], Awaitable[None]]
READINESS_TIMEOUT_SECONDS = 3.0


class OpsServer:
    """Routes are added while the service is wired, before `start`. `/readyz` runs every check added.

    `/serving` runs none: a store that is away takes from the work what needs it, and no process out of it.
    """

    def __init__(self, socket: Path, registry: CollectorRegistry) -> None:
        self._socket = socket
        self._registry = registry
        self._checks: dict[str, Check] = {}
        self._app = web.Application()
        self._runner: web.AppRunner | None = None
        self.serving = False
        self.add_route("/metrics", self._metrics)
        self.add_route("/healthz", self._healthz)
        self.add_route("/serving", self._serving)
        self.add_route("/readyz", self._readyz)

    def add_route(self, path: str, handler: Handler) -> None:
        """Answer GET requests for `path`."""
        self._app.router.add_get(path, handler)

    def add_check(self, name: str, check: Check) -> None:
        """Ready only while `check` returns; what it raises makes the process not ready."""
        self._checks[name] = check

    async def start(self) -> None:
        """Listen; a socket left behind by a dead process is replaced."""
        self._socket.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self._socket.unlink()
        self._runner = web.AppRunner(self._app, access_log=None)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self._socket)).start()

    async def stop(self) -> None:
        """Stop listening and remove the socket."""
        if self._runner is not None:
            await self._runner.cleanup()
            with contextlib.suppress(FileNotFoundError):
                self._socket.unlink()

    async def _metrics(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthz(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response({"alive": True})

    async def _serving(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response({"serving": self.serving}, status=200 if self.serving else 503)

    async def _readyz(self, _request: web.Request) -> web.StreamResponse:
        results = await asyncio.gather(*(self._passes(name, check) for name, check in self._checks.items()))
        checks = dict(zip(self._checks, results, strict=True))
        ready = self.serving and all(results)
        return web.json_response({"ready": ready, "checks": checks}, status=200 if ready else 503)

    async def _passes(self, name: str, check: Check) -> bool:
        try:
            async with asyncio.timeout(READINESS_TIMEOUT_SECONDS):
                await check()
        except Exception:
            logger.warning("readiness check failed", extra={"check": name}, exc_info=True)
            return False
        return True
