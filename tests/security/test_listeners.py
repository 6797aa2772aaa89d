"""Every port of the running stack: nothing in the clear but Ray on loopback, nobody in without an identity of ours."""

import shutil
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509

from laptop.pki import LocalPki, Workload
from laptop.settings import ENVIRONMENT, TRUST_DOMAIN
from mesh.istio.plan import Plan
from mesh.policy.table import load_table
from services.common.errors import from_rpc_error
from tests.security.callers import STRANGER
from tests.support.server import new_folder, remove_folder
from tests.support.stack import Stack

PLAN = Plan.of(load_table())
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
SECONDS = 5.0
# Ray speaks to itself without TLS, on loopback only; its replicas take calls from the sidecar beside them.
IN_THE_CLEAR = {"ray"}


@dataclass(frozen=True)
class Port:
    """A TCP port that the stack itself says it listens on."""

    process: str
    host: str
    number: int
    tls: bool
    mtls: bool

    @property
    def identity(self) -> str:
        return self.process.removesuffix("-envoy")


@dataclass
class Certificates:
    """Folders with a workload's certificate: of the stack's authority, of another, expired."""

    folder: Path
    stack: Stack

    def ours(self, workload: str) -> Path:
        return self._issued("ours", workload, of_the_stack=True)

    def foreign(self, workload: str) -> Path:
        return self._issued("foreign", workload, of_the_stack=False)

    def expired(self, workload: str) -> Path:
        return self._issued("expired", workload, of_the_stack=True, age=timedelta(hours=2))

    def _issued(self, kind: str, workload: str, *, of_the_stack: bool, age: timedelta = timedelta()) -> Path:
        folder = self.folder / kind
        if not folder.exists():
            folder.mkdir()
            for name in ("ca.crt", "ca.key") if of_the_stack else ():
                shutil.copy(self.stack.home / "pki" / name, folder / name)
        pki = LocalPki(
            folder,
            trust_domain=TRUST_DOMAIN,
            environment=ENVIRONMENT,
            lifetime=timedelta(hours=1),
            clock=lambda: datetime.now(UTC) - age,
        )
        pki.ensure([Workload(workload)])
        return folder / workload


@pytest.fixture(scope="module")
def ports(whole_stack: Stack) -> list[Port]:
    found = []
    for process in whole_stack.deskmesh_json("status")["processes"]:
        for listener in process["listeners"]:
            host, _, number = listener["address"].rpartition(":")
            if number.isdecimal():
                found.append(Port(process["name"], host, int(number), listener["tls"], listener["mtls"]))
    assert any(port.mtls for port in found), "the status tells of no port with mutual TLS"
    return found


@pytest.fixture(scope="module")
def certificates(whole_stack: Stack) -> Iterator[Certificates]:
    folder = new_folder()
    yield Certificates(folder, whole_stack)
    remove_folder(folder)


def answers(stack: Stack, port: Port, certificate: Path | None, version: ssl.TLSVersion | None = None) -> bool:
    """Whether the port speaks HTTP/2 with a caller that has this certificate."""
    context = ssl.create_default_context(cafile=str(stack.ca_file))
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    if version is not None:
        context.minimum_version = context.maximum_version = version
        context.set_ciphers("DEFAULT@SECLEVEL=0")
    if certificate is not None:
        context.load_cert_chain(certificate / "tls.crt", certificate / "tls.key")
    try:
        with (
            socket.create_connection(("127.0.0.1", port.number), timeout=SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=port.identity) as secured,
        ):
            secured.sendall(PREFACE)
            # With TLS 1.3 a certificate is refused after the handshake, in place of the first answer.
            return secured.recv(9) != b""
    except (ssl.SSLError, ConnectionError, TimeoutError):
        return False


