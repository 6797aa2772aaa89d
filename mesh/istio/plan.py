"""Who is there, who calls whom and by which RPCs: the policy table seen from a cluster."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mesh.policy.table import Rule

EDGE = "edge"
WEB = "web"
AUTH = "auth"
INFERENCE = "inference"
# Turns API keys into tokens for the edge, and serves the OpenAI-compatible API.
GATEWAY = "gateway"

# The trust domain of the mesh; in a cluster it is `meshConfig.trustDomain`.
TRUST_DOMAIN = "deskmesh.local"
TOKEN_AUDIENCE = "deskmesh"  # noqa: S105 - a name, not a secret
JWKS_PATH = "/.well-known/jwks.json"

# Every service serves gRPC and grpc-web on one port; auth publishes its public keys on another.
RPC_PORT = 7100
KEYS_PORT = 7180
OAUTH_PORT = 7181
# The gateway's: what the edge asks about keys, and the OpenAI-compatible API.
CHECKS_PORT = 7182
OPENAI_PORT = 7183
WEB_PORT = 8080
GATEWAY_PORT = 8443

# Where the gateway's pods hold the contracts, as `mesh.rest.descriptors` writes them.
CONTRACTS = "/etc/deskmesh/contracts.binpb"

# What the manifests say where each environment puts its own words (see `components/environment`).
NAMESPACE = "deskmesh"
HOST = "deskmesh.example"

SERVICES_FOLDER = Path(__file__).resolve().parents[2] / "services"

Document = dict[str, object]


@dataclass(frozen=True)
class External:
    """Something outside the mesh that workloads may reach over TCP."""

    name: str
    host: str
    port: int


# Nothing else leaves: no workload may reach the internet, but for auth (`network.py`).
STORES = (
    External("postgres", f"postgres.{NAMESPACE}.internal", 5432),
    External("valkey", f"valkey.{NAMESPACE}.internal", 6379),
)
TELEMETRY = External("telemetry", f"telemetry.{NAMESPACE}.internal", 4317)


@dataclass(frozen=True)
class Plan:
    """The policy table by callee and caller."""

    rules: tuple[Rule, ...]

    @classmethod
    def of(cls, table: Mapping[str, Rule]) -> "Plan":
        """The plan of a policy table, in the order of the methods' names."""
        return cls(tuple(table[method] for method in sorted(table)))

    @cached_property
    def callees(self) -> tuple[str, ...]:
        """The workloads that serve RPCs."""
        return tuple(sorted({rule.callee for rule in self.rules}))

    @cached_property
    def workloads(self) -> tuple[str, ...]:
        """Everybody who has an identity: callees, callers, and the web app's server."""
        callers = {caller for rule in self.rules for caller in rule.callers}
        return tuple(sorted({*self.callees, *callers, EDGE, WEB}))

    def of_callee(self, callee: str) -> tuple[Rule, ...]:
        """The rules of the RPCs that a workload serves."""
        return tuple(rule for rule in self.rules if rule.callee == callee)

    def callers_of(self, callee: str) -> tuple[str, ...]:
        """Whom a workload answers."""
        if callee == WEB:
            return (EDGE,)
        return tuple(sorted({caller for rule in self.of_callee(callee) for caller in rule.callers}))

    def callees_of(self, caller: str) -> tuple[str, ...]:
        """Whom a workload calls."""
        called = {rule.callee for rule in self.rules if caller in rule.callers}
        return tuple(sorted(called | ({WEB} if caller == EDGE else set())))

    @cached_property
    def from_outside(self) -> tuple[Rule, ...]:
        """The RPCs that are open to people and programs outside."""
        return tuple(rule for rule in self.rules if EDGE in rule.callers)

    @cached_property
    def reached_from_outside(self) -> tuple[str, ...]:
        """The workloads that people and programs outside may call."""
        return tuple(sorted({rule.callee for rule in self.from_outside}))


def is_service(workload: str) -> bool:
    """Whether it is a service of our own, which keeps records and verifies people's tokens."""
    return (SERVICES_FOLDER / workload).is_dir()


def externals_of(workload: str) -> tuple[External, ...]:
    """What a workload may reach outside the mesh."""
    return (TELEMETRY, *(STORES if is_service(workload) else ()))


def document(api: str, kind: str, name: str, spec: object | None = None, **rest: object) -> Document:
    """A Kubernetes object; the namespace is each environment's business."""
    labels = {"app.kubernetes.io/part-of": "deskmesh"}
    made: Document = {"apiVersion": api, "kind": kind, "metadata": {"name": name, "labels": labels}, **rest}
    if spec is not None:
        made["spec"] = spec
    return made


def selector(workload: str) -> dict[str, str]:
    """The labels of a workload's pods."""
    return {"app": workload}


def principal(workload: str) -> str:
    """A workload's identity as Istio writes it: the SPIFFE ID without its scheme."""
    return f"{TRUST_DOMAIN}/ns/{NAMESPACE}/sa/{workload}"
