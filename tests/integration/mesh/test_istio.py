"""The manifests for a cluster: kustomize builds them, their schemas accept them, and what they refer to is there."""

import ipaddress
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mesh.envoy.methods import load_methods
from mesh.envoy.render import render
from mesh.istio.control_plane import provider_of
from mesh.istio.layout import ENVIRONMENTS
from mesh.istio.plan import AUTH, EDGE, HOST, NAMESPACE, RPC_PORT, TRUST_DOMAIN, Plan
from mesh.policy.http import HTTP_RULES
from mesh.policy.table import load_table
from services.auth.adapters.outside import is_public
from tests.integration.mesh.envoys import Ground
from tests.support.manifests import ROOT, Resource, built, manifests, validate

TOOLS = ROOT / "tools" / "kubernetes"
PLAN = Plan.of(load_table())


@pytest.fixture(scope="module", params=sorted(ENVIRONMENTS))
def environment(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def text(environment: str) -> str:
    return built(environment)


@pytest.fixture(scope="module")
def resources(environment: str) -> list[Resource]:
    return manifests(environment)


@pytest.fixture(scope="module")
def of_kind(resources: list[Resource]) -> Callable[[str], dict[str, Resource]]:
    return lambda kind: {one["metadata"]["name"]: one for one in resources if one["kind"] == kind}


def crd_check(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    file = folder / "manifests.yaml"
    file.write_text(text)
    return subprocess.run(["node", TOOLS / "validate.mjs", file], capture_output=True, text=True, check=False)


def test_the_schemas_of_istio_accept_them(text: str, tmp_path: Path) -> None:
    checked = crd_check(tmp_path, text)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("mode: STRICT", "mode: LENIENT"), ("jwtRules:", "tokenRules:"), ("requestPrincipals:", "requestPrincipal:")],
)
def test_the_check_sees_wrong_values_and_unknown_fields(right: str, wrong: str, tmp_path: Path) -> None:
    checked = crd_check(tmp_path, built("dev").replace(right, wrong))
    assert checked.returncode == 1
    assert ", 0 problems" not in checked.stdout


def test_the_schemas_of_kubernetes_accept_them(resources: list[Resource]) -> None:
    core = [one for one in resources if "istio.io" not in one["apiVersion"]]
    assert {one["kind"] for one in core} == {
        *("Namespace", "ServiceAccount", "Service", "NetworkPolicy", "Role", "RoleBinding"),
        *("Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget"),
    }
    for one in core:
        validate(one)


def test_everything_is_in_the_namespace_of_its_environment(
    environment: str, text: str, resources: list[Resource]
) -> None:
    assert {one["metadata"]["namespace"] for one in resources if one["kind"] != "Namespace"} == {environment}
    for placeholder in (f"ns/{NAMESPACE}/", f".{NAMESPACE}.svc", f".{NAMESPACE}.internal", f"https://{HOST}\n"):
        assert placeholder not in text or ENVIRONMENTS[environment].host in placeholder


def test_policies_name_accounts_that_are_there(
    environment: str, resources: list[Resource], of_kind: Callable[[str], dict[str, Resource]]
) -> None:
    principals = {
        principal
        for policy in of_kind("AuthorizationPolicy").values()
        for rule in policy["spec"].get("rules", [])
        for source in rule.get("from", [])
        for principal in source["source"].get("principals", [])
    }
    accounts = {f"{TRUST_DOMAIN}/ns/{environment}/sa/{name}" for name in of_kind("ServiceAccount")}
    assert principals
    assert principals <= accounts


def test_routes_and_pools_lead_to_services_that_are_there(of_kind: Callable[[str], dict[str, Resource]]) -> None:
    ports = {name: {port["port"] for port in one["spec"]["ports"]} for name, one in of_kind("Service").items()}
    routed = [
        destination["destination"]
        for route in of_kind("VirtualService")[EDGE]["spec"]["http"]
        for destination in route.get("route", [])
    ]
    assert routed
    for destination in routed:
        assert destination["port"]["number"] in ports[destination["host"]]
    assert {one["spec"]["host"] for one in of_kind("DestinationRule").values()} == ports.keys() - {EDGE}


