"""Reading what a gateway is told besides: routes, and patches of its Envoy."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mesh.istio import door
from mesh.policy.table import services
from mesh.rest import transcoder
from mesh.rest.paths import VARIABLE, bindings
from tests.security.istio.rules import Unknown, only

PARTS = re.compile(r"(\{\w+\})")


def transcoded_by(patch: Mapping[str, Any]) -> Sequence[str]:
    """The services that a patch has transcoded, before any other filter is asked; none for one that moves no call."""
    only(patch, "applyTo", "match", "patch")
    if patch["match"]["context"] != "GATEWAY":
        raise Unknown("a patch elsewhere than at a gateway")
    added = patch["patch"]
    value = added["value"]
    match patch["applyTo"], added["operation"], value["name"]:
        case "HTTP_FILTER", "INSERT_FIRST", transcoder.NAME:
            found: Sequence[str] = value["typed_config"]["services"]
            return found
        case "HTTP_FILTER", "INSERT_FIRST", door.GRPC_WEB:
            return ()
        case "HTTP_FILTER", "INSERT_BEFORE", door.BUFFER | door.LUA:
            # They refuse what is no call; `tests/integration/mesh/test_gateway_in_a_cluster.py` asks them.
            return ()
        case "NETWORK_FILTER", "MERGE", door.MANAGER:
            only(value["typed_config"], "@type", "request_timeout", "server_name")
            return ()
    raise Unknown(f"a patch of {value['name']}")


def rpc_of(transcoded: Sequence[str], verb: str, path: str) -> str:
    """The RPC whose `google.api.http` option fits; a variable stands for one part of a path."""
    for method in (method for service in services() for method in service.methods):
        if method.containing_service.full_name not in transcoded:
            continue
        for one in bindings(method):
            shape = "".join("[^/:]+" if VARIABLE.fullmatch(part) else re.escape(part) for part in PARTS.split(one.path))
            if one.verb.upper() == verb and re.fullmatch(shape, path):
                return f"/{method.containing_service.full_name}/{method.name}"
    return path


def leads(match: Mapping[str, Any], path: str) -> bool:
    """Whether a route takes a path."""
    only(match, "uri")
    [(how, text)] = match["uri"].items()
    if how not in ("exact", "prefix"):
        raise Unknown(f"match by {how}")
    return path == text if how == "exact" else path.startswith(text)
