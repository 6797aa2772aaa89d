"""A service as a process of its own, as it runs in production, and certificates replaced while it runs."""

import asyncio
import os
import secrets
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import psutil
import pytest
from cryptography import x509

from deskmesh.auth.v1 import auth_service_pb2 as auth
from deskmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from services.common.clients import ChannelFactory, RotatingChannel, acting_as
from services.common.context import Caller
from services.common.permissions import permissions_of
from services.common.server import Platform, ServicerRegistration
from services.common.settings import ServiceSettings
from services.common.tls import CertificateFiles
from tests.integration.common.test_chain import behave
from tests.support.echo import EchoRequest, EchoServicer, EchoStub, add_to_server
from tests.support.pki import TestPki
from tests.support.server import RunningService, TestStack, refused


@asynccontextmanager
async def auth_process(stack: TestStack, folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, Path]]:
    """The auth service on a free port; yields it and its ops socket once it is ready."""
    ops = stack.folder / f"{secrets.token_hex(4)}.sock"
    settings = {
        "DATABASE_URL": stack.postgres.url("auth"),
        "REDIS_URL": stack.redis_url,
        "LISTEN_ADDRESS": "127.0.0.1:0",
        "OPS_SOCKET": ops,
        "JWKS_SOCKET": ops,
        "SECRETS_FOLDER": stack.folder / "secrets",
        # The Valkey is shared with tests that sign up from the same place.
        "SIGN_UPS_PER_HOUR": 100_000,
        **{name.upper(): path for name, path in stack.pki.files("auth").items()},
    }
    environment = os.environ | {f"DESKMESH_{name}": str(value) for name, value in settings.items()}
    log = (folder / "log").open("wb")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.auth", env=environment, stderr=log, start_new_session=True
    )
    log.close()
    try:
        await _ready(process, ops)
        yield process, ops
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _ready(process: asyncio.subprocess.Process, ops: Path) -> None:
    for _ in range(300):
        assert process.returncode is None
        with suppress(aiohttp.ClientConnectionError):
            if (await _get(ops, "/readyz"))[0] == 200:
                return
        await asyncio.sleep(0.1)
    raise AssertionError("the process did not become ready")


async def _get(ops: Path, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(ops))) as session,
        session.get(f"http://ops{path}") as response,
    ):
        return response.status, await response.text()


async def test_a_process_becomes_ready_publishes_its_keys_and_ends_on_sigterm(stack: TestStack, tmp_path: Path) -> None:
    async with auth_process(stack, tmp_path) as (process, ops):
        assert '"Ed25519"' in (await _get(ops, "/.well-known/jwks.json"))[1]
        assert '"database": true' in (await _get(ops, "/readyz"))[1]
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 15) == 0
        assert ops.name not in os.listdir(stack.folder)
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines
    assert all(line.startswith('{"time": ') for line in lines)
    assert stack.postgres.url("auth") not in "".join(lines)


async def wire(_stack: AsyncExitStack, _platform: Platform[ServiceSettings]) -> list[ServicerRegistration]:
    return [ServicerRegistration(add_to_server, EchoServicer(behave))]


@asynccontextmanager
async def client(pki: TestPki, workload: str, address: str, account: str = "tickets") -> AsyncIterator[RotatingChannel]:
    """A channel as services make it."""
    files: Any = pki.files(workload)
    settings = ServiceSettings.model_construct(None, **files)
    factory = ChannelFactory(CertificateFiles(settings), default_deadline_seconds=5)
    yield factory.channel(address, account)
    await factory.close()


async def test_a_channel_carries_trace_and_person_to_the_other_service(stack: TestStack) -> None:
    async with (
        stack.service("tickets", ServiceSettings, wire) as service,
        client(stack.pki, "orchestrator", service.address) as channel,
    ):
        stub = EchoStub(channel)
        person = Caller("orchestrator", "org_1", "usr_1", ("agent",), permissions_of(("agent",)))
        with acting_as(person):
            assert (await stub.Echo(EchoRequest(text="who"))).text == '["orchestrator", "org_1", "usr_1", ["agent"]]'
            seen = [response.text async for response in stub.Watch(EchoRequest(text="end"))]
        assert seen == ["end"] * 3
        async with refused() as refusal:
            await stub.Echo(EchoRequest(text="who"))
        assert refusal.error.reason == "PERMISSION_MISSING"


async def test_a_server_that_is_another_workload_is_not_called(stack: TestStack) -> None:
    async with (
        stack.service("tickets", ServiceSettings, wire) as service,
        client(stack.pki, "orchestrator", service.address, account="knowledge") as channel,
    ):
        async with refused() as refusal:
            await EchoStub(channel).Internal(EchoRequest(text="hi"), timeout=2)
        assert refusal.error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


async def test_certificates_are_replaced_without_a_failed_call(
    stack: TestStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.common.clients.LOOK_INTERVAL_SECONDS", 0.0)
    async with (
        stack.service("tickets", ServiceSettings, wire) as service,
        client(stack.pki, "orchestrator", service.address) as channel,
    ):
        stub = EchoStub(channel)
        first = channel.current()
        before = await _serial(service)
        failures = 0
        for turn in range(60):
            if turn == 20:
                stack.pki.rotate("tickets")
            if turn == 40:
                stack.pki.rotate("orchestrator")
            answers = await asyncio.gather(
                *(stub.Internal(EchoRequest(text="hi")) for _ in range(5)), return_exceptions=True
            )
            failures += sum(isinstance(answer, BaseException) for answer in answers)
        assert failures == 0
        assert channel.current() is not first
        assert await _serial(service) != before


async def _serial(service: RunningService) -> str:
    """The serial number of the certificate that a new connection is shown."""
    files = service.stack.pki.files("edge")
    context = ssl.create_default_context(cafile=str(files["tls_ca_file"]))
    context.load_cert_chain(files["tls_cert_file"], files["tls_key_file"])
    context.set_alpn_protocols(["h2"])
    host, _, port = service.address.partition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname="tickets")
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return f"{x509.load_der_x509_certificate(certificate).serial_number:x}"


async def test_sign_up_works_against_the_process(stack: TestStack, tmp_path: Path) -> None:
    async with auth_process(stack, tmp_path) as (process, _):
        listening = [
            connection.laddr.port
            for connection in psutil.Process(process.pid).net_connections("tcp")
            if connection.status == "LISTEN"
        ]
        assert len(listening) == 1
        async with client(stack.pki, "edge", f"127.0.0.1:{listening[0]}", "auth") as channel:
            name = secrets.token_hex(6)
            request = auth.SignUpRequest(
                email=f"{name}@example.com",
                password="a long enough phrase",
                display_name="Some Body",
                new_organization=auth.NewOrganization(slug=name, name="A shop"),
            )
            response = await AuthServiceStub(channel).SignUp(request)
            headers = (("authorization", f"Bearer {response.tokens.access_token}"),)
            who = await AuthServiceStub(channel).WhoAmI(auth.WhoAmIRequest(), metadata=headers)
        assert who.principal.user.email == request.email
