"""Writes the two Envoy configurations and the files they watch into the state folder."""

import json
import re
from pathlib import Path

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mesh.envoy.endpoints import write_endpoints
from mesh.envoy.limits import CLAIMS
from mesh.envoy.methods import Method
from mesh.envoy.openai import openai_refusals
from mesh.envoy.rbac import TOKEN_METADATA, compressed_policies, edge_policies, sidecar_policies
from mesh.envoy.refusals import REFUSALS, REST_REFUSALS, SIDECAR_REFUSALS
from mesh.envoy.topology import INFERENCE_PACKAGE, Topology, Upstream
from mesh.policy.http import HTTP_RULES, OAUTH_DOCUMENTS, OAUTH_PREFIX, OPENAI_PREFIX
from mesh.policy.table import services
from mesh.rest.descriptors import descriptor_set
from mesh.rest.paths import REST_PREFIX
from mesh.rest.transcoder import transcoder
from services.common.tokens import audience_of

TEMPLATES = Path(__file__).parent / "templates"
NODES = ("edge", "inference")
CONTRACTS = "contracts.binpb"

# The page runs its own bundled script and styles only; Radix positions its popovers by style attributes.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


def render(node: str, topology: Topology, methods: tuple[Method, ...]) -> str:
    """The YAML of one node, `edge` or `inference`. Raises on a template or YAML error."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined)  # noqa: S701 - YAML
    hosted = [method for method in methods if topology.upstream_of(method.package)]
    outside = [method for method in hosted if method.from_outside]
    policies = {
        "edge": edge_policies(outside),
        "inference": sidecar_policies((one for one in methods if one.package == INFERENCE_PACKAGE), topology),
    }
    text = environment.get_template(f"{node}.yaml.j2").render(
        topology=topology,
        methods=methods,
        outside=outside,
        audiences=audiences(topology, outside),
        inside=[method for method in methods if not method.from_outside],
        refusals=REFUSALS if node == "edge" else SIDECAR_REFUSALS,
        rest_refusals=REST_REFUSALS if node == "edge" else (),
        policies=policies[node],
        token_metadata=TOKEN_METADATA[1],
        claims=CLAIMS,
        http_rules=tuple(HTTP_RULES.values()),
        openai_prefix=OPENAI_PREFIX,
        openai_refusals=openai_refusals(REFUSALS) if node == "edge" else (),
        compressed_policies=compressed_policies(),
        one_whole_message=(TEMPLATES / "whole_message.lua").read_text(),
        paced={upstream.name: _any_of(upstream, outside) for upstream in topology.upstreams},
        rest_prefix=REST_PREFIX,
        transcoder=transcoder(
            f"{topology.envoy}/{CONTRACTS}",
            {method.path.strip("/").rpartition("/")[0] for method in outside},
            max_request_bytes=topology.max_request_bytes,
            max_response_bytes=topology.max_response_bytes,
        ),
        oauth_matches=({"prefix": OAUTH_PREFIX}, *({"path": path} for path in OAUTH_DOCUMENTS)),
        content_security_policy=CONTENT_SECURITY_POLICY,
    )
    return yaml.safe_dump(yaml.safe_load(text), sort_keys=False, width=120)


def audiences(topology: Topology, outside: list[Method]) -> list[str]:
    """What tokens may be for: everything, or one service other than auth, which looks itself whether it is the one."""
    upstreams = (topology.upstream_of(method.package) for method in outside)
    reached = {upstream.name for upstream in upstreams if upstream is not None} - {"auth"}
    return [topology.token_audience, *(audience_of(topology.token_audience, name) for name in sorted(reached))]


def _any_of(upstream: Upstream, methods: list[Method]) -> str:
    """A pattern for the paths of a service's unary RPCs; streams last as long as somebody listens. Empty for none."""
    return "|".join(re.escape(one.path) for one in methods if one.package in upstream.packages and not one.streaming)


def write(topology: Topology, methods: tuple[Method, ...]) -> dict[str, Path]:
    """Write everything Envoy reads; endpoints that are there already stay. Returns node → file."""
    topology.envoy.mkdir(parents=True, exist_ok=True)
    eds = topology.envoy / "eds"
    eds.mkdir(exist_ok=True)
    for application in topology.applications:
        if not (eds / f"{application}.json").exists():
            write_endpoints(eds, application, ())
    (topology.envoy / CONTRACTS).write_bytes(descriptor_set(services()))
    files = {}
    for node in NODES:
        for name, secret in secrets(topology.pki / node).items():
            (topology.envoy / f"{node}-{name}.yaml").write_text(json.dumps(secret, indent=2))
        files[node] = topology.envoy / f"{node}.yaml"
        files[node].write_text(render(node, topology, methods))
    return files


def secrets(folder: Path) -> dict[str, object]:
    """The certificate and the CA of a folder as Envoy secrets; both are read again when the folder's link moves."""
    watched = {"path": str(folder)}
    certificate = {
        "certificate_chain": {"filename": str(folder / "tls.crt")},
        "private_key": {"filename": str(folder / "tls.key")},
        "watched_directory": watched,
    }
    authority = {"trusted_ca": {"filename": str(folder / "ca.crt")}, "watched_directory": watched}
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
    return {
        "tls": {"resources": [{"@type": kind, "name": "tls", "tls_certificate": certificate}]},
        "ca": {"resources": [{"@type": kind, "name": "ca", "validation_context": authority}]},
    }
