"""The three that decide, each asked the same way: Envoy, the service itself, and Istio by its manifests."""

import dataclasses
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.protobuf.descriptor import MethodDescriptor
from opentelemetry import trace

from mesh.envoy.endpoints import write_endpoints
from mesh.envoy.methods import load_methods
from mesh.envoy.topology import INFERENCE_PACKAGE, Upstream
from mesh.istio.layout import ENVIRONMENTS
from mesh.istio.plan import EDGE, GATEWAY_PORT, JWKS_PATH, KEYS_PORT, RPC_PORT, TRUST_DOMAIN, Plan
from mesh.policy.table import load_table, services
from serve_apps.assistant.identity import SidecarIdentity
from services.common.errors import from_rpc_error
from services.common.interceptors.identity import FORWARDED
from services.common.server import concerns
from services.common.settings import ServiceSettings
from services.common.telemetry import ServerMetrics
from services.common.tls import CertificateFiles, server_credentials
from services.common.tokens import parse_jwks
from tests.integration.mesh.envoys import Ground, eventually, free_port
from tests.security.callers import ELSEWHERE, STRANGER, WORKLOAD, Caller, Person
from tests.security.doubles import KNOWN_AS, request_for, serving
from tests.security.istio import Answer, Mesh, Request, Workload
from tests.support.manifests import ROOT, manifests
from tests.support.pki import TestPki, TokenIssuer

PLAN = Plan.of(load_table())
INFERENCE = INFERENCE_PACKAGE.split(".")[1]
METHODS: Mapping[str, MethodDescriptor] = {
    f"/{service.full_name}/{method.name}": method for service in services() for method in service.methods
}
SECONDS = 20.0
# No connection at all, which is how mutual TLS refuses a workload.
CLOSED = "closed"


@dataclass(frozen=True)
class Outcome:
    """What came of a call: a reason to refuse it, or "" and as whom the service knew the caller."""

    reason: str
    known_as: tuple[str, str, str] = ("", "", "")


@dataclass
class Enforcers:
    """Both Envoys on their real configuration, and every service with doubles for use cases behind them."""

    ground: Ground
    tokens: TokenIssuer
    ports: Mapping[str, int]
    elsewhere: TestPki
    # The public keys that Istio finds at each address.
    signers: Mapping[str, Mapping[str, Ed25519PublicKey]]
    mesh: Mesh
    _channels: dict[tuple[int, str, str], grpc.aio.Channel] = field(default_factory=dict)
    _tokens: dict[tuple[str, ...], str | None] = field(default_factory=dict)

    async def envoy(self, path: str, caller: Caller) -> Outcome:
        """Through the Envoy that stands in the caller's way: the models' own for workloads, else the door."""
        topology = self.ground.topology
        to_models = METHODS[path].containing_service.file.package == INFERENCE_PACKAGE and not caller.outside
        port, name = (topology.inference_port, INFERENCE) if to_models else (topology.edge_port, "localhost")
        workload = "" if caller.outside else caller.workload
        outcome = await self._call(self._channel(port, workload, name), path, caller)
        if to_models and caller.workload not in PLAN.callers_of(INFERENCE):
            return Outcome(WORKLOAD) if outcome.reason == CLOSED else Outcome(f"a connection, and {outcome}")
        return outcome

    async def service(self, path: str, caller: Caller) -> Outcome:
        """Straight at the service, with the certificate of the workload, or of the edge for somebody outside."""
        callee = METHODS[path].containing_service.file.package.split(".")[1]
        if callee == INFERENCE:
            # Replicas have no TLS of their own: the sidecar tells them who called.
            uri = self._spiffe_id(caller.workload)
            headed = dataclasses.replace(caller, headers=((FORWARDED, f"By=spiffe://x;URI={uri}"),))
            return await self._call(self._plain(self.ports[callee]), path, headed)
        return await self._call(self._channel(self.ports[callee], caller.workload, callee), path, caller)

    def istio(self, path: str, caller: Caller) -> Answer:
        """By the manifests: at the gateway and then at the callee, or at the callee alone for a workload."""
        token = self._token(caller, iss=f"https://{ENVIRONMENTS['dev'].host}")
        if caller.outside:
            request = Request(path, port=GATEWAY_PORT, token=token)
            answer = self.mesh.answer_at_gateway(_workload(EDGE), request)
            if not answer.allowed:
                return answer
            callee = self.mesh.route(EDGE, path)
            assert callee == METHODS[path].containing_service.file.package.split(".")[1]
        else:
            callee = METHODS[path].containing_service.file.package.split(".")[1]
        principal = self._spiffe_id(caller.workload).removeprefix("spiffe://")
        return self.mesh.answer(_workload(callee), Request(path, principal, port=RPC_PORT, token=token))

    def istio_without_tls(self, callee: str, path: str, port: int, method: str = "POST") -> Answer:
        """What a peer without a certificate is answered by the callee's proxy."""
        return self.mesh.answer(_workload(callee), Request(path, port=port, method=method))

    def _token(self, caller: Caller, **changes: str) -> str | None:
        key = (caller.name, *changes.values())
        if key not in self._tokens:
            self._tokens[key] = caller.token(self.tokens, **changes)
        return self._tokens[key]

    def with_manifests(self, resources: list[dict[str, Any]]) -> "Enforcers":
        """The same with other manifests."""
        return dataclasses.replace(self, mesh=_mesh(resources, self.signers))

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close()

    def _spiffe_id(self, workload: str) -> str:
        if workload == ELSEWHERE:
            return f"spiffe://{TRUST_DOMAIN}/ns/staging/sa/orchestrator"
        return self.ground.topology.spiffe_id(workload)

    def _channel(self, port: int, workload: str, name: str) -> grpc.aio.Channel:
        key = (port, workload, name)
        if key not in self._channels:
            if workload == ELSEWHERE:
                self._channels[key] = channel_with(self.elsewhere, "orchestrator", port, name)
            else:
                self._channels[key] = self.ground.channel(port, workload or None, name=name)
        return self._channels[key]

    def _plain(self, port: int) -> grpc.aio.Channel:
        key = (port, "", "")
        if key not in self._channels:
            self._channels[key] = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        return self._channels[key]

    async def _call(self, channel: grpc.aio.Channel, path: str, caller: Caller) -> Outcome:
        method = METHODS[path]
        request = request_for(method)
        kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
        rpc = getattr(channel, kind)(path)
        call = rpc(
            iter([request]) if method.client_streaming else request,
            metadata=caller.metadata(self._token(caller)),
            timeout=SECONDS,
        )
        try:
            if method.server_streaming:
                async for _ in call:
                    pass
            else:
                await call
            trailers = dict(await call.trailing_metadata())
        except grpc.aio.AioRpcError as error:
            return Outcome(CLOSED if error.code() is grpc.StatusCode.UNAVAILABLE else from_rpc_error(error).reason)
        who: list[str] = json.loads(trailers[KNOWN_AS])
        return Outcome("", (who[0], who[1], who[2]))


