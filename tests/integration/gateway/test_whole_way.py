"""An API key's whole way: made and revoked in the auth service, let in by the gateway and Envoy, for a real client."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration

from deskmesh.auth.v1 import api_key_service_pb2 as keys
from deskmesh.auth.v1 import auth_service_pb2 as auth
from deskmesh.auth.v1 import organization_service_pb2 as organizations
from deskmesh_client import Client, DeskmeshError
from mesh.envoy.methods import load_methods
from mesh.envoy.topology import Upstream
from services.auth.app import wire
from services.auth.settings import AuthSettings
from services.common.ids import new_id
from services.gateway.app import serve
from services.gateway.settings import GatewaySettings
from tests.integration.mesh.envoys import AUTH, Ground, eventually
from tests.support.server import TestStack, new_folder, remove_folder

PASSWORD = "a long enough phrase"
SCOPES = ("members.read",)


@dataclass
class Door:
    """The edge, and the owner of an organization who came in through it."""

    address: str
    ca_file: Path
    owner: Client

    def program(self, api_key: str) -> Client:
        """A client that has a key and nothing else."""
        return Client(self.address, ca_file=self.ca_file, api_key=api_key)


@pytest_asyncio.fixture(scope="module")
async def door(stack: TestStack) -> AsyncIterator[Door]:
    folder = new_folder()
    ground = Ground.make(folder)
    run, pki = ground.topology.run, ground.topology.pki
    sockets = {"ops_socket": run / "auth.ops.sock", "jwks_socket": run / "auth.ops.sock"}
    cheap = {"secrets_folder": folder / "secrets", "password_memory_kib": 64, "password_passes": 1}
    async with AsyncExitStack() as whole:
        service = await whole.enter_async_context(
            stack.service("auth", AuthSettings, wire, **_identity(pki / "auth"), **sockets, **cheap)
        )
        settings = stack.settings(
            "gateway",
            GatewaySettings,
            ops_socket=run / "gateway.ops.sock",
            gateway_socket=run / "gateway.sock",
            auth_address=service.address,
            **_identity(pki / "gateway"),
        )
        await serve(whole, settings)
        port = int(service.address.rpartition(":")[2])
        ground.topology = replace(ground.topology, upstreams=(Upstream("auth", port, (AUTH,)),))
        await whole.enter_async_context(ground.envoy("edge", load_methods()))
        address, ca_file = f"localhost:{ground.topology.edge_port}", pki / "ca.crt"
        owner = await whole.enter_async_context(Client(address, ca_file=ca_file))
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
        yield Door(address, ca_file, owner)
    remove_folder(folder)


def _identity(folder: Path) -> dict[str, Path]:
    return {
        "tls_cert_file": folder / "tls.crt",
        "tls_key_file": folder / "tls.key",
        "tls_ca_file": folder / "ca.crt",
    }


async def _made(door: Door, **values: object) -> keys.CreateApiKeyResponse:
    response: keys.CreateApiKeyResponse = await door.owner.api_keys.CreateApiKey(
        keys.CreateApiKeyRequest(name="Shop backend", scopes=SCOPES, **values)  # type: ignore[arg-type]
    )
    return response


async def _members(client: Client) -> int:
    found = await client.members.ListMembers(organizations.ListMembersRequest())
    return len(found.members)


async def test_a_program_does_what_its_key_allows_and_no_more(door: Door) -> None:
    account = await door.owner.api_keys.CreateServiceAccount(
        keys.CreateServiceAccountRequest(request_id=new_id("req"), name="Backend")
    )
    made = await _made(door, service_account_id=account.service_account.id)
    async with door.program(made.secret) as program:
        assert await _members(program) == 1
        principal = (await program.auth.WhoAmI(auth.WhoAmIRequest())).principal
        assert (principal.user.display_name, list(principal.permissions)) == ("Backend", list(SCOPES))
        with pytest.raises(DeskmeshError) as caught:
            await program.api_keys.ListApiKeys(keys.ListApiKeysRequest())
        assert caught.value.reason == "PERMISSION_MISSING"


async def test_a_revoked_key_is_refused_within_five_seconds(door: Door) -> None:
    made = await _made(door)
    async with door.program(made.secret) as program:
        assert await _members(program) == 1
        began = time.monotonic()
        await door.owner.api_keys.RevokeApiKey(keys.RevokeApiKeyRequest(api_key_id=made.api_key.id))
        reason = ""
        while not reason:
            try:
                await _members(program)
            except DeskmeshError as error:
                reason = error.reason
        assert time.monotonic() - began < 5
        # By what auth announces before the gateway asks again; either way nobody is let in.
        assert reason in ("TOKEN_REVOKED", "API_KEY_INVALID")


async def test_a_key_that_is_none_is_refused_typed(door: Door) -> None:
    made = await _made(door, lifetime=Duration(seconds=60))
    for wrong in (made.secret[:-1] + ("x" if made.secret[-1] != "x" else "y"), "dm_live_"):
        async with door.program(wrong) as program:
            with pytest.raises(DeskmeshError) as caught:
                await _members(program)
            assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNAUTHENTICATED, "API_KEY_INVALID")
