"""What runs in the pods of each workload: its command, its settings, its secrets and its size, in one table."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.istio.plan import (
    AUTH,
    CHECKS_PORT,
    EDGE,
    GATEWAY,
    HOST,
    INFERENCE,
    KEYS_PORT,
    OAUTH_PORT,
    OPENAI_PORT,
    RPC_PORT,
    TELEMETRY,
    TOKEN_AUDIENCE,
    TRUST_DOMAIN,
    WEB,
    WEB_PORT,
)

# Folders as the containers see them. What must outlive a pod lies in Postgres; a run folder holds sockets.
APP = "/app"
RUN = "/run/deskmesh"
SECRETS = "/etc/deskmesh/secrets"
OPS_SOCKET = f"{RUN}/ops.sock"
# What libraries of Postgres know by themselves: whose certificates hold, if the database's URL asks for that.
OF_POSTGRES = {"PGSSLROOTCERT": f"{SECRETS}/postgres.crt"}
# Calls and short streams get as long to end; `DESKMESH_DRAIN_SECONDS`.
DRAIN_SECONDS = 20
# Who has no pods of its own here: the models' stand in `mesh/kuberay`, and an operator's are made by hand.
ELSEWHERE = frozenset({INFERENCE, "laptop"})


@dataclass(frozen=True)
class Deployed:
    """The pods of one workload.

    `settings` are variables without `DESKMESH_`, `secrets` the settings that its Secret must hold. Each pod asks for
    `millicores` and `mebibytes` and may have twice the memory; in production there are `fewest` to `most` pods.
    """

    name: str
    command: tuple[str, ...]
    millicores: int
    mebibytes: int
    fewest: int
    most: int
    settings: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()


def at(workload: str) -> str:
    """Where others call a workload, by way of the pod's proxy."""
    return f"{workload}:{RPC_PORT}"


def _service(
    name: str,
    *calls: str,
    millicores: int = 250,
    mebibytes: int = 256,
    fewest: int = 2,
    most: int = 6,
    secrets: tuple[str, ...] = ("database_url", "redis_url"),
    **settings: str,
) -> Deployed:
    common = {
        "BEHIND_PROXY": "true",
        "SECRETS_MOUNT": SECRETS,
        "LISTEN_ADDRESS": f"127.0.0.1:{RPC_PORT}",
        "OPS_SOCKET": OPS_SOCKET,
        "TRUST_DOMAIN": TRUST_DOMAIN,
        "JWKS_ADDRESS": f"{AUTH}:{KEYS_PORT}",
        "TOKEN_ISSUER": f"https://{HOST}",
        "TOKEN_AUDIENCE": TOKEN_AUDIENCE,
        "OTLP_ENDPOINT": f"{TELEMETRY.host}:{TELEMETRY.port}",
        # Tracing every call would cost a third of what a service can do.
        "TRACE_SAMPLE_RATIO": "0.05",
        "DRAIN_SECONDS": str(DRAIN_SECONDS),
        **{f"{callee.upper()}_ADDRESS": at(callee) for callee in calls},
    }
    # What is empty a service does without.
    chosen = {name: value for name, value in {**common, **settings}.items() if value}
    command = ("python", "-m", f"services.{name}")
    return Deployed(name, command, millicores, mebibytes, fewest, most, chosen, secrets)


DEPLOYED = (
    _service(
        AUTH,
        # Each password costs 30 ms of a processor.
        millicores=500,
        most=8,
        secrets=("database_url", "redis_url", "key_encryption_key", "smtp_url"),
        JWKS_ADDRESS=f"127.0.0.1:{KEYS_PORT}",
        KEYS_ADDRESS=f"127.0.0.1:{KEYS_PORT}",
        OAUTH_ADDRESS=f"127.0.0.1:{OAUTH_PORT}",
        PUBLIC_URL=f"https://{HOST}",
        SECRETS_FOLDER=f"{RUN}/secrets",
    ),
    _service("sessions", INFERENCE, fewest=3, most=12),
    _service("tickets", "sessions", AUTH),
    _service("knowledge", INFERENCE, most=8),
    _service(
        "orchestrator",
        "sessions",
        "tickets",
        "knowledge",
        INFERENCE,
        "usage",
        millicores=500,
        mebibytes=384,
        fewest=3,
        most=12,
    ),
    _service("usage"),
    _service("models", INFERENCE, most=4),
    _service(
        GATEWAY,
        AUTH,
        INFERENCE,
        "usage",
        millicores=500,
        most=8,
        secrets=("redis_url",),
        LISTEN_ADDRESS="",
        GATEWAY_SOCKET=f"{RUN}/gateway.sock",
        GATEWAY_ADDRESS=f"127.0.0.1:{CHECKS_PORT}",
        OPENAI_SOCKET=f"{RUN}/openai.sock",
        OPENAI_ADDRESS=f"127.0.0.1:{OPENAI_PORT}",
    ),
    Deployed(
        WEB,
        ("python", "-m", "laptop.web", f"127.0.0.1:{WEB_PORT}", f"{APP}/clients/web/dist", OPS_SOCKET),
        millicores=50,
        mebibytes=96,
        fewest=2,
        most=4,
    ),
    # The proxy is Istio's own, and so is its command.
    Deployed(EDGE, (), millicores=500, mebibytes=512, fewest=2, most=8),
)
BY_NAME = {one.name: one for one in DEPLOYED}