def channel_with(pki: TestPki, workload: str, port: int, name: str) -> grpc.aio.Channel:
    """A channel with a certificate of any authority; `name` is what the server's certificate must hold."""
    files = pki.files(workload)
    credentials = grpc.ssl_channel_credentials(
        files["tls_ca_file"].read_bytes(), files["tls_key_file"].read_bytes(), files["tls_cert_file"].read_bytes()
    )
    options = [("grpc.ssl_target_name_override", name), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options)


def _mesh(resources: list[dict[str, Any]], signers: Mapping[str, Mapping[str, Ed25519PublicKey]]) -> Mesh:
    return Mesh(resources, signers, settings=mesh_settings("dev"))


def _workload(name: str) -> Workload:
    return Workload("dev", {"app": name})


def mesh_settings(environment: str) -> dict[str, Any]:
    """What Istio itself is told for an environment."""
    values = yaml.safe_load((ROOT / "mesh" / "istio" / "control-plane" / f"{environment}.yaml").read_text())
    settings: dict[str, Any] = values["meshConfig"]
    return settings


@asynccontextmanager
async def enforcers(folder: Path) -> AsyncIterator[Enforcers]:
    """Start everything in a folder with a short path."""
    ground, tokens = Ground.make(folder), TokenIssuer()
    pki = TestPki(folder / "pki")
    pki.issue(*PLAN.workloads, STRANGER)
    elsewhere = TestPki(folder / "elsewhere", environment="staging", authority_of=folder / "pki")
    ports = {callee: free_port() for callee in PLAN.callees}
    upstreams = tuple(
        Upstream(callee, port, (f"deskmesh.{callee}.v1",)) for callee, port in ports.items() if callee != INFERENCE
    )
    ground.topology = dataclasses.replace(ground.topology, upstreams=upstreams)
    (ground.topology.envoy / "eds").mkdir(parents=True)
    for application in ground.topology.applications:
        write_endpoints(ground.topology.envoy / "eds", application, [("127.0.0.1", ports[INFERENCE])])
    signers = {f"http://auth.dev.svc.cluster.local:{KEYS_PORT}{JWKS_PATH}": dict(parse_jwks(tokens.jwks()))}
    async with AsyncExitStack() as stack:
        runner = await tokens.serve(ground.topology.run / "auth.ops.sock")
        stack.push_async_callback(runner.cleanup)
        for callee, port in ports.items():
            await stack.enter_async_context(_double(callee, port, ground, pki))
        await stack.enter_async_context(ground.envoy("edge", load_methods()))
        await stack.enter_async_context(ground.envoy("inference", load_methods()))
        made = Enforcers(ground, tokens, ports, elsewhere, signers, _mesh(manifests("dev"), signers))
        stack.push_async_callback(made.close)
        await eventually(lambda: _all_answer(made), "every part answers")
        yield made


@asynccontextmanager
async def _double(callee: str, port: int, ground: Ground, pki: TestPki) -> AsyncIterator[None]:
    settings = ServiceSettings(
        database_url="unused",
        redis_url="unused",
        listen_address=f"127.0.0.1:{port}",
        ops_socket=ground.topology.run / f"{callee}.ops.sock",
        jwks_socket=ground.topology.run / "auth.ops.sock",
        **pki.files(callee),  # type: ignore[arg-type]
    )
    chain = concerns(settings, trace.NoOpTracer(), ServerMetrics())
    # The requests say nothing: what is asked is whether they are let in, not whether they are valid.
    chain = dataclasses.replace(chain, validate=lambda _message: None)
    credentials = server_credentials(CertificateFiles(settings))
    if callee == INFERENCE:
        chain = dataclasses.replace(chain, identity=SidecarIdentity(settings.environment))
        async with serving(callee, port, chain, None):
            yield
    else:
        async with serving(callee, port, chain, credentials):
            yield


async def _all_answer(made: Enforcers) -> bool:
    """Somebody is let in everywhere: by the door, with a token, by the sidecar, and by what is behind neither."""
    for callee in PLAN.callees:
        outside = [rule for rule in PLAN.of_callee(callee) if EDGE in rule.callers]
        owner = Caller("first", person=Person("org_a", "usr_owner", ("owner",)))
        first = Caller("first", min(PLAN.of_callee(callee)[0].callers))
        path = (outside or PLAN.of_callee(callee))[0].method
        if outside or callee == INFERENCE:
            answer = await made.envoy(path, owner if outside else first)
        else:
            answer = await made.service(path, first)
        if answer.reason:
            return False
    return True
