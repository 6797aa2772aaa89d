"""Serves the built web app, behind the edge: on a Unix socket, or on loopback behind a mesh's proxy.

`python -m laptop.web SOCKET|HOST:PORT FOLDER OPS_SOCKET`
"""

import asyncio
import mimetypes
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.process_collector import ProcessCollector

from services.common.logs import configure_logging
from services.common.ops import OpsServer

# Vite puts a hash of the content into these names, so they never change under one name.
HASHED = re.compile(r"^assets/.+-[A-Za-z0-9_-]{8}\.\w+$")
FOREVER = "public, max-age=31536000, immutable"
REVALIDATE = "no-cache"
ENCODINGS = (("br", ".br"), ("gzip", ".gz"))
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
NOT_BUILT = "The web app is not built yet: run `make setup`, then reload this page.\n"


class StaticSite:
    """A folder of files. A folder is its `index.html`; a path that looks like a page and is no file gets the app."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer GET and HEAD. An asset that does not exist is 404, never the page."""
        path = request.match_info["path"]
        file = (self._folder / path).resolve()
        if not file.is_relative_to(self._folder):
            raise web.HTTPNotFound
        if (file / "index.html").is_file():
            path, file = f"{path}/index.html", file / "index.html"
        if not file.is_file():
            if path.startswith("assets/") or "." in path.rpartition("/")[2]:
                raise web.HTTPNotFound
            path, file = "index.html", self._folder / "index.html"
        if not file.is_file():
            return web.Response(status=503, text=NOT_BUILT)
        return self._response(request, path, file)

    @staticmethod
    def _response(request: web.Request, path: str, file: Path) -> web.FileResponse:
        headers = {
            "Cache-Control": FOREVER if HASHED.match(path) else REVALIDATE,
            "Content-Type": mimetypes.guess_type(file.name)[0] or "application/octet-stream",
            "Vary": "Accept-Encoding",
        }
        accepted = {part.split(";")[0].strip() for part in request.headers.get("Accept-Encoding", "").split(",")}
        for encoding, suffix in ENCODINGS:
            packed = file.with_name(file.name + suffix)
            if encoding in accepted and packed.is_file():
                return web.FileResponse(packed, headers={**headers, "Content-Encoding": encoding})
        return web.FileResponse(file, headers=headers)


def application(folder: Path, registry: CollectorRegistry) -> web.Application:
    """The aiohttp application, whose answers are counted in the registry."""
    answers = Counter("deskmesh_web_responses", "Answers, by HTTP status.", ("status",), registry=registry)

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except web.HTTPException as error:
            answers.labels(error.status).inc()
            raise
        answers.labels(response.status).inc()
        return response

    app = web.Application(middlewares=[count])
    app.router.add_get("/{path:.*}", StaticSite(folder).serve)
    return app


async def serve(at: str, folder: Path, ops_socket: Path) -> None:
    """Serve until SIGTERM or SIGINT."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    runner = web.AppRunner(application(folder, registry), access_log=None)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await runner.setup()
    pages = site(runner, at)
    # Apart from the pages' socket, which the edge opens to the world.
    ops = OpsServer(ops_socket, registry)
    await ops.start()
    ops.serving = True
    await pages.start()
    await stop.wait()
    await ops.stop()
    await runner.cleanup()


def site(runner: web.AppRunner, at: str) -> web.BaseSite:
    """Where pages are served. Raises ValueError for an address that others than this machine reach."""
    if "/" in at:
        return web.UnixSite(runner, at)
    # It loads pydantic, for which one machine has no memory to spare.
    from services.common.http import is_loopback, split

    if not is_loopback(at):
        raise ValueError("pages without TLS stand on loopback only")
    return web.TCPSite(runner, *split(at))


if __name__ == "__main__":
    configure_logging("web", os.environ.get("DESKMESH_LOG_LEVEL", "INFO"))
    os.umask(0o077)  # the socket is for this user alone
    asyncio.run(serve(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
