"""The Envoy before the replicas in a cluster: the laptop's, behind a mesh's proxy.

The proxy has mutual TLS with the callers and says who they are in `x-forwarded-client-cert`. This Envoy stands on the
pod's loopback, holds the callers to the same policy and sends each request to the replica that the router named, by
TLS with the certificates that Ray's pods have of each other.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mesh.envoy.methods import Method
from mesh.envoy.rbac import Policies, policy
from mesh.envoy.refusals import SIDECAR_REFUSALS
from mesh.envoy.render import TEMPLATES, secrets
from mesh.envoy.topology import INFERENCE_PACKAGE, Topology
from mesh.istio.plan import RPC_PORT, TELEMETRY, TRUST_DOMAIN, External

FORWARDED = "x-forwarded-client-cert"
READY_PATH = "/ready"


@dataclass(frozen=True)
class Door:
    """What the Envoy is told; folders as its container sees them.

    `models` are the models' names by their applications, in order of precedence; `needed` the applications without a
    replica of which nothing is sent here. `endpoints` holds a file for each application (`mesh.envoy.endpoints`), `tls`
    Ray's certificate of the pod.
    """

    models: Mapping[str, str]
    needed: tuple[str, ...]
    config: Path = Path("/etc/deskmesh/envoy")
    run: Path = Path("/run/deskmesh")
    tls: Path = Path("/etc/ray/tls")
    port: int = RPC_PORT
    ready_port: int = RPC_PORT + 9
    ready_path: str = READY_PATH
    telemetry: External = TELEMETRY

    @property
    def endpoints(self) -> Path:
        """Where the endpoint files are."""
        return self.run / "eds"

    @property
    def topology(self) -> Topology:
        """The same in the words of the laptop's templates."""
        return Topology(
            edge_port=0,
            inference_port=self.port,
            upstreams=(),
            llm_applications=tuple(self.models),
            trust_domain=TRUST_DOMAIN,
            environment="",
            token_issuer="",
            token_audience="",
            pki=self.tls,
            run=self.run,
            envoy=self.config,
            llm_models=self.models,
        )


def files(door: Door, methods: Iterable[Method]) -> Mapping[str, str]:
    """Everything that lies in the folder `config`, by name. Raises on a template or YAML error."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined)  # noqa: S701 - YAML
    inside = [method for method in methods if method.package == INFERENCE_PACKAGE]
    text = environment.get_template("inference.yaml.j2").render(
        proxied=door,
        topology=door.topology,
        methods=inside,
        policies=forwarded_policies(inside),
        refusals=SIDECAR_REFUSALS,
        rest_refusals=(),
        openai_refusals=(),
    )
    read = {f"inference-{name}.yaml": json.dumps(secret, indent=2) for name, secret in secrets(door.tls).items()}
    config = yaml.load(text, Loader=yaml.CSafeLoader)
    return {"inference.yaml": yaml.safe_dump(config, sort_keys=False, width=120), **read}


def forwarded_policies(methods: Iterable[Method]) -> Policies:
    """The RPCs that each workload may call, by the identity that the proxy in front says it has.

    Of which environment the workload is the proxy's own policy knows, and the replica.
    """
    paths: dict[str, list[str]] = {}
    for method in methods:
        for caller in method.callers:
            paths.setdefault(caller, []).append(method.path)
    return {caller: policy(paths[caller], (_said_to_be(caller),)) for caller in sorted(paths)}


def _said_to_be(workload: str) -> object:
    """The proxy adds its word behind whatever came: only the last of the list is its own."""
    identity = rf"URI=spiffe://{re.escape(TRUST_DOMAIN)}/ns/[^/,;]+/sa/{re.escape(workload)}"
    pattern = rf"(?:.*,)?(?:[^,]*;)?{identity}(?:;[^,]*)?"
    return {"header": {"name": FORWARDED, "string_match": {"safe_regex": {"regex": pattern}}}}