def presented(stack: Stack, port: Port, certificate: Path) -> x509.Certificate:
    """The certificate that the port shows."""
    context = ssl.create_default_context(cafile=str(stack.ca_file))
    context.check_hostname = False
    context.load_cert_chain(certificate / "tls.crt", certificate / "tls.key")
    with (
        socket.create_connection(("127.0.0.1", port.number), timeout=SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=port.identity) as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
    assert shown
    return x509.load_der_x509_certificate(shown)


def allowed_at(port: Port) -> str:
    """A workload that may call what stands behind the port."""
    return PLAN.callers_of(port.identity)[0] if port.identity in PLAN.callees else "edge"


def test_every_port_is_on_loopback_and_nothing_but_ray_speaks_in_the_clear(ports: list[Port]) -> None:
    assert {port.process for port in ports if port.mtls} >= {callee for callee in PLAN.callees if callee != "inference"}
    assert [port for port in ports if port.host not in ("127.0.0.1", "::1")] == []
    assert {port.process for port in ports if not port.tls} <= IN_THE_CLEAR
    assert [port.process for port in ports if port.tls and not port.mtls] == ["edge-envoy"]


def test_no_port_with_tls_answers_without_it(ports: list[Port]) -> None:
    for port in (port for port in ports if port.tls):
        with socket.create_connection(("127.0.0.1", port.number), timeout=SECONDS) as plain:
            plain.sendall(PREFACE)
            try:
                said = plain.recv(64)
            except (ConnectionError, TimeoutError):
                said = b""
        # At most a TLS alert, which begins with 0x15; never a frame of HTTP/2.
        assert said[:1] in (b"", b"\x15"), port


def test_every_port_is_who_it_should_be(whole_stack: Stack, ports: list[Port], certificates: Certificates) -> None:
    for port in (port for port in ports if port.tls):
        names = presented(whole_stack, port, certificates.ours(allowed_at(port))).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        [identity] = names.value.get_values_for_type(x509.UniformResourceIdentifier)
        assert identity == f"spiffe://{TRUST_DOMAIN}/ns/{ENVIRONMENT}/sa/{port.identity}"


def test_mutual_tls_takes_only_certificates_of_ours_that_hold(
    whole_stack: Stack, ports: list[Port], certificates: Certificates
) -> None:
    for port in (port for port in ports if port.mtls):
        caller = allowed_at(port)
        assert answers(whole_stack, port, certificates.ours(caller)), port
        assert not answers(whole_stack, port, None), f"{port} without a certificate"
        assert not answers(whole_stack, port, certificates.foreign(caller)), f"{port} of another authority"
        assert not answers(whole_stack, port, certificates.expired(caller)), f"{port} with an expired certificate"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_old_versions_of_tls_are_refused(whole_stack: Stack, ports: list[Port], certificates: Certificates) -> None:
    for port in (port for port in ports if port.tls):
        certificate = certificates.ours(allowed_at(port))
        assert not answers(whole_stack, port, certificate, ssl.TLSVersion.TLSv1_1), port
        assert answers(whole_stack, port, certificate, ssl.TLSVersion.TLSv1_3), port


async def test_an_identity_that_no_policy_names_may_call_nothing(ports: list[Port], certificates: Certificates) -> None:
    stranger = certificates.ours(STRANGER)
    credentials = grpc.ssl_channel_credentials(
        *((stranger / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt"))
    )
    for port in (port for port in ports if port.mtls and port.identity in PLAN.callees):
        options = [("grpc.ssl_target_name_override", port.identity), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.secure_channel(f"127.0.0.1:{port.number}", credentials, options) as channel:
            for rule in PLAN.of_callee(port.identity):
                # Of a stream the first answer is enough, and there is none.
                rpc: Any = channel.unary_unary(rule.method)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await rpc(b"", timeout=SECONDS)
                closed = caught.value.code() is grpc.StatusCode.UNAVAILABLE
                assert closed or from_rpc_error(caught.value).reason == "WORKLOAD_NOT_ALLOWED", rule.method
