"""API keys and the OpenAI-compatible API at a cluster's gateway, by the manifests: what the laptop's edge does."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.envoy.methods import load_methods
from mesh.envoy.render import render
from mesh.envoy.topology import Topology
from mesh.istio.control_plane import ASKED_WITH, provider_of
from mesh.istio.layout import ENVIRONMENTS
from mesh.istio.plan import CHECKS_PORT, EDGE, GATEWAY, GATEWAY_PORT, JWKS_PATH, KEYS_PORT, OPENAI_PORT, TRUST_DOMAIN
from mesh.policy.http import CHAT_COMPLETIONS, EMBEDDINGS, MODELS
from services.common.api_keys import new_key
from services.common.errors import DomainError
from services.common.tokens import parse_jwks
from services.gateway.servicer import REMOVE, key_of
from tests.security.enforcers import mesh_settings
from tests.security.istio import Answer, Checked, Mesh, Request, Workload
from tests.support.manifests import manifests
from tests.support.pki import TokenIssuer

ISSUER = TokenIssuer()
AT_THE_EDGE = Workload("dev", {"app": EDGE})
AT_THE_GATEWAY = Workload("dev", {"app": GATEWAY})
EDGE_ITSELF = f"{TRUST_DOMAIN}/ns/dev/sa/edge"
WHO_AM_I = "/deskmesh.auth.v1.AuthService/WhoAmI"
SIGN_IN = "/deskmesh.auth.v1.AuthService/SignIn"
TOKEN = ISSUER.token(
    organization_id="org_a", user_id="usr_a", roles=("owner",), iss="https://dev.deskmesh.example", exp=4_000_000_000
)
KEY, REVOKED = new_key(), new_key()


def gateway(service: str, port: int, request: Request) -> Checked:
    """Answers as the gateway does, which knows one key."""
    assert (service, port) == (GATEWAY, CHECKS_PORT)
    assert request.path.startswith("/keys/")
    try:
        key = key_of(request.sent.get("authorization", ""), request.sent.get("x-api-key", ""))
    except DomainError:
        return Checked(401, {})
    if key != KEY:
        return Checked(401, {})
    return Checked(200, {"authorization": f"Bearer {TOKEN}", REMOVE: "x-api-key", "ratelimit-limit": "1"})


@cache
def built() -> list[dict[str, Any]]:
    return manifests("dev")


def mesh(*more: dict[str, Any], check: Any = gateway) -> Mesh:
    keys = {f"http://auth.dev.svc.cluster.local:{KEYS_PORT}{JWKS_PATH}": dict(parse_jwks(ISSUER.jwks()))}
    return Mesh([*built(), *more], keys, settings=mesh_settings("dev"), check=check)


AS_TOKEN: Mapping[str, Any] = {"token": KEY}
AS_HEADER: Mapping[str, Any] = {"headers": {"x-api-key": KEY}}


def coming(path: str, method: str = "POST", **what: Any) -> Request:
    return Request(path, method=method, port=GATEWAY_PORT, **what)


@pytest.mark.parametrize("path", [WHO_AM_I, SIGN_IN, MODELS, CHAT_COMPLETIONS, EMBEDDINGS])
@pytest.mark.parametrize("key", [AS_TOKEN, AS_HEADER, {**AS_TOKEN, **AS_HEADER}])
def test_a_key_goes_on_as_a_token_and_never_as_itself(path: str, key: Mapping[str, Any]) -> None:
    answer, request = mesh().passed(AT_THE_EDGE, coming(path, **key))
    assert answer.allowed, answer
    assert request.token == TOKEN
    assert KEY not in str(request)


@pytest.mark.parametrize("path", [WHO_AM_I, SIGN_IN, CHAT_COMPLETIONS, "/oauth/token"])
@pytest.mark.parametrize(
    "key",
    [
        {"token": REVOKED},
        {"headers": {"x-api-key": REVOKED}},
        {"headers": {"x-api-key": "no key"}},
        {"token": TOKEN, **AS_HEADER},
    ],
)
def test_what_is_no_key_lets_nobody_in(path: str, key: Mapping[str, Any]) -> None:
    assert mesh().answer_at_gateway(AT_THE_EDGE, coming(path, **key)).status == 401


def test_without_the_gateway_keys_are_refused_and_tokens_go_on() -> None:
    alone = mesh(check=lambda *_: None)
    assert alone.answer_at_gateway(AT_THE_EDGE, coming(WHO_AM_I, **AS_HEADER)).status == 503
    assert alone.answer_at_gateway(AT_THE_EDGE, coming(WHO_AM_I, token=TOKEN)).allowed
    assert alone.answer_at_gateway(AT_THE_EDGE, coming(SIGN_IN)).allowed


def test_a_key_where_tokens_stand_comes_past_the_gateways_own_proxy() -> None:
    of_auth = next(
        one for one in built() if (one["kind"], one["metadata"]["name"]) == ("RequestAuthentication", "auth")
    )
    everywhere = {**of_auth, "spec": {"jwtRules": of_auth["spec"]["jwtRules"]}}
    # So the test would notice a check of tokens there, which takes a key for a broken one.
    assert mesh(everywhere).answer_at_gateway(AT_THE_EDGE, coming(WHO_AM_I, **AS_TOKEN)).status == 401
    assert mesh().answer_at_gateway(AT_THE_EDGE, coming(WHO_AM_I, **AS_TOKEN)).allowed


@pytest.mark.parametrize("path", [MODELS, f"{MODELS}/a/b", CHAT_COMPLETIONS, EMBEDDINGS, "/v1/nothing"])
def test_the_openai_api_leads_to_the_gateway_for_those_who_are_signed_in(path: str) -> None:
    made = mesh()
    assert made.destination(EDGE, path) == (GATEWAY, OPENAI_PORT)
    for method in ("GET", "POST"):
        assert made.answer_at_gateway(AT_THE_EDGE, coming(path, method, token=TOKEN)).allowed
        assert made.answer_at_gateway(AT_THE_EDGE, coming(path, method)).status == 403
    expired = ISSUER.token(organization_id="o", user_id="u", roles=(), iss="https://dev.deskmesh.example", exp=1)
    assert made.answer_at_gateway(AT_THE_EDGE, coming(path, token=expired)).status == 401
    # A browser's question beforehand.
    assert made.answer_at_gateway(AT_THE_EDGE, coming(path, "OPTIONS")).allowed


def test_only_the_edge_reaches_the_gateway_and_each_port_for_its_own_paths() -> None:
    def at_the_gateway(principal: str, port: int, path: str) -> Answer:
        return mesh().answer(AT_THE_GATEWAY, Request(path, principal, port=port))

    for port, path in ((CHECKS_PORT, f"/keys{WHO_AM_I}"), (OPENAI_PORT, CHAT_COMPLETIONS)):
        assert at_the_gateway(EDGE_ITSELF, port, path).allowed
        assert at_the_gateway("", port, path).status == 0
        for other in ("ns/dev/sa/tickets", "ns/dev/sa/orchestrator", "ns/staging/sa/edge"):
            assert at_the_gateway(f"{TRUST_DOMAIN}/{other}", port, path).status == 403
        assert at_the_gateway(EDGE_ITSELF, port, "/metrics").status == 403
    assert at_the_gateway(EDGE_ITSELF, OPENAI_PORT, f"/keys{WHO_AM_I}").status == 403
    assert at_the_gateway(EDGE_ITSELF, CHECKS_PORT, CHAT_COMPLETIONS).status == 403


@pytest.mark.parametrize("environment", sorted(ENVIRONMENTS))
def test_each_environment_asks_its_own_gateway(environment: str) -> None:
    [provider] = mesh_settings(environment)["extensionProviders"]
    assert provider["name"] == provider_of(environment)
    assert provider["envoyExtAuthzHttp"]["service"] == f"{GATEWAY}.{environment}.svc.cluster.local"


def test_the_check_is_the_one_of_the_laptops_edge() -> None:
    config = yaml.safe_load(render("edge", LAPTOP, load_methods()))
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    [keys] = [one for one in manager["http_filters"] if one["name"] == "api-keys"]
    laptop = keys["typed_config"]["extension_config"]["typed_config"]
    asked, answered = laptop["http_service"], laptop["http_service"]["authorization_response"]
    [provider] = mesh_settings("prod")["extensionProviders"]
    cluster = provider["envoyExtAuthzHttp"]
    assert cluster["failOpen"] == laptop["failure_mode_allow"]
    assert cluster["statusOnError"] == str(laptop["status_on_error"]["code"])
    assert (cluster["pathPrefix"], cluster["timeout"]) == (asked["path_prefix"], asked["server_uri"]["timeout"])
    # Envoy sends this one in any case.
    assert set(ASKED_WITH) - {"authorization"} == set(names(laptop["allowed_headers"]))
    assert cluster["headersToUpstreamOnAllow"] == names(answered["allowed_upstream_headers"])
    assert cluster["headersToDownstreamOnAllow"] == names(answered["allowed_client_headers_on_success"])
    assert cluster["headersToDownstreamOnDeny"] == names(answered["allowed_client_headers"])


LAPTOP = Topology(
    edge_port=8443,
    inference_port=7110,
    upstreams=(),
    llm_applications=("llm",),
    trust_domain=TRUST_DOMAIN,
    environment="dev",
    token_issuer="https://deskmesh.local",
    token_audience="deskmesh",
    pki=Path("/pki"),
    run=Path("/run"),
    envoy=Path("/envoy"),
)


def names(matchers: Mapping[str, Any]) -> list[str]:
    return [one.get("exact") or f"{one['prefix']}*" for one in matchers["patterns"]]
