"""The manifests of the inference plane: Ray's own parsers read them, the schemas of Kubernetes accept the pods, the
applications are built from them, and the machines hold what the models need."""

import copy
import functools
import subprocess
import warnings
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from pydantic import ValidationError

from laptop.stack import envoy_program
from mesh.envoy.cluster import Door
from mesh.envoy.endpoints import prepare
from mesh.envoy.methods import load_methods
from mesh.envoy.render import render
from serve_apps.assistant.config import AutoscalingBounds, TargetConfig, load_config
from serve_apps.assistant.engine_config import VllmEngineConfig
from serve_apps.assistant.settings import CONFIGS
from tests.support.manifests import validate
from tests.support.pki import TestPki

with warnings.catch_warnings():
    # Of Ray Serve's own making, at its import.
    warnings.simplefilter("ignore", DeprecationWarning)
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
    from ray.autoscaler._private.resource_demand_scheduler import get_bin_pack_residual
    from ray.serve.config import AutoscalingConfig
    from ray.serve.schema import DeploymentSchema, ServeApplicationSchema, ServeDeploySchema

    from mesh.generated import ROOT
    from mesh.kuberay.generate import FOLDER, generated
    from mesh.kuberay.pods import GRACE_SECONDS
    from mesh.kuberay.service import serve_config as serve_config_of
    from serve_apps.assistant import builder
    from serve_apps.assistant.placement import placement
    from serve_apps.assistant.replica import ReplicaTls

# Serve's own, too: the interval of metrics is to become an environment variable.
pytestmark = pytest.mark.filterwarnings("ignore:The `metrics_interval_s` field:DeprecationWarning")

Resource = dict[str, Any]
WANTED = generated()
ENDPOINTS = "endpoints"


