"""Auth, the gateway and the edge as they stand together, without the rest of the stack."""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest_asyncio

from deskmesh.auth.v1 import auth_service_pb2 as auth
from deskmesh_client import Client, DeskmeshError
from mesh.envoy.methods import load_methods
from mesh.envoy.topology import Upstream
from services.auth.app import wire
from services.auth.settings import AuthSettings
from services.common.ids import new_id
from services.common.settings import ServiceSettings
from services.gateway.app import serve
from services.gateway.settings import GatewaySettings
from services.usage.app import wire as wire_usage
from services.usage.settings import ModelPrice, UsageSettings
from tests.integration.gateway.models import Inference
from tests.integration.gateway.rest import Rest
from tests.integration.mesh.envoys import AUTH, Ground, eventually
from tests.support.server import RunningService, TestStack, new_folder, remove_folder

PASSWORD = "a long enough phrase"
# One micro a token.
PRICES = {"*": ModelPrice(prompt=1_000_000, cached_prompt=1_000_000, completion=1_000_000)}


@dataclass
class Door:
    """The edge, and the owner of an organization who came in through it."""

    folder: Path
    port: int
    email: str
    owner: Client
    inference: Inference

    def program(self, api_key: str) -> Client:
        """A client that has a key and nothing else."""
        return Client(f"localhost:{self.port}", ca_file=self.folder / "pki" / "ca.crt", api_key=api_key)


@pytest_asyncio.fixture(scope="session")
async def door(stack: TestStack) -> AsyncIterator[Door]:
    folder = new_folder()
    ground = Ground.make(folder)
    run, pki = ground.topology.run, ground.topology.pki
    sockets = {"ops_socket": run / "auth.ops.sock", "jwks_socket": run / "auth.ops.sock"}
    # Cheap passwords, no limit that tests signing up from the same place fill together, and calls that are counted
    # by Valkey on a busy machine, too.
    eased = {
        "secrets_folder": folder / "secrets",
        "password_memory_kib": 64,
        "password_passes": 1,
        "sign_ups_per_hour": 100_000,
        "count_timeout_seconds": 30.0,
    }
    async with AsyncExitStack() as whole:
        service = await whole.enter_async_context(
            stack.service("auth", AuthSettings, wire, **_identity(pki / "auth"), **sockets, **eased)
        )
        inference = Inference()
        database = {
            "database_url": stack.postgres.url("usage"),
            "jwks_socket": run / "auth.ops.sock",
            "drain_seconds": 0.2,
        }
        models = await whole.enter_async_context(
            stack.service("inference", ServiceSettings, inference.wire, **database, **_identity(pki / "inference"))
        )
        # It stays for the whole run, and must not reap what tests of the usage service hold by a clock of their own.
        of_usage = {"prices": PRICES, "reap_seconds": 3600.0}
        usage = await whole.enter_async_context(
            stack.service("usage", UsageSettings, wire_usage, **of_usage, **database, **_identity(pki / "usage"))
        )
        settings = stack.settings(
            "gateway",
            GatewaySettings,
            ops_socket=run / "gateway.ops.sock",
            jwks_socket=run / "auth.ops.sock",
            gateway_socket=run / "gateway.sock",
            openai_socket=run / "openai.sock",
            auth_address=service.address,
            inference_address=models.address,
            usage_address=usage.address,
            **_identity(pki / "gateway"),
        )
        await serve(whole, settings)
        upstreams = (
            Upstream("auth", _port(service), (AUTH,)),
            Upstream("usage", _port(usage), ("deskmesh.usage.v1",)),
        )
        ground.topology = replace(ground.topology, upstreams=upstreams)
        await whole.enter_async_context(ground.envoy("edge", load_methods()))
        port = ground.topology.edge_port
        owner = await whole.enter_async_context(Client(f"localhost:{port}", ca_file=pki / "ca.crt"))
        slug = new_id("o").replace("_", "-")

        async def signed_up() -> bool:
            request = auth.SignUpRequest(
                email=f"{slug}@example.com",
                password=PASSWORD,
                display_name="Olive",
                new_organization=auth.NewOrganization(slug=slug, name="A shop"),
            )
            try:
                await owner.auth.SignUp(request)
                await owner.sign_in(request.email, PASSWORD)
                await owner.auth.WhoAmI(auth.WhoAmIRequest())
            except DeskmeshError as error:
                return error.reason == "EMAIL_TAKEN"
            return True

        await eventually(signed_up, "the edge lets people in")
        yield Door(folder, port, f"{slug}@example.com", owner, inference)
    remove_folder(folder)


def _identity(folder: Path) -> dict[str, Path]:
    return {
        "tls_cert_file": folder / "tls.crt",
        "tls_key_file": folder / "tls.key",
        "tls_ca_file": folder / "ca.crt",
    }


def _port(service: RunningService) -> int:
    return int(service.address.rpartition(":")[2])


@pytest_asyncio.fixture(scope="module")
async def rest(door: Door) -> AsyncIterator[Rest]:
    trusted = ssl.create_default_context(cafile=str(door.folder / "pki" / "ca.crt"))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusted)) as session:
        rest = Rest(door.port, session)
        signed_in = await rest.call("POST", "/api/v1/auth:signIn", json={"email": door.email, "password": PASSWORD})
        rest.token = signed_in.json["tokens"]["access_token"]
        yield rest
