"""The pods of a cluster: every account of the policy has some, they are told all that their programs read and nothing
else, listen where they are called, end in order, and have no rights."""

import importlib.util
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from laptop.stack import SERVICES
from mesh.istio.deployed import BY_NAME, DEPLOYED, ELSEWHERE, OF_POSTGRES, OPS_SOCKET, SECRETS
from mesh.istio.layout import ENVIRONMENTS, NO_DIGEST
from mesh.istio.migrate import MIGRATED
from mesh.istio.plan import EDGE, Plan
from mesh.istio.pods import FAREWELL_SECONDS, IMAGE
from mesh.policy.table import load_table
from services.auth.settings import AuthSettings
from services.common.migrate import MigrateSettings
from services.common.settings import ServiceSettings
from services.gateway.settings import GatewaySettings
from services.knowledge.settings import KnowledgeSettings
from services.models.settings import ModelsSettings
from services.orchestrator.settings import OrchestratorSettings
from services.sessions.settings import SessionsSettings
from services.tickets.settings import TicketsSettings
from services.usage.settings import UsageSettings
from tests.support.manifests import ROOT, Resource, built, manifests, validate

PLAN = Plan.of(load_table())
SETTINGS: Mapping[str, type[ServiceSettings]] = {
    "auth": AuthSettings,
    "gateway": GatewaySettings,
    "knowledge": KnowledgeSettings,
    "models": ModelsSettings,
    "orchestrator": OrchestratorSettings,
    "sessions": SessionsSettings,
    "tickets": TicketsSettings,
    "usage": UsageSettings,
}
# Read by the stores of secrets, not by a service.
OF_STORES = {"secrets_mount"}
VALUES = {"key_encryption_key": "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="}


