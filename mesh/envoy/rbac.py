"""The policy of the RPCs as Envoy's role-based access control says it: who may send which path."""

from collections.abc import Iterable, Mapping

from mesh.envoy.methods import Method
from mesh.envoy.topology import Topology
from mesh.policy.http import OPENAI_PREFIX

Policies = Mapping[str, object]

# Where the token's check leaves what it read from a token that held.
TOKEN_METADATA = ("envoy.filters.http.jwt_authn", "token")
COMPRESSED = "compressed"
ANYBODY: tuple[object, ...] = ({"any": True},)
SIGNED_IN: tuple[object, ...] = (
    {
        "sourced_metadata": {
            "metadata_matcher": {
                "filter": TOKEN_METADATA[0],
                "path": [{"key": TOKEN_METADATA[1]}, {"key": "sub"}],
                "value": {"string_match": {"safe_regex": {"regex": ".+"}}},
            }
        }
    },
)


def edge_policies(methods: Iterable[Method]) -> Policies:
    """For the door: RPCs open to the outside, a policy or two for each package; the API; and the rest."""
    open_to_all: dict[str, list[str]] = {}
    signed_in: dict[str, list[str]] = {}
    for method in methods:
        (open_to_all if method.anonymous else signed_in).setdefault(method.package, []).append(method.path)
    return {
        **{f"{package}, signed in": policy(paths, SIGNED_IN) for package, paths in signed_in.items()},
        **{f"{package}, anybody": policy(paths, ANYBODY) for package, paths in open_to_all.items()},
        "the OpenAI-compatible API, signed in": {"permissions": [_under(OPENAI_PREFIX)], "principals": list(SIGNED_IN)},
        "the web app": {"permissions": [_nothing_of_those()], "principals": list(ANYBODY)},
    }


def compressed_policies() -> Policies:
    """What is refused whoever sends it: bodies and messages that come compressed."""
    encoded = {"header": {"name": "content-encoding", "present_match": True}}
    packed = {
        "and_rules": {
            "rules": [
                {"header": {"name": "grpc-encoding", "present_match": True}},
                {"not_rule": {"header": {"name": "grpc-encoding", "string_match": {"exact": "identity"}}}},
            ]
        }
    }
    return {COMPRESSED: {"permissions": [encoded, packed], "principals": list(ANYBODY)}}


def sidecar_policies(methods: Iterable[Method], topology: Topology) -> Policies:
    """For a sidecar: the RPCs that each workload may call, by the identity in its certificate."""
    paths: dict[str, list[str]] = {}
    for method in methods:
        for caller in method.callers:
            paths.setdefault(caller, []).append(method.path)
    return {
        caller: policy(paths[caller], ({"authenticated": {"principal_name": {"exact": topology.spiffe_id(caller)}}},))
        for caller in sorted(paths)
    }


def policy(paths: Iterable[str], principals: tuple[object, ...]) -> object:
    """Who may send these paths."""
    permissions = [{"url_path": {"path": {"exact": path}}} for path in sorted(paths)]
    return {"permissions": permissions, "principals": list(principals)}


def _under(prefix: str) -> object:
    return {"url_path": {"path": {"prefix": prefix}}}


def _nothing_of_those() -> object:
    others = [_under(prefix) for prefix in ("/deskmesh.", "/grpc.", OPENAI_PREFIX)]
    return {"not_rule": {"or_rules": {"rules": others}}}
