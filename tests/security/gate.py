"""The real edge before all real services, the web app's pages beside them, and an organization to call as."""

import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry

from laptop.pki import LocalPki
from laptop.stack import WORKLOADS
from laptop.web import application
from mesh.envoy.methods import load_methods
from mesh.envoy.topology import Topology, Upstream
from tests.integration.gateway.rest import Rest
from tests.integration.mesh.envoys import Ground, eventually, free_port
from tests.security.houses import House, Street
from tests.support.server import TestStack, new_folder, remove_folder

PAGES = Path(__file__).parents[2] / "clients" / "web" / "dist"
# Where pages of ours that are being worked on are served from.
WORKSHOP = "http://localhost:5173"


@dataclass
class Gate:
    """The edge, the organization, and its owner's way in by REST."""

    port: int
    ca_file: Path
    house: House
    rest: Rest
    session: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"


@asynccontextmanager
async def gate(stack: TestStack, street: Street) -> AsyncIterator[Gate]:
    """Open the gate. Its limits of calls are off: what is tested asks much."""
    folder = new_folder()
    run = folder / "run"
    run.mkdir()
    (folder / "pki").mkdir()
    for name in ("ca.crt", "ca.key"):
        shutil.copy(stack.folder / "pki" / name, folder / "pki" / name)
    pki = LocalPki(folder / "pki", trust_domain="deskmesh.local", environment="dev", lifetime=timedelta(hours=1))
    pki.ensure(WORKLOADS)
    # Where the edge looks for the public keys.
    (run / "auth.ops.sock").symlink_to(street.services["auth"].settings.ops_socket)
    topology = Topology(
        edge_port=free_port(),
        inference_port=free_port(),
        upstreams=tuple(
            Upstream(name, int(service.address.rpartition(":")[2]), (f"deskmesh.{name}.v1",))
            for name, service in street.services.items()
        ),
        llm_applications=("llm",),
        trust_domain="deskmesh.local",
        environment="dev",
        token_issuer="https://deskmesh.local",
        token_audience="deskmesh",
        pki=folder / "pki",
        run=run,
        envoy=folder / "envoy",
        allowed_origins=(WORKSHOP,),
        limits=(),
        request_seconds=3,
    )
    async with AsyncExitStack() as open_now:
        open_now.callback(remove_folder, folder)
        pages = web.AppRunner(application(PAGES, CollectorRegistry()), access_log=None)
        await pages.setup()
        open_now.push_async_callback(pages.cleanup)
        await web.UnixSite(pages, str(run / "web.sock")).start()
        await open_now.enter_async_context(Ground(folder, topology, pki).envoy("edge", load_methods()))
        ca_file = folder / "pki" / "ca.crt"
        trusted = ssl.create_default_context(cafile=str(ca_file))
        session = await open_now.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusted)))
        house = await street.found("gammanumbat")
        rest = Rest(topology.edge_port, session)
        rest.token = house.people[0].token

        async def lets_in() -> bool:
            return (await rest.call("GET", "/api/v1/me")).status == 200

        await eventually(lets_in, "the edge lets the owner in")
        yield Gate(topology.edge_port, ca_file, house, rest, session)
