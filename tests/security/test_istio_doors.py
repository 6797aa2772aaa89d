"""What comes to a cluster's gateway by REST and for OAuth, by the manifests: answers as by gRPC, and no others."""

from collections.abc import Iterator

import pytest

from mesh.istio.plan import AUTH, EDGE, GATEWAY_PORT, JWKS_PATH, KEYS_PORT, OAUTH_PORT, RPC_PORT, WEB, WEB_PORT, Plan
from mesh.policy.http import OAUTH_DOCUMENTS
from mesh.policy.table import load_table, services
from mesh.rest.paths import VARIABLE, Binding, bindings
from services.common import revocations
from services.common.tokens import parse_jwks
from tests.security.callers import Caller, from_outside
from tests.security.istio import Answer, Mesh, Request, Workload
from tests.support.manifests import manifests
from tests.support.pki import TokenIssuer

PLAN = Plan.of(load_table())
BINDINGS = [one for service in services() for method in service.methods for one in bindings(method)]
ISSUER = TokenIssuer()
ORIGIN = "https://dev.deskmesh.example"
AT_THE_EDGE = Workload("dev", {"app": EDGE})
AT_AUTH = Workload("dev", {"app": AUTH})
ENDPOINTS = ("/oauth/authorize", "/oauth/token", "/oauth/userinfo", *OAUTH_DOCUMENTS)


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    keys = {f"http://auth.dev.svc.cluster.local:{KEYS_PORT}{JWKS_PATH}": dict(parse_jwks(ISSUER.jwks()))}
    return Mesh(manifests("dev"), keys)


def callers() -> Iterator[Caller]:
    for caller in from_outside(ISSUER):
        if caller.name in ("anonymous", "owner", "expired token", "forged token", "token of another issuer"):
            yield caller


def rpc_of(one: Binding) -> str:
    return f"/{one.method.containing_service.full_name}/{one.method.name}"


def at_the_gateway(mesh: Mesh, method: str, path: str, token: str | None) -> Answer:
    return mesh.answer_at_gateway(AT_THE_EDGE, Request(path, method=method, port=GATEWAY_PORT, token=token))


def test_every_path_of_rest_is_answered_as_its_rpc(mesh: Mesh) -> None:
    tokens = {caller.name: caller.token(ISSUER, iss=ORIGIN) for caller in callers()}
    seen = set()
    for one in BINDINGS:
        path, rpc = VARIABLE.sub("a_1", one.path), rpc_of(one)
        assert mesh.transcoded(AT_THE_EDGE, one.verb.upper(), path) == rpc
        assert mesh.destination(EDGE, rpc) == (PLAN_CALLEE[rpc], RPC_PORT)
        for name, token in tokens.items():
            answer = at_the_gateway(mesh, "POST", rpc, token)
            allowed = load_table()[rpc].anonymous or name == "owner"
            assert answer.allowed == (allowed and name in ("owner", "anonymous")), (one.path, name, answer)
            seen.add(answer.status)
    assert seen == {200, 401, 403}


PLAN_CALLEE = {rule.method: rule.callee for rule in PLAN.rules}


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/api/v1/nothing"),
        ("PUT", "/api/v1/me"),
        ("GET", "/api/v1/tickets/a/b/c"),
        ("POST", "/api/v1/api-keys:exchange"),
    ],
)
def test_what_rest_does_not_know_leads_nowhere(mesh: Mesh, verb: str, path: str) -> None:
    assert mesh.transcoded(AT_THE_EDGE, verb, path) == path
    assert mesh.destination(EDGE, path) == ("", 0)


def test_rest_is_transcoded_at_the_gateway_only(mesh: Mesh) -> None:
    assert mesh.transcoded(AT_AUTH, "GET", "/api/v1/me") == "/api/v1/me"


@pytest.mark.parametrize("path", ENDPOINTS)
def test_oauth_comes_through_the_gateway_to_auth_and_from_nowhere_else(mesh: Mesh, path: str) -> None:
    assert mesh.destination(EDGE, path) == (AUTH, OAUTH_PORT)
    for method in ("GET", "POST"):
        assert at_the_gateway(mesh, method, path, None).allowed
    assert at_the_gateway(mesh, "DELETE", path, None).status == 403

    def at_auth(principal: str, port: int = OAUTH_PORT, path: str = path) -> Answer:
        return mesh.answer(AT_AUTH, Request(path, principal, method="POST", port=port))

    assert at_auth("deskmesh.local/ns/dev/sa/edge").allowed
    assert at_auth("deskmesh.local/ns/dev/sa/tickets").status == 403
    assert at_auth("deskmesh.local/ns/staging/sa/edge").status == 403
    assert at_auth("").status == 0
    assert at_auth("deskmesh.local/ns/dev/sa/edge", path="/metrics").status == 403
    # By the port of the RPCs nobody gets to it, nor by its own to an RPC.
    assert at_auth("deskmesh.local/ns/dev/sa/edge", port=RPC_PORT).status == 403
    assert at_auth("deskmesh.local/ns/dev/sa/edge", path="/deskmesh.auth.v1.AuthService/SignIn").status == 403


def test_services_of_the_environment_alone_hear_what_was_revoked(mesh: Mesh) -> None:
    def at_auth(principal: str, path: str = revocations.PATH) -> Answer:
        return mesh.answer(AT_AUTH, Request(path, principal, method="GET", port=KEYS_PORT))

    for service in ("tickets", "gateway", "models"):
        assert at_auth(f"deskmesh.local/ns/dev/sa/{service}").allowed
    for other in ("ns/dev/sa/edge", "ns/dev/sa/web", "ns/dev/sa/inference", "ns/staging/sa/tickets"):
        assert at_auth(f"deskmesh.local/{other}").status == 403
        assert at_auth(f"deskmesh.local/{other}", JWKS_PATH).allowed
    assert at_auth("").status == 403


def test_a_token_for_the_userinfo_alone_reaches_it(mesh: Mesh) -> None:
    for audience, status in (("deskmesh/userinfo", 200), ("somebody-else", 401)):
        token = ISSUER.token(organization_id="org_a", user_id="usr_a", roles=(), iss=ORIGIN, aud=audience)
        assert at_the_gateway(mesh, "GET", "/oauth/userinfo", token).status == status


def test_pages_and_their_parts_go_to_the_web_app(mesh: Mesh) -> None:
    for path in ("/", "/docs/", "/docs/openapi.json", "/consent", "/.well-known/other"):
        assert mesh.destination(EDGE, path) == (WEB, WEB_PORT)
        assert at_the_gateway(mesh, "GET", path, None).allowed
        assert at_the_gateway(mesh, "POST", path, None).status == 403
