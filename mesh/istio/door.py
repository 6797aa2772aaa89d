"""What Istio has no word for at the gateway, as patches of its Envoy: REST, and requests that are not whole.

The filters are those of the laptop's edge (`mesh/envoy/templates/edge.yaml.j2`), in its order.
"""

from mesh.envoy.render import TEMPLATES
from mesh.envoy.topology import Topology
from mesh.istio.plan import CONTRACTS, EDGE, GATEWAY_PORT, Document, document, selector
from mesh.policy.table import services
from mesh.rest.transcoder import NAME, transcoder, with_paths

API = "networking.istio.io/v1alpha3"
HTTP = "envoy.extensions.filters.http"
NETWORK = "envoy.extensions.filters.network"
MANAGER = "envoy.filters.network.http_connection_manager"
ROUTER = "envoy.filters.http.router"
GRPC_WEB = "envoy.filters.http.grpc_web"
BUFFER = "envoy.filters.http.buffer"
LUA = "envoy.filters.http.lua"


def rest() -> Document:
    """REST becomes gRPC before tokens and policies are looked at, so all of them see the RPC."""
    limits = {"max_request_bytes": Topology.max_request_bytes, "max_response_bytes": Topology.max_response_bytes}
    filter_config = transcoder(CONTRACTS, with_paths(services()), **limits)
    return _filter("rest", _first({"name": NAME, "typed_config": filter_config}))


def whole_messages() -> Document:
    """A service hears of a request when all of it is here, and is one whole message: it would never answer another."""
    one_whole_message = (TEMPLATES / "whole_message.lua").read_text()
    return _filter(
        "whole-messages",
        # A page's calls in the same frames as those of others.
        _first(_http(GRPC_WEB, f"{HTTP}.grpc_web.v3.GrpcWeb")),
        _last(_http(BUFFER, f"{HTTP}.buffer.v3.Buffer", max_request_bytes=Topology.max_request_bytes)),
        _last(_http(LUA, f"{HTTP}.lua.v3.Lua", default_source_code={"inline_string": one_whole_message})),
        _manager(request_timeout=f"{Topology.request_seconds}s", server_name="deskmesh"),
    )


def _filter(name: str, *patches: Document) -> Document:
    spec = {"workloadSelector": {"labels": selector(EDGE)}, "configPatches": list(patches)}
    return document(API, "EnvoyFilter", name, spec)


def _http(name: str, kind: str, **config: object) -> Document:
    return {"name": name, "typed_config": {"@type": f"type.googleapis.com/{kind}", **config}}


def _first(added: Document) -> Document:
    return {"applyTo": "HTTP_FILTER", "match": _at(), "patch": {"operation": "INSERT_FIRST", "value": added}}


def _last(added: Document) -> Document:
    at = _at(subFilter={"name": ROUTER})
    return {"applyTo": "HTTP_FILTER", "match": at, "patch": {"operation": "INSERT_BEFORE", "value": added}}


def _manager(**config: object) -> Document:
    value = _http(MANAGER, f"{NETWORK}.http_connection_manager.v3.HttpConnectionManager", **config)
    return {"applyTo": "NETWORK_FILTER", "match": _at(), "patch": {"operation": "MERGE", "value": value}}


def _at(**more: object) -> Document:
    chain = {"filter": {"name": MANAGER, **more}}
    return {"context": "GATEWAY", "listener": {"portNumber": GATEWAY_PORT, "filterChain": chain}}