@pytest.fixture(params=sorted(path.stem for path in WANTED.files))
def target(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> TestPki:
    return TestPki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def config(target: str) -> TargetConfig:
    return load_config(CONFIGS / f"{target}.yaml")


@pytest.fixture
def resources(target: str) -> list[Resource]:
    return copy.deepcopy(parsed(target))


@functools.cache
def parsed(target: str) -> list[Resource]:
    return list(yaml.load_all((ROOT / FOLDER / f"{target}.yaml").read_text(), Loader=yaml.CSafeLoader))


@pytest.fixture
def service(resources: list[Resource]) -> Resource:
    (found,) = (one for one in resources if one["kind"] == "RayService")
    return found


@pytest.fixture
def serve_config(service: Resource) -> Resource:
    text: Resource = yaml.safe_load(service["spec"]["serveConfigV2"])
    return text


def pod_templates(service: Resource) -> list[Resource]:
    cluster = service["spec"]["rayClusterConfig"]
    return [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def as_pod(template: Resource) -> Resource:
    return {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {**template["metadata"], "name": "pod"}}


def node_types(service: Resource) -> dict[str, Resource]:
    derived = _derive_autoscaling_config_from_ray_cr(
        {
            "metadata": {"name": service["metadata"]["name"], "namespace": "prod"},
            "spec": service["spec"]["rayClusterConfig"],
        }
    )
    types: dict[str, Resource] = derived["available_node_types"]
    return types


def test_what_is_written_is_fresh_and_nothing_is_left_out() -> None:
    assert WANTED.differences() == []
    assert set(WANTED.files) == {FOLDER / "gpu-1.yaml", FOLDER / "gpu-cluster.yaml"}


def test_ray_serve_reads_the_applications(serve_config: Resource, config: TargetConfig) -> None:
    schema = ServeDeploySchema.model_validate(serve_config)
    # The parser passes over what it does not know.
    assert serve_config.keys() <= ServeDeploySchema.model_fields.keys()
    for application in serve_config["applications"]:
        assert application.keys() <= ServeApplicationSchema.model_fields.keys()
        for options in application["deployments"]:
            assert options.keys() <= DeploymentSchema.model_fields.keys()
            assert options.get("autoscaling_config", {}).keys() <= AutoscalingConfig.model_fields.keys()
    assert tuple(one.name for one in schema.applications) == (ENDPOINTS, *config.applications)


@pytest.mark.parametrize(("option", "wrong"), [("max_surge_percent", 900), ("graceful_shutdown_timeout_s", -1)])
def test_a_wrong_option_is_noticed(serve_config: Resource, option: str, wrong: int) -> None:
    serve_config["applications"][0]["deployments"][0][option] = wrong
    with pytest.raises(ValidationError, match=option):
        ServeDeploySchema.model_validate(serve_config)


def test_every_application_is_built_from_its_arguments(serve_config: Resource) -> None:
    for application in serve_config["applications"]:
        module, _, function = application["import_path"].partition(":")
        assert (module, function) == (builder.__name__, builder.build.__name__)
        built = builder.build(builder.Arguments.model_validate(application["args"]))
        (options,) = application["deployments"]
        assert built._bound_deployment.name == options["name"]


def test_no_answer_is_cut_and_no_place_is_empty_while_a_version_is_replaced(serve_config: Resource) -> None:
    longest = builder.replica_settings().maximum_deadline_seconds
    for application in serve_config["applications"]:
        (options,) = application["deployments"]
        if application["name"] == ENDPOINTS:
            # It serves no calls, and its place is for one.
            assert "max_surge_percent" not in options
            continue
        assert options["max_surge_percent"] > 0
        assert longest < builder.DRAIN_SECONDS < options["graceful_shutdown_timeout_s"] < GRACE_SECONDS


def test_what_changes_without_a_restart_is_no_argument(serve_config: Resource, config: TargetConfig) -> None:
    by_name = {one["name"]: one for one in serve_config["applications"]}
    for model in config.models:
        assert not {"autoscaling", "adapters"} & by_name[model.application]["args"]["model"].keys()
        (options,) = by_name[model.application]["deployments"]
        assert options["autoscaling_config"]["max_replicas"] == model.autoscaling.max_replicas


def test_the_router_knows_of_a_model_that_keeps_no_replica(config: TargetConfig) -> None:
    bounds = AutoscalingBounds(min_replicas=0, max_replicas=3)
    rare = config.models[0].model_copy(update={"autoscaling": bounds})
    changed: Resource = serve_config_of(config.model_copy(update={"models": (rare, *config.models[1:])}))
    _, router, *others = changed["applications"]
    known = builder.Arguments.model_validate(router["args"]).router
    assert known is not None
    assert [one.autoscaling.min_replicas == 0 for one in known.models] == [True] + [False] * (len(config.models) - 1)
    (model,) = (one for one in others if one["name"] == rare.application)
    assert "autoscaling" not in model["args"]["model"]
    assert model["deployments"][0]["autoscaling_config"]["min_replicas"] == 0


def test_the_autoscaler_finds_a_group_for_each_model_and_room_for_its_surge(
    service: Resource, config: TargetConfig
) -> None:
    types = node_types(service)
    for model in config.models:
        if not isinstance(model.engine, VllmEngineConfig):
            continue
        group = types[model.application]
        options = placement(model, loopback=False)
        alone = {
            "CPU": options["ray_actor_options"]["num_cpus"],
            "GPU": options["ray_actor_options"].get("num_gpus", 0),
        }
        bundles = options.get("placement_group_bundles", [alone])
        most = model.autoscaling.max_replicas
        # An update: as many new ones beside the old.
        nodes = [dict(group["resources"]) for _ in range(group["max_workers"])]
        left, _ = get_bin_pack_residual(nodes, bundles * most * 2)
        assert not left
        nodes = [dict(group["resources"]) for _ in range(group["min_workers"])]
        left, _ = get_bin_pack_residual(nodes, bundles * model.autoscaling.min_replicas)
        assert not left


def test_the_schemas_of_kubernetes_accept_pods_and_policies(service: Resource, resources: list[Resource]) -> None:
    for one in (*map(as_pod, pod_templates(service)), *(one for one in resources if one is not service)):
        validate(one)


def test_an_unknown_field_of_a_pod_is_noticed(service: Resource) -> None:
    pod = as_pod(pod_templates(service)[0])
    pod["spec"]["containers"][0]["limits"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(pod)


def test_pods_have_no_rights_that_they_do_not_need(service: Resource) -> None:
    assert service["spec"]["rayClusterConfig"]["authOptions"] == {"mode": "token"}
    assert service["spec"]["rayClusterConfig"]["tlsOptions"] == {"enabled": True}
    for template in pod_templates(service):
        for container in template["spec"]["containers"]:
            context = container["securityContext"]
            assert context["runAsNonRoot"]
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert not context["allowPrivilegeEscalation"]
    for template in pod_templates(service)[1:]:
        assert template["spec"]["automountServiceAccountToken"] is False


def test_only_groups_that_fetch_something_reach_the_internet(resources: list[Resource], service: Resource) -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in resources if one["kind"] == "NetworkPolicy"}
    blocks = {
        name: [target["ipBlock"]["cidr"] for rule in spec["egress"] for target in rule["to"] if "ipBlock" in target]
        for name, spec in policies.items()
    }
    assert [name for name, found in blocks.items() if "0.0.0.0/0" in found] == ["inference-ray-outside"]
    marked = policies["inference-ray-outside"]["podSelector"]["matchLabels"]
    head, *workers = pod_templates(service)
    assert not marked.items() <= head["metadata"]["labels"].items()
    assert any(marked.items() <= worker["metadata"]["labels"].items() for worker in workers)


def group(service: Resource, name: str) -> Resource:
    found: Resource
    (found,) = (one for one in service["spec"]["rayClusterConfig"]["workerGroupSpecs"] if one["groupName"] == name)
    return found


def test_callers_come_in_by_pods_that_the_mesh_knows_as_the_models(service: Resource) -> None:
    template = group(service, "door")["template"]
    folder = ROOT / "mesh" / "istio" / "services" / "inference"
    built = [
        one for file in ("workload", "traffic") for one in yaml.safe_load_all((folder / f"{file}.yaml").read_text())
    ]
    of_kind = {one["kind"]: one["spec"] for one in built if "spec" in one}
    assert of_kind["Service"]["selector"].items() <= template["metadata"]["labels"].items()
    assert template["spec"]["serviceAccountName"] == "inference"
    (port,) = of_kind["Service"]["ports"]
    annotations = template["metadata"]["annotations"]
    assert annotations["sidecar.istio.io/inject"] == "true"
    assert annotations["traffic.sidecar.istio.io/includeInboundPorts"] == str(port["port"])
    assert annotations["traffic.sidecar.istio.io/includeOutboundIPRanges"] == ""
    (listener,) = of_kind["Sidecar"]["ingress"]
    assert listener["defaultEndpoint"] == f"127.0.0.1:{port['port']}"
    # Nobody else is in the mesh, and nobody else is the Service.
    for other in pod_templates(service):
        if other is not template:
            assert other["metadata"]["annotations"]["sidecar.istio.io/inject"] == "false"
            assert other["metadata"]["labels"]["app"] == "inference-ray"
        assert other["metadata"]["labels"]["deskmesh/ray"] == "true"


def test_each_door_has_room_for_what_keeps_its_files_and_nothing_else(
    service: Resource, serve_config: Resource, config: TargetConfig
) -> None:
    node = node_types(service)["door"]
    doors = node["max_workers"]
    assert node["min_workers"] == doors
    assert node["resources"]["CPU"] == 0
    keeper = serve_config["applications"][0]
    (options,) = keeper["deployments"]
    assert (keeper["name"], options["num_replicas"]) == (ENDPOINTS, doors)
    deployment = builder.build(builder.Arguments.model_validate(keeper["args"]))._bound_deployment
    alone = {"CPU": deployment.ray_actor_options["num_cpus"], **deployment.ray_actor_options["resources"]}
    left, _ = get_bin_pack_residual([dict(node["resources"]) for _ in range(doors)], [alone] * doors)
    assert not left
    left, _ = get_bin_pack_residual([dict(node["resources"])], [alone] * 2)
    assert len(left) == 1
    assert keeper["args"]["endpoints"]["applications"] == list(config.applications)


def test_envoy_takes_its_configuration(
    resources: list[Resource], config: TargetConfig, pki: TestPki, tmp_path: Path
) -> None:
    (data,) = (one["data"] for one in resources if one["kind"] == "ConfigMap")
    at = Door(models={}, needed=())
    folders = {at.config: tmp_path, at.run: tmp_path / "run", at.tls: pki.files("inference")["tls_key_file"].parent}
    for name, text in data.items():
        moved = functools.reduce(lambda said, there: said.replace(str(there), str(folders[there])), folders, text)
        (tmp_path / name).write_text(moved)
    prepare(tmp_path / "run" / builder.ENDPOINTS_FOLDER, config.applications)
    command = [str(envoy_program()), "--mode", "validate", "-c", str(tmp_path / "inference.yaml")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_envoy_holds_callers_to_the_policy_of_the_laptops(resources: list[Resource], config: TargetConfig) -> None:
    (data,) = (one["data"] for one in resources if one["kind"] == "ConfigMap")
    cluster = yaml.load(data["inference.yaml"], Loader=yaml.CSafeLoader)
    topology = Door(models={model.application: model.name for model in config.models}, needed=()).topology
    laptop = yaml.load(render("inference", topology, load_methods()), Loader=yaml.CSafeLoader)

    def manager(of: Resource) -> Resource:
        found: Resource = of["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
        return found

    def allowed(of: Resource) -> Resource:
        rules = manager(of)["http_filters"][0]["typed_config"]["rules"]
        assert rules["action"] == "ALLOW"
        return {caller: policy["permissions"] for caller, policy in rules["policies"].items()}

    assert allowed(cluster) == allowed(laptop)
    assert manager(cluster)["route_config"] == manager(laptop)["route_config"]
    assert manager(cluster)["local_reply_config"] == manager(laptop)["local_reply_config"]


def test_replicas_show_the_certificate_of_their_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    assert builder.replica_settings().tls is None
    monkeypatch.setenv("RAY_USE_TLS", "1")
    for name, file in (("SERVER_CERT", "tls.crt"), ("SERVER_KEY", "tls.key"), ("CA_CERT", "ca.crt")):
        monkeypatch.setenv(f"RAY_TLS_{name}", f"/etc/ray/tls/{file}")
    at = Path("/etc/ray/tls")
    assert builder.replica_settings().tls == ReplicaTls(at / "tls.crt", at / "tls.key", at / "ca.crt")
    assert Door.tls == at
    assert Door(models={}, needed=()).endpoints == builder.replica_settings().run_folder / builder.ENDPOINTS_FOLDER
