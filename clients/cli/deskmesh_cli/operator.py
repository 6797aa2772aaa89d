"""How commands reach services that no door leads to: with this machine's own certificate, and a person's token."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import grpc.aio

from deskmesh_cli.connection import Person, connected
from deskmesh_client import Client
from deskmesh_client.errors import from_rpc_error
from laptop.settings import StackSettings

Answer = TypeVar("Answer")
DEADLINE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Operator:
    """A channel to a service, and the headers of a person's calls."""

    channel: grpc.aio.Channel
    headers: tuple[tuple[str, str], ...]
    client: Client

    async def renewed(self) -> "Operator":
        """The same with a token that holds on, for whoever stays. Raises DeskmeshError."""
        return replace(self, headers=await _headers(self.client))


@asynccontextmanager
async def operating(service: str, person: Person) -> AsyncIterator[Operator]:
    """A channel to a service's own port, for a person who is signed in. Raises NoSignIn or DeskmeshError."""
    # Imported where it is needed: most commands need none of it, and start sooner without.
    from laptop.stack import SERVICES

    async with connected(person) as client, _channel(service, SERVICES[service]) as channel:
        yield Operator(channel, await _headers(client), client)


@asynccontextmanager
async def inference() -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the sidecar of the models, for this machine itself."""
    from laptop.stack import INFERENCE_OFFSET

    async with _channel("inference", INFERENCE_OFFSET) as channel:
        yield channel


async def answered(call: Awaitable[Answer]) -> Answer:
    """The answer of a call. Raises DeskmeshError."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error


async def _headers(client: Client) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {await client.access_token()}"),)


@asynccontextmanager
async def _channel(service: str, offset: int) -> AsyncIterator[grpc.aio.Channel]:
    from services.common.tls import Material, channel_credentials

    settings = StackSettings()
    folder = settings.paths.pki / "laptop"
    material = Material(
        key=(folder / "tls.key").read_bytes(),
        certificate=(folder / "tls.crt").read_bytes(),
        authority=(folder / "ca.crt").read_bytes(),
    )
    options = [("grpc.ssl_target_name_override", service), ("grpc.default_authority", service)]
    address = f"127.0.0.1:{settings.base_port + offset}"
    async with grpc.aio.secure_channel(address, channel_credentials(material), options) as channel:
        yield channel
