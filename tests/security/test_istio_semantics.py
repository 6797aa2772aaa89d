"""The evaluator answers as Istio's documentation says, on the kinds of examples that stand there."""

import time
from typing import Any

import pytest
import yaml

from services.common.tokens import parse_jwks
from tests.security.istio import ALLOWED, REMOVE, Answer, Checked, Mesh, Request, Unknown, Workload
from tests.support.pki import TokenIssuer

JWKS = "https://keys.example/jwks.json"
HTTPBIN = Workload("foo", {"app": "httpbin"})
SLEEP = "cluster.local/ns/default/sa/sleep"
TEST = "cluster.local/ns/test/sa/anybody"
OTHER = "cluster.local/ns/bar/sa/other"
ISSUER = TokenIssuer()


def mesh(*specs: str, **options: Any) -> Mesh:
    """A mesh of resources in namespace foo, each written as `Kind: spec`."""
    resources: list[dict[str, Any]] = []
    for spec in specs:
        [(kind, body)] = yaml.safe_load(spec).items()
        name = str(len(resources))
        metadata = {"name": name, "namespace": (body or {}).pop("namespace", "foo")}
        resources.append({"kind": kind, "metadata": metadata, "spec": body})
    return Mesh(resources, {JWKS: dict(parse_jwks(ISSUER.jwks()))}, **options)


def token(**changes: Any) -> str:
    claims = {"organization_id": "o", "user_id": "somebody", "roles": (), "iss": "issuer-foo", "aud": "bookinfo"}
    return ISSUER.token(**claims | changes)


GOOGLE = """
AuthorizationPolicy:
  rules:
  - from:
    - source: {principals: ["cluster.local/ns/default/sa/sleep"]}
    - source: {namespaces: ["test"]}
    to:
    - operation: {methods: ["GET"], paths: ["/info*"]}
    - operation: {methods: ["POST"], paths: ["/data"]}
    when:
    - {key: "request.auth.claims[iss]", values: ["issuer-foo"]}
"""
TOKENS = "RequestAuthentication: {jwtRules: [{issuer: issuer-foo, jwksUri: 'https://keys.example/jwks.json'}]}"
STRICT = "PeerAuthentication: {mtls: {mode: STRICT}}"


@pytest.mark.parametrize(
    ("principal", "method", "path", "with_token", "allowed"),
    [
        (SLEEP, "GET", "/info", True, True),
        (SLEEP, "GET", "/information/more", True, True),
        (TEST, "POST", "/data", True, True),
        (SLEEP, "POST", "/info", True, False),
        (SLEEP, "POST", "/data/more", True, False),
        (OTHER, "GET", "/info", True, False),
        ("", "GET", "/info", True, False),
        (SLEEP, "GET", "/info", False, False),
    ],
)
def test_sources_operations_and_conditions(
    principal: str, method: str, path: str, with_token: bool, allowed: bool
) -> None:
    request = Request(path, principal, method, token=token() if with_token else None)
    assert mesh(TOKENS, GOOGLE).answer(HTTPBIN, request).allowed == allowed


@pytest.mark.parametrize(
    ("policies", "allowed"),
    [
        ([], True),
        (["AuthorizationPolicy: {}"], False),  # allow-nothing
        (["AuthorizationPolicy: {rules: [{}]}"], True),  # allow-all
        (["AuthorizationPolicy: {action: DENY, rules: [{}]}"], False),  # deny-all
        (["AuthorizationPolicy: {rules: [{}]}", "AuthorizationPolicy: {action: DENY, rules: [{}]}"], False),
        (["AuthorizationPolicy: {}", "AuthorizationPolicy: {rules: [{}]}"], True),
        (["AuthorizationPolicy: {selector: {matchLabels: {app: another}}}"], True),
        (["AuthorizationPolicy: {namespace: bar}"], True),
        (["AuthorizationPolicy: {namespace: istio-system}"], False),
        (["AuthorizationPolicy: {action: AUDIT, rules: [{}]}"], True),
        (["AuthorizationPolicy: {action: DENY}"], True),
    ],
)
def test_the_order_of_policies(policies: list[str], allowed: bool) -> None:
    assert mesh(*policies).answer(HTTPBIN, Request("/", SLEEP)).allowed == allowed