@pytest.fixture(scope="module", params=sorted(ENVIRONMENTS))
def environment(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def resources(environment: str) -> list[Resource]:
    return manifests(environment)


@pytest.fixture(scope="module")
def jobs(environment: str) -> list[Resource]:
    return list(yaml.load_all(built(f"{environment}/migrations"), Loader=yaml.CSafeLoader))


def of_kind(resources: list[Resource], kind: str) -> dict[str, Resource]:
    return {one["metadata"]["name"]: one for one in resources if one["kind"] == kind}


def templates(*resources: Resource) -> dict[str, Resource]:
    """The pods, by the workload."""
    pods = (one for one in resources if one["kind"] in ("Deployment", "Job"))
    return {one["metadata"]["name"]: one["spec"]["template"] for one in pods}


def containers(template: Resource) -> list[Resource]:
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def selected(template: Resource, labels: Mapping[str, str]) -> bool:
    shown: Mapping[str, str] = template["metadata"]["labels"]
    return labels.items() <= shown.items()


def variables(template: Resource, namespace: str) -> dict[str, str]:
    """What the process sees in its environment."""
    [container] = template["spec"]["containers"]
    found = {}
    for one in container["env"]:
        source = one.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        assert source in (None, "metadata.namespace")
        found[one["name"]] = namespace if source else one["value"]
    return found


def test_every_account_has_pods_and_they_show_it(resources: list[Resource]) -> None:
    assert set(PLAN.workloads) == {*BY_NAME, *ELSEWHERE}
    assert not BY_NAME.keys() & ELSEWHERE
    pods = templates(*resources)
    assert pods.keys() == BY_NAME.keys()
    accounts = of_kind(resources, "ServiceAccount")
    for name, template in pods.items():
        assert template["spec"]["serviceAccountName"] == name
        assert name in accounts


def test_a_service_leads_to_its_own_pods_by_ports_that_they_have(resources: list[Resource]) -> None:
    pods = templates(*resources)
    for name, service in of_kind(resources, "Service").items():
        if name in ELSEWHERE:
            continue
        assert [one for one, template in pods.items() if selected(template, service["spec"]["selector"])] == [name]
        [container] = pods[name]["spec"]["containers"]
        here = {port["containerPort"] for port in container["ports"]}
        assert {port.get("targetPort", port["port"]) for port in service["spec"]["ports"]} == here


def test_what_a_proxy_lets_in_it_hands_to_where_the_process_listens(
    resources: list[Resource], environment: str
) -> None:
    pods = templates(*resources)
    for name, sidecar in of_kind(resources, "Sidecar").items():
        if name in ELSEWHERE:
            continue
        [container] = pods[name]["spec"]["containers"]
        told = {*variables(pods[name], environment).values(), *container["command"]}
        listeners = sidecar["spec"].get("ingress", [])
        assert {one["port"]["number"] for one in listeners} == {port["containerPort"] for port in container["ports"]}
        for one in listeners:
            assert one["defaultEndpoint"] == f"127.0.0.1:{one['port']['number']}"
            assert one["defaultEndpoint"] in told


def test_policies_are_about_pods_and_ports_that_there_are(resources: list[Resource], jobs: list[Resource]) -> None:
    pods = templates(*resources, *jobs)
    elsewhere = [{"metadata": {"labels": {"app": name}}} for name in ELSEWHERE]
    everybody = [*pods.values(), *elsewhere]
    for policy in of_kind([*resources, *jobs], "NetworkPolicy").values():
        spec = policy["spec"]
        peers = [
            peer["podSelector"]
            for rules, side in (("ingress", "from"), ("egress", "to"))
            for rule in spec.get(rules, [])
            for peer in rule.get(side, [])
            if "podSelector" in peer and "namespaceSelector" not in peer
        ]
        for chosen in (spec["podSelector"], *peers):
            assert any(selected(one, chosen.get("matchLabels", {})) for one in everybody), policy["metadata"]["name"]
    for policy in of_kind(resources, "AuthorizationPolicy").values():
        chosen = policy["spec"].get("selector", {}).get("matchLabels", {})
        assert any(selected(one, chosen) for one in everybody)
    for name, template in templates(*resources).items():
        [container] = template["spec"]["containers"]
        here = {port["containerPort"] for port in container["ports"]}
        let_in = {
            port["port"]
            for rule in of_kind(resources, "NetworkPolicy")[name]["spec"]["ingress"]
            for port in rule["ports"]
        }
        allowed = {
            int(port)
            for policy in of_kind(resources, "AuthorizationPolicy").values()
            if policy["spec"].get("selector", {}).get("matchLabels") == {"app": name}
            for rule in policy["spec"].get("rules", [])
            for to in rule.get("to", [])
            for port in to["operation"].get("ports", [])
        }
        assert let_in == here
        assert allowed == here


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Settings as a process with these variables, and with a Secret of these names, reads them."""

    def read(kind: type[BaseSettings], variables: Mapping[str, str], secrets: tuple[str, ...]) -> BaseSettings:
        for name in [name for name in os.environ if name.startswith("DESKMESH_")]:
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        for name in secrets:
            (tmp_path / name).write_text(VALUES.get(name, "secret"))
        monkeypatch.setenv("DESKMESH_SECRETS_MOUNT", str(tmp_path))
        return kind()

    return read


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_service_is_told_what_it_reads_and_nothing_else(environment: str, name: str, told: Any) -> None:
    kind, pods = SETTINGS[name], templates(*manifests(environment))
    found = variables(pods[name], environment)
    settings = told(kind, found, BY_NAME[name].secrets)
    others = OF_POSTGRES if "database_url" in BY_NAME[name].secrets else {}
    assert others.items() <= found.items()
    names = {variable.removeprefix("DESKMESH_").lower() for variable in found.keys() - others.keys()}
    assert names - kind.model_fields.keys() == OF_STORES
    assert set(BY_NAME[name].secrets) <= kind.model_fields.keys()
    # Whom it calls, as the policy has it, is whom it is told of.
    addresses = {field for field in kind.model_fields if field.removesuffix("_address") in PLAN.workloads}
    assert addresses - {"gateway_address"} <= names
    assert settings.behind_proxy
    assert settings.environment == environment
    assert settings.token_issuer == f"https://{ENVIRONMENTS[environment].host}"
    assert settings.otlp_endpoint == f"telemetry.{environment}.internal:4317"
    template = pods[name]["spec"]
    assert template["terminationGracePeriodSeconds"] > FAREWELL_SECONDS + settings.drain_seconds
    # No secret stands in the manifests themselves.
    assert not names & set(BY_NAME[name].secrets)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_one_variable_less_is_noticed(name: str, told: Any) -> None:
    kind, found = SETTINGS[name], variables(templates(*manifests("prod"))[name], "prod")
    for field, info in kind.model_fields.items():
        less = {name: value for name, value in found.items() if name != f"DESKMESH_{field.upper()}"}
        if info.is_required() and less != found:
            with pytest.raises(ValidationError, match=field):
                told(kind, less, BY_NAME[name].secrets)


def test_migrations_are_told_what_they_read(jobs: list[Resource], environment: str, told: Any) -> None:
    template = templates(*jobs)["migrations"]
    found = variables(template, environment)
    settings = told(MigrateSettings, found, ("database_admin_url",))
    assert settings.database_admin_url == "secret"
    assert str(settings.database_passwords_file).startswith(f"{SECRETS}/")
    assert set(MIGRATED) == SERVICES.keys()
    [container] = template["spec"]["containers"]
    assert container["command"] == ["python", "-m", "services.common.migrate", *MIGRATED]
    # A proxy would keep the Job from ending.
    assert template["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"


def test_programs_are_there(resources: list[Resource], jobs: list[Resource]) -> None:
    for template in templates(*resources, *jobs).values():
        for container in containers(template):
            if container["name"] != "istio-proxy":
                python, option, module, *_ = container["command"]
                assert (python, option) == ("python", "-m")
                found = importlib.util.find_spec(module)
                assert found is not None
                if found.submodule_search_locations:
                    assert importlib.util.find_spec(f"{module}.__main__") is not None


def test_probes_ask_the_ops_server_of_the_process(resources: list[Resource], environment: str) -> None:
    for name, template in templates(*resources).items():
        if name == EDGE:
            # Istio's own proxy, and Istio's own probe.
            continue
        [container] = template["spec"]["containers"]
        listens = variables(template, environment).get("DESKMESH_OPS_SOCKET", container["command"][-1])
        assert listens == OPS_SOCKET
        asked = {kind: container[f"{kind}Probe"]["exec"]["command"] for kind in ("startup", "readiness", "liveness")}
        for command in asked.values():
            assert command[:-1] == ["python", "-S", "-m", "services.common.probe", OPS_SOCKET]
        paths = {kind: command[-1] for kind, command in asked.items()}
        # Whether the stores answer, `/readyz`, must not take all the pods out of their work at once.
        assert paths == {"startup": "/serving", "readiness": "/serving", "liveness": "/healthz"}


def test_no_pod_ends_before_its_calls_have(resources: list[Resource]) -> None:
    for name, template in templates(*resources).items():
        config = yaml.safe_load(template["metadata"]["annotations"]["proxy.istio.io/config"])
        proxy_seconds = int(config["terminationDrainDuration"].removesuffix("s"))
        drains = float(BY_NAME[name].settings.get("DRAIN_SECONDS", 0))
        assert FAREWELL_SECONDS + drains < proxy_seconds < template["spec"]["terminationGracePeriodSeconds"]
        [container] = template["spec"]["containers"]
        assert container["lifecycle"]["preStop"] == {"sleep": {"seconds": FAREWELL_SECONDS}}
        assert name == EDGE or config["holdApplicationUntilProxyStarts"]
    for deployment in of_kind(resources, "Deployment").values():
        assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        assert "replicas" not in deployment["spec"]


def test_each_environment_has_its_size(resources: list[Resource], environment: str) -> None:
    scalers, budgets = of_kind(resources, "HorizontalPodAutoscaler"), of_kind(resources, "PodDisruptionBudget")
    assert scalers.keys() == budgets.keys() == BY_NAME.keys()
    of_it = ENVIRONMENTS[environment]
    for name, scaler in scalers.items():
        spec = scaler["spec"]
        assert spec["scaleTargetRef"]["name"] == name
        assert spec["minReplicas"] == (of_it.fewest or BY_NAME[name].fewest)
        assert spec["maxReplicas"] == (of_it.most or BY_NAME[name].most)
        measured = spec["metrics"][0]["containerResource"]["container"]
        [container] = templates(*resources)[name]["spec"]["containers"]
        assert container["name"] == measured
        assert "cpu" in container["resources"]["requests"]
        assert budgets[name]["spec"]["selector"] == {"matchLabels": {"app": name}}
    assert all(one.fewest >= 2 for one in DEPLOYED), "production goes on without one pod"


def test_pods_have_no_rights(resources: list[Resource], jobs: list[Resource]) -> None:
    """What the profile "restricted" asks, and more."""
    [namespace] = of_kind(resources, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for template in templates(*resources, *jobs).values():
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsUser"] > 1000
        assert {kind for one in spec["volumes"] for kind in one if kind != "name"} <= {"emptyDir", "secret"}
        for container in containers(template):
            context = container["securityContext"]
            assert context["runAsNonRoot"]
            assert context["readOnlyRootFilesystem"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]


def test_images_are_named_by_the_environment(resources: list[Resource], jobs: list[Resource]) -> None:
    images = {one["image"] for template in templates(*resources, *jobs).values() for one in containers(template)}
    # Istio puts its own in the place of the second.
    assert images == {f"{IMAGE}@{NO_DIGEST}", "auto"}


def test_secrets_come_as_files(resources: list[Resource], jobs: list[Resource]) -> None:
    for name, template in templates(*resources, *jobs).items():
        mounted = {one["secret"]["secretName"] for one in template["spec"]["volumes"] if "secret" in one}
        wanted = name == "migrations" or BY_NAME[name].secrets
        assert mounted == ({f"{name}-settings"} if wanted else set())
        for container in containers(template):
            assert "envFrom" not in container
            assert all("secretKeyRef" not in one.get("valueFrom", {}) for one in container.get("env", []))


def test_the_schemas_of_kubernetes_accept_the_job(jobs: list[Resource]) -> None:
    assert {one["kind"] for one in jobs} == {"Job", "NetworkPolicy", "ServiceAccount"}
    for one in jobs:
        validate(one)


def test_the_guide_names_the_secrets_and_files_that_there_are() -> None:
    guide = (ROOT / "docs" / "cluster.md").read_text()
    named = {
        name: set(re.findall(r"`([a-z_.]+)`", keys))
        for name, keys in re.findall(r"\| `(\S+-settings)` \| (.+) \|", guide)
    }
    wanted = {f"{one.name}-settings": set(one.secrets) for one in DEPLOYED if one.secrets}
    assert named == {**wanted, "migrations-settings": {"database_admin_url", "passwords.json"}}
    paths = re.findall(r"(?<![\w/])(?:mesh|images|serve_apps)/[\w./-]+\w", guide)
    assert len(paths) > 8
    for path in paths:
        assert (ROOT / path.replace("/own/", "/overlays/")).exists() or path == "mesh/istio/own", path
    assert f"{FAREWELL_SECONDS} s while" in guide
