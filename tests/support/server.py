"""A service in the test's own process: real mTLS, real interceptors, real stores.

async with stack.service("tickets", TicketsSettings, wire) as service:
    stub = TicketServiceStub(service.channel("edge"))
    await stub.GetTicket(request, metadata=service.person(org, user, "agent"))
"""

import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio

from services.common.errors import RemoteError, from_rpc_error
from services.common.interceptors.identity import ACTING_ORGANIZATION, ACTING_ROLES, ACTING_USER
from services.common.server import Wire, serving
from services.common.settings import ServiceSettings
from services.common.tls import CertificateFiles, channel_credentials
from tests.support.pki import TestPki, TokenIssuer
from tests.support.postgres import Postgres

SettingsT = TypeVar("SettingsT", bound=ServiceSettings)
Headers = tuple[tuple[str, str], ...]


@dataclass
class TestStack:
    """What services in tests share: stores, certificates, tokens."""

    __test__ = False

    postgres: Postgres
    redis_url: str
    pki: TestPki
    tokens: TokenIssuer
    folder: Path

    def settings(self, name: str, kind: type[SettingsT], **changes: Any) -> SettingsT:
        """Settings of a service in this stack; `changes` replace or add values."""
        values: dict[str, Any] = {
            "database_url": self.postgres.url(name),
            "redis_url": self.redis_url,
            "listen_address": "127.0.0.1:0",
            "ops_socket": self.folder / f"{name}-{secrets.token_hex(4)}.sock",
            "jwks_socket": self.folder / "jwks.sock",
            "drain_seconds": 2.0,
            **self.pki.files(name),
        }
        return kind(**values | changes)

    @asynccontextmanager
    async def service(
        self, name: str, kind: type[SettingsT], wire: Wire[SettingsT], **changes: Any
    ) -> AsyncIterator["RunningService"]:
        """Run a service on a free port until the block ends."""
        settings = self.settings(name, kind, **changes)
        async with serving(name, settings, wire) as server:
            running = RunningService(name, f"127.0.0.1:{server.port}", settings, self, server.stop)
            try:
                yield running
            finally:
                await running.close()

    def person(self, organization_id: str, user_id: str, *roles: str) -> Headers:
        """Headers of a call by a person who is signed in."""
        token = self.tokens.token(organization_id=organization_id, user_id=user_id, roles=roles)
        return (("authorization", f"Bearer {token}"),)


@dataclass
class RunningService:
    """A service being served, and channels to it."""

    name: str
    address: str
    settings: ServiceSettings
    stack: TestStack
    # Ends the service before the block does, draining.
    stop: Callable[[], Awaitable[None]]
    _channels: dict[str, grpc.aio.Channel] = field(default_factory=dict)

    def channel(self, workload: str) -> grpc.aio.Channel:
        """A plain gRPC channel with the certificate of `workload`; it adds nothing to a call."""
        if workload not in self._channels:
            self.stack.pki.issue(workload)
            self._channels[workload] = self.new_channel(self.stack.pki, workload)
        return self._channels[workload]

    def new_channel(self, pki: TestPki, workload: str) -> grpc.aio.Channel:
        """A channel of its own, with a certificate of any authority; the caller closes it."""
        files = pki.files(workload)
        material = CertificateFiles(self.settings.model_copy(update=files)).read()
        options = [("grpc.ssl_target_name_override", self.name), ("grpc.use_local_subchannel_pool", 1)]
        return grpc.aio.secure_channel(self.address, channel_credentials(material), options)

    def person(self, organization_id: str, user_id: str, *roles: str) -> Headers:
        """Headers of a call by a person who is signed in; use a channel of "edge"."""
        return self.stack.person(organization_id, user_id, *roles)

    async def close(self) -> None:
        """Close the channels."""
        for channel in self._channels.values():
            await channel.close()


def acting(organization_id: str, user_id: str = "", roles: Sequence[str] = ()) -> Headers:
    """Headers of a call by a workload that acts for a person."""
    return (
        (ACTING_ORGANIZATION, organization_id),
        (ACTING_USER, user_id),
        (ACTING_ROLES, ",".join(roles)),
    )


@asynccontextmanager
async def refused() -> AsyncIterator["Refusal"]:
    """Expects the call in the block to fail; afterwards `refusal.error` holds the decoded details."""
    refusal = Refusal()
    try:
        yield refusal
    except grpc.aio.AioRpcError as error:
        refusal.error = from_rpc_error(error)
    else:
        raise AssertionError("the call was expected to fail")


class Refusal:
    """The decoded failure of a call."""

    error: RemoteError


def new_folder() -> Path:
    """A folder with a path short enough for Unix sockets."""
    return Path(tempfile.mkdtemp(prefix="dm-"))


def remove_folder(folder: Path) -> None:
    """Take a folder away with all that is in it."""
    shutil.rmtree(folder, ignore_errors=True)