def test_a_denial_of_a_namespace_and_of_those_without_a_token() -> None:
    dev = "cluster.local/ns/dev/sa/somebody"
    denial = """
AuthorizationPolicy:
  action: DENY
  rules: [{from: [{source: {namespaces: [dev]}}], to: [{operation: {methods: [POST]}}]}]
"""
    assert not mesh(denial).answer(HTTPBIN, Request("/", dev)).allowed
    assert mesh(denial).answer(HTTPBIN, Request("/", dev, "GET")).allowed
    assert mesh(denial).answer(HTTPBIN, Request("/", SLEEP)).allowed
    missing = """
AuthorizationPolicy:
  action: DENY
  rules: [{from: [{source: {notRequestPrincipals: ["*"]}}], to: [{operation: {notPaths: [/healthz]}}]}]
"""
    assert mesh(TOKENS, missing).answer(HTTPBIN, Request("/", SLEEP)).status == 403
    assert mesh(TOKENS, missing).answer(HTTPBIN, Request("/healthz", SLEEP)).allowed
    assert mesh(TOKENS, missing).answer(HTTPBIN, Request("/", SLEEP, token=token())).allowed


def test_request_principals_hosts_and_ports() -> None:
    policy = """
AuthorizationPolicy:
  rules:
  - from: [{source: {requestPrincipals: ["issuer-foo/*"]}}]
    to: [{operation: {hosts: ["*.example.com"], ports: ["443"]}}]
"""
    made = mesh(TOKENS, policy)
    request = Request("/", SLEEP, host="api.example.com", port=443, token=token())
    assert made.answer(HTTPBIN, request).allowed
    for other in (
        Request("/", SLEEP, host="api.example.com", port=443),
        Request("/", SLEEP, host="example.org", port=443, token=token()),
        Request("/", SLEEP, host="api.example.com", port=80, token=token()),
    ):
        assert made.answer(HTTPBIN, other).status == 403


@pytest.mark.parametrize(("seconds", "status"), [(-30, 200), (-90, 401), (90, 200)])
def test_an_end_is_taken_with_a_minute_to_spare(seconds: int, status: int) -> None:
    late = token(exp=int(time.time()) + seconds)
    assert mesh(TOKENS).answer(HTTPBIN, Request("/", SLEEP, token=late)).status == status


@pytest.mark.parametrize(("seconds", "status"), [(30, 200), (90, 401)])
def test_a_beginning_is_taken_with_a_minute_to_spare(seconds: int, status: int) -> None:
    early = token(nbf=int(time.time()) + seconds)
    assert mesh(TOKENS).answer(HTTPBIN, Request("/", SLEEP, token=early)).status == status


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 200),
        ({"iss": "issuer-bar"}, 401),
        ({"aud": "another"}, 401),
        ({"headers": {"kid": "another"}}, 401),
        ({"key": TokenIssuer().key}, 401),
    ],
)
def test_a_token_that_comes_must_hold(changes: dict[str, Any], status: int) -> None:
    rules = TOKENS.replace("issuer-foo,", "issuer-foo, audiences: [bookinfo],")
    assert mesh(rules).answer(HTTPBIN, Request("/", SLEEP, token=token(**changes))).status == status


def test_no_token_is_no_bad_token() -> None:
    assert mesh(TOKENS).answer(HTTPBIN, Request("/", SLEEP)) == ALLOWED
    assert mesh(TOKENS).answer(HTTPBIN, Request("/", SLEEP, token="junk")).status == 401


ASK = """
AuthorizationPolicy:
  selector: {matchLabels: {app: httpbin}}
  action: CUSTOM
  provider: {name: keys}
  rules: [{when: [{key: "request.headers[x-key]", values: ["*"]}]}]
"""
PROVIDER = {
    "service": "checker.foo.svc.cluster.local",
    "port": 9000,
    "pathPrefix": "/check",
    "timeout": "1s",
    "failOpen": False,
    "statusOnError": "503",
    "includeRequestHeadersInCheck": ["x-key"],
    "headersToUpstreamOnAllow": ["authorization"],
}
SETTINGS = {"trustDomain": "cluster.local", "extensionProviders": [{"name": "keys", "envoyExtAuthzHttp": PROVIDER}]}


def asked(checked: Checked | None, *specs: str, settings: Any = SETTINGS) -> tuple[Answer, Request, list[Request]]:
    """The answer to a request with a key, the request as it goes on, and what the provider was asked."""
    seen: list[Request] = []

    def check(service: str, port: int, request: Request) -> Checked | None:
        assert (service, port) == ("checker", 9000)
        seen.append(request)
        return checked

    made = mesh(ASK, *specs, settings=settings, check=check)
    return *made.passed(HTTPBIN, Request("/a?b=1", SLEEP, headers={"x-key": "k", "x-other": "o"})), seen


