"""How calls travel: the gateway, its routes, connection pools, and what may leave the mesh."""

from collections.abc import Iterator, Mapping

from mesh.envoy.render import CONTENT_SECURITY_POLICY
from mesh.istio import door
from mesh.istio.plan import (
    AUTH,
    CHECKS_PORT,
    EDGE,
    GATEWAY,
    GATEWAY_PORT,
    HOST,
    KEYS_PORT,
    NAMESPACE,
    OAUTH_PORT,
    OPENAI_PORT,
    RPC_PORT,
    STORES,
    TELEMETRY,
    WEB,
    WEB_PORT,
    Document,
    External,
    Plan,
    document,
    externals_of,
    is_service,
    selector,
)
from mesh.policy.http import HTTP_RULES, OAUTH_DOCUMENTS, OAUTH_PREFIX, OPENAI_PREFIX
from mesh.policy.table import Rule
from mesh.rest.paths import REST_PREFIX

API = "networking.istio.io/v1"

# What only our own processes say; the services take none of it from the edge either.
INTERNAL_HEADERS = (
    "deskmesh-acting-organization",
    "deskmesh-acting-user",
    "deskmesh-acting-roles",
    "x-deskmesh-model",
    "x-deskmesh-replica",
)
# A key has become a token by then, and goes no further.
REMOVED_HEADERS = (*INTERNAL_HEADERS, "x-api-key")
# HTTP/1.1 has one request a connection, gRPC many.
RPC_CONNECTIONS, HTTP_CONNECTIONS = 256, 1024
LOOPBACK = "127.0.0.1"
LOOPBACK_PORTS = {
    AUTH: {"keys": KEYS_PORT, "oauth": OAUTH_PORT},
    GATEWAY: {"checks": CHECKS_PORT, "openai": OPENAI_PORT},
    WEB: {"pages": WEB_PORT},
}
ALLOWED_HEADERS = (
    "authorization",
    "content-type",
    "grpc-timeout",
    "traceparent",
    "tracestate",
    "x-grpc-web",
    "x-user-agent",
)
# What every answer says, what data says besides, which is for nobody to keep or to show, and what pages say.
ALWAYS_SAID = {"strict-transport-security": "max-age=31536000", "x-content-type-options": "nosniff"}
NO_PAGE = {**ALWAYS_SAID, "content-security-policy": "default-src 'none'; frame-ancestors 'none'"}
DATA = {**NO_PAGE, "cache-control": "no-store"}
# What may be kept of these, auth says for itself.
OAUTH = {**NO_PAGE, "x-frame-options": "DENY"}
PAGES = {
    **ALWAYS_SAID,
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
EXPOSED_HEADERS = ("grpc-status", "grpc-message", "grpc-status-details-bin", "retry-after", "x-trace-id")


def base(plan: Plan) -> list[Document]:
    """The door, and the stores outside the mesh."""
    server = {
        "port": {"number": GATEWAY_PORT, "name": "https", "protocol": "HTTPS"},
        "hosts": [HOST],
        "tls": {"mode": "SIMPLE", "credentialName": "deskmesh-edge", "minProtocolVersion": "TLSV1_2"},
    }
    gateway = document(API, "Gateway", EDGE, {"selector": selector(EDGE), "servers": [server]})
    routes = document(API, "VirtualService", EDGE, {"hosts": [HOST], "gateways": [EDGE], "http": list(_routes(plan))})
    entries = [entry(external.name, external) for external in (*STORES, TELEMETRY)]
    return [gateway, routes, door.rest(), door.whole_messages(), *entries]


def entry(name: str, *externals: External) -> Document:
    """A host outside the mesh with its ports."""
    [host] = {external.host for external in externals}
    ports = [{"number": one.port, "name": f"tcp-{one.name}", "protocol": "TCP"} for one in externals]
    outside = {"location": "MESH_EXTERNAL", "resolution": "DNS"}
    return document(API, "ServiceEntry", name, {"hosts": [host], "exportTo": ["."], **outside, "ports": ports})


def of_workload(plan: Plan, workload: str) -> list[Document]:
    """A workload's connection pool, for those who call it, and the places it may call itself."""
    connections = HTTP_CONNECTIONS if workload == GATEWAY else RPC_CONNECTIONS
    pool = document(API, "DestinationRule", workload, {"host": workload, "trafficPolicy": _traffic_policy(connections)})
    inside = [f"./{callee}.{NAMESPACE}.svc.cluster.local" for callee in called_by(plan, workload)]
    outside = [f"./{external.host}" for external in externals_of(workload)]
    # In this order, by which each environment puts its own hosts in.
    egress = [{"hosts": hosts} for hosts in (outside, inside) if hosts]
    reach = document(
        API,
        "Sidecar",
        workload,
        {
            "workloadSelector": {"labels": selector(workload)},
            # What auth may reach beyond the mesh, the network says.
            "outboundTrafficPolicy": {"mode": "ALLOW_ANY" if workload == AUTH else "REGISTRY_ONLY"},
            **({"ingress": ingress} if (ingress := _ingress(plan, workload)) else {}),
            "egress": egress,
        },
    )
    # A gateway takes no Sidecar resource.
    serves = workload in plan.callees or workload in (GATEWAY, WEB)
    return [*([pool] if serves else []), *([reach] if workload != EDGE else [])]


def called_by(plan: Plan, workload: str) -> list[str]:
    """Whom a workload reaches inside of the mesh: whom it calls, and auth for the public keys of tokens."""
    return sorted({*plan.callees_of(workload), *([AUTH] if is_service(workload) else [])} - {workload})


def _ingress(plan: Plan, workload: str) -> list[Document]:
    """Where a proxy hands on what it has let in: to the pod's loopback, where nobody but the proxy reaches it."""
    rpc = [_listener("grpc-web", RPC_PORT, "GRPC-WEB")] if workload in plan.callees else []
    return rpc + [_listener(f"http-{name}", port, "HTTP") for name, port in LOOPBACK_PORTS.get(workload, {}).items()]


def _listener(name: str, port: int, protocol: str) -> Document:
    return {"port": {"number": port, "protocol": protocol, "name": name}, "defaultEndpoint": f"{LOOPBACK}:{port}"}


def _traffic_policy(connections: int) -> Document:
    return {
        "tls": {"mode": "ISTIO_MUTUAL"},
        "loadBalancer": {"simple": "LEAST_REQUEST"},
        "connectionPool": {
            "tcp": {"maxConnections": connections, "connectTimeout": "1s"},
            # A stream of tokens may be quiet for long; only connections without any stream are closed.
            "http": {
                "http1MaxPendingRequests": 1024,
                "http2MaxRequests": 12_000,
                "maxRetries": 64,
                "idleTimeout": "3600s",
            },
        },
        "outlierDetection": {
            "consecutiveGatewayErrors": 5,
            "consecutive5xxErrors": 20,
            "interval": "5s",
            "baseEjectionTime": "5s",
            "maxEjectionPercent": 50,
        },
    }


def _routes(plan: Plan) -> Iterator[Document]:
    groups: dict[tuple[str, bool, bool], list[Rule]] = {}
    for rule in plan.from_outside:
        streaming = rule.client_streaming or rule.server_streaming
        groups.setdefault((rule.callee, streaming, rule.retryable), []).append(rule)
    for (callee, streaming, retryable), rules in sorted(groups.items()):
        route = _route([{"uri": {"exact": rule.method}} for rule in rules], callee, RPC_PORT)
        route["timeout"] = "0s" if streaming else "60s"
        route["retries"] = (
            {"attempts": 2, "retryOn": "connect-failure,refused-stream,unavailable"} if retryable else {"attempts": 0}
        )
        name = f"{callee}-{'streams' if streaming else 'calls'}{'-repeatable' if retryable else ''}"
        yield {"name": name, **route, **_cors()}
    # An answer takes as long as its model does; whatever else is asked for, the gateway says that it is not there.
    models: list[Document] = [{"uri": {"exact": path}} for path in HTTP_RULES]
    others: list[Document] = [{"uri": {"prefix": OPENAI_PREFIX}}]
    for name, match, timeout in (("openai", models, "0s"), ("openai-others", others, "15s")):
        there = _route(match, GATEWAY, OPENAI_PORT)
        yield {"name": name, **there, "timeout": timeout, "retries": {"attempts": 0}, **_cors()}
    # What the transcoder knew is an RPC by now.
    nothing = [{"uri": {"prefix": prefix}} for prefix in ("/deskmesh.", "/grpc.", REST_PREFIX)]
    yield {"name": "no-such-call", "match": nothing, "directResponse": {"status": 404}, **_cors()}
    oauth: list[Document] = [{"uri": {"prefix": OAUTH_PREFIX}}]
    oauth += [{"uri": {"exact": path}} for path in OAUTH_DOCUMENTS]
    yield {"name": "oauth", **_route(oauth, AUTH, OAUTH_PORT, OAUTH), "timeout": "15s", "retries": {"attempts": 0}}
    pages = _route([{"uri": {"prefix": "/"}}], WEB, WEB_PORT, PAGES)
    yield {"name": WEB, **pages, "timeout": "15s", **_cors()}


def _cors() -> Document:
    policy = {
        "allowOrigins": [{"exact": f"https://{HOST}"}],
        "allowMethods": ["POST", "OPTIONS"],
        "allowHeaders": list(ALLOWED_HEADERS),
        "exposeHeaders": list(EXPOSED_HEADERS),
        "maxAge": "600s",
    }
    return {"corsPolicy": policy}


def _route(match: list[Document], callee: str, port: int, said: Mapping[str, str] = DATA) -> Document:
    destination = {"host": callee, "port": {"number": port}}
    return {
        "match": match,
        "headers": {"request": {"remove": list(REMOVED_HEADERS)}, "response": {"set": dict(said)}},
        "route": [{"destination": destination}],
    }