def test_the_edge_asks_about_keys_by_the_provider_of_its_environment(
    environment: str, of_kind: Callable[[str], dict[str, Resource]]
) -> None:
    assert of_kind("AuthorizationPolicy")["api-keys"]["spec"]["provider"] == {"name": provider_of(environment)}


def test_exactly_the_rpcs_open_to_the_outside_are_routed(of_kind: Callable[[str], dict[str, Resource]]) -> None:
    routes = of_kind("VirtualService")[EDGE]["spec"]["http"]
    exact = [
        match["uri"]["exact"]
        for route in routes
        for match in route["match"]
        if "exact" in match["uri"] and route["name"] != "oauth"
    ]
    assert sorted(exact) == sorted([*(rule.method for rule in PLAN.from_outside), *HTTP_RULES])
    last = ["openai", "openai-others", "no-such-call", "oauth", "web"]
    assert [route["name"] for route in routes[-len(last) :]] == last


def test_answers_say_to_browsers_what_the_laptops_edge_says(tmp_path: Path) -> None:
    config = yaml.safe_load(render("edge", Ground.make(tmp_path).topology, load_methods()))
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    edge = manager["route_config"]
    everywhere = said(edge)
    # Envoy's own answers, and what a cluster's proxies say of traces, are not the routes' business.
    del everywhere["x-trace-id"]
    by_cluster = {one.get("route", {}).get("cluster"): said(one) for one in edge["virtual_hosts"][0]["routes"]}
    [routes] = (one["spec"]["http"] for one in manifests("prod") if one["kind"] == "VirtualService")
    seen = set()
    for route in routes:
        if "route" not in route:
            continue
        name = route["name"] if route["name"] in ("web", "oauth") else "auth"
        wanted = {**everywhere, **by_cluster[name]}
        if name != "auth":
            # Said by whoever answers.
            del wanted["cache-control"]
        assert route["headers"]["response"] == {"set": wanted}
        seen.add(name)
    assert seen == {"web", "oauth", "auth"}


def said(config: Resource) -> dict[str, str]:
    return {one["header"]["key"]: one["header"]["value"] for one in config.get("response_headers_to_add", [])}


def test_auth_alone_reaches_the_internet_by_https_and_nothing_private(
    of_kind: Callable[[str], dict[str, Resource]],
) -> None:
    modes = {name: one["spec"]["outboundTrafficPolicy"]["mode"] for name, one in of_kind("Sidecar").items()}
    assert {name for name, mode in modes.items() if mode != "REGISTRY_ONLY"} == {AUTH}
    reached = {
        name: [(to["ipBlock"], rule["ports"]) for to in rule["to"] if to.get("ipBlock", {}).get("cidr") == "0.0.0.0/0"]
        for name, one in of_kind("NetworkPolicy").items()
        for rule in one["spec"].get("egress", [])
        if any(to.get("ipBlock", {}).get("cidr") == "0.0.0.0/0" for to in rule["to"])
    }
    assert reached.keys() == {AUTH}
    [(block, ports)] = reached[AUTH]
    assert ports == [{"protocol": "TCP", "port": 443}]
    left_out = [ipaddress.ip_network(one) for one in block["except"]]
    for address in ("10.1.2.3", "172.31.0.1", "192.168.7.7", "169.254.169.254", "127.0.0.1", "100.100.1.1"):
        assert any(ipaddress.ip_address(address) in network for network in left_out)
        assert not is_public(ipaddress.ip_address(address))


def test_the_network_lets_through_exactly_the_calls_of_the_policy(
    of_kind: Callable[[str], dict[str, Resource]],
) -> None:
    policies = of_kind("NetworkPolicy")
    assert policies["deny-all"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for callee in PLAN.callees:
        [rpcs] = [
            rule
            for rule in policies[callee]["spec"]["ingress"]
            if rule["ports"] == [{"protocol": "TCP", "port": RPC_PORT}]
        ]
        pods = tuple(sorted(peer["podSelector"]["matchLabels"]["app"] for peer in rpcs["from"]))
        assert pods == PLAN.callers_of(callee)