def test_external_authorization_puts_a_token_in_place_of_a_key_before_tokens_are_checked() -> None:
    good = Checked(200, {"authorization": f"Bearer {token()}", "x-told": "left out", REMOVE: "x-key"})
    answer, request, [check] = asked(good, TOKENS)
    assert answer == ALLOWED
    assert request.token == good.headers["authorization"].removeprefix("Bearer ")
    assert request.headers == {"x-other": "o"}
    assert (check.path, check.headers) == ("/check/a?b=1", {"x-key": "k"})
    assert check.principal == "cluster.local/ns/foo/sa/httpbin"
    bad = Checked(200, {"authorization": f"Bearer {token(iss='issuer-bar')}"})
    assert asked(bad, TOKENS)[0].status == 401


@pytest.mark.parametrize(("checked", "status"), [(Checked(401, {}), 401), (Checked(429, {}), 429), (None, 503)])
def test_who_the_provider_refuses_is_refused_also_when_it_is_away(checked: Checked | None, status: int) -> None:
    answer, request, _ = asked(checked, TOKENS)
    assert answer.status == status
    assert request.headers["x-key"] == "k"


def test_the_provider_is_asked_through_its_own_proxy_and_only_where_a_rule_says_so() -> None:
    answer, _, seen = asked(Checked(200, {}), "AuthorizationPolicy: {selector: {matchLabels: {app: checker}}}")
    assert (answer.status, seen) == (403, [])
    assert mesh(ASK).answer(HTTPBIN, Request("/", SLEEP)) == ALLOWED
    assert asked(Checked(200, {}), settings={"extensionProviders": []})[0].status == 403
    open_ = {"extensionProviders": [{"name": "keys", "envoyExtAuthzHttp": PROVIDER | {"failOpen": True}}]}
    with pytest.raises(Unknown):
        asked(Checked(200, {}), settings=open_)


MESH_WIDE = "PeerAuthentication: {namespace: istio-system, mtls: {mode: STRICT}}"
NO_TLS = "PeerAuthentication: {selector: {matchLabels: {app: httpbin}}, mtls: {mode: DISABLE}}"
ONE_PORT = """
PeerAuthentication:
  selector: {matchLabels: {app: httpbin}}
  mtls: {mode: UNSET}
  portLevelMtls: {8080: {mode: DISABLE}}
"""


@pytest.mark.parametrize(
    ("policies", "port", "mode"),
    [
        ([], 0, "PERMISSIVE"),
        ([STRICT], 0, "STRICT"),
        ([STRICT, NO_TLS], 0, "DISABLE"),
        ([STRICT, NO_TLS.replace("httpbin", "another")], 0, "STRICT"),
        ([MESH_WIDE], 0, "STRICT"),
        ([MESH_WIDE.replace("istio-system", "bar")], 0, "PERMISSIVE"),
        ([MESH_WIDE, STRICT.replace("STRICT", "PERMISSIVE")], 0, "PERMISSIVE"),
        ([STRICT, ONE_PORT], 8080, "DISABLE"),
        ([STRICT, ONE_PORT], 9090, "STRICT"),
    ],
)
def test_the_narrowest_peer_authentication_counts(policies: list[str], port: int, mode: str) -> None:
    made = mesh(*policies)
    assert made.mode(HTTPBIN, port) == mode
    without_tls = made.answer(HTTPBIN, Request("/", port=port))
    assert without_tls == (Answer(0, without_tls.why) if mode == "STRICT" else ALLOWED)


@pytest.mark.parametrize(
    "policy",
    [
        "AuthorizationPolicy: {action: SOMETHING, rules: [{}]}",
        # External authorization knows nobody yet.
        "AuthorizationPolicy: {action: CUSTOM, provider: {name: a}, rules: [{when: [{key: request.auth.principal}]}]}",
        "AuthorizationPolicy: {action: CUSTOM, provider: {name: a}, rules: [from: [source: {requestPrincipals: []}]]}",
        "AuthorizationPolicy: {rules: [{}, {from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]}",
        "AuthorizationPolicy: {rules: [{to: [{operation: {paths: ['/a/{*}']}}]}]}",
        "AuthorizationPolicy: {rules: [{when: [{key: connection.sni, values: [a]}]}]}",
    ],
)
def test_what_is_not_evaluated_is_not_passed_over(policy: str) -> None:
    with pytest.raises(Unknown):
        mesh(policy).answer(HTTPBIN, Request("/", SLEEP))
