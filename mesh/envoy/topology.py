"""What stands behind the edge and the inference sidecar, and where."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mesh.policy.limits import LIMITS, Limit

PACKAGE_PREFIX = "deskmesh."
INFERENCE_PACKAGE = f"{PACKAGE_PREFIX}inference.v1"


@dataclass(frozen=True)
class Upstream:
    """A gRPC service with mTLS on loopback, and the proto packages it hosts."""

    name: str
    port: int
    packages: tuple[str, ...]


@dataclass(frozen=True)
class InferenceRoute:
    """A gRPC service that an application of Ray Serve hosts.

    `model` narrows the route to requests whose header `x-deskmesh-model` names that model; empty, it takes any.
    """

    service: str
    application: str
    model: str = ""


@dataclass(frozen=True)
class Topology:
    """Everything the templates need; all paths absolute, all sockets inside `run`."""

    edge_port: int
    inference_port: int
    upstreams: tuple[Upstream, ...]
    llm_applications: tuple[str, ...]
    trust_domain: str
    environment: str
    token_issuer: str
    token_audience: str
    pki: Path
    run: Path
    envoy: Path
    allowed_origins: tuple[str, ...] = ()
    # The name of each application's model, where it is not the application's own.
    llm_models: Mapping[str, str] = field(default_factory=dict)
    max_downstream_connections: int = 12_000
    max_streams_per_connection: int = 128
    # So long a request may take to come as a whole.
    request_seconds: int = 30
    max_request_bytes: int = 4 * 1024 * 1024
    # A REST answer is put together whole; as gRPC it is at most 4 MiB.
    max_response_bytes: int = 16 * 1024 * 1024
    # So many unary calls at once a service gets however slow it has become.
    calls_always_let_through: int = 128
    limits: tuple[Limit, ...] = LIMITS

    def spiffe_id(self, workload: str) -> str:
        """The SPIFFE ID that the workload's certificate carries."""
        return f"spiffe://{self.trust_domain}/ns/{self.environment}/sa/{workload}"

    def socket(self, name: str) -> str:
        """The Unix socket of a process."""
        return str(self.run / f"{name}.sock")

    def upstream_of(self, package: str) -> Upstream | None:
        """The service that hosts a proto package, or None if none on the edge's side does."""
        return next((one for one in self.upstreams if package in one.packages), None)

    @property
    def applications(self) -> tuple[str, ...]:
        """Every application of Ray Serve, each with an endpoints file of its own."""
        return ("router", "embedder", *self.llm_applications)

    @property
    def inference_routes(self) -> tuple[InferenceRoute, ...]:
        """In order of precedence; the first language model takes requests that name none."""
        chat = f"{INFERENCE_PACKAGE}.InferenceService"
        return (
            InferenceRoute(f"{INFERENCE_PACKAGE}.RouterService", "router"),
            InferenceRoute(f"{INFERENCE_PACKAGE}.ControlService", "router"),
            InferenceRoute(f"{INFERENCE_PACKAGE}.EmbeddingService", "embedder"),
            *(
                InferenceRoute(chat, application, self.llm_models.get(application, application))
                for application in self.llm_applications
            ),
            InferenceRoute(chat, self.llm_applications[0]),
        )
