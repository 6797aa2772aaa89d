"""The manifests of the inference plane: Ray's own parsers read them, the schemas of Kubernetes accept the pods, the
applications are built from them, and the machines hold what the models need."""

import warnings
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from pydantic import ValidationError

from serve_apps.assistant.config import AutoscalingBounds, TargetConfig, load_config
from serve_apps.assistant.engine_config import VllmEngineConfig
from serve_apps.assistant.settings import CONFIGS

with warnings.catch_warnings():
    # Of Ray Serve's own making, at its import.
    warnings.simplefilter("ignore", DeprecationWarning)
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
    from ray.autoscaler._private.resource_demand_scheduler import get_bin_pack_residual
    from ray.serve.config import AutoscalingConfig
    from ray.serve.schema import DeploymentSchema, ServeApplicationSchema, ServeDeploySchema

    from mesh.kuberay.generate import FOLDER, differences, generated, write
    from mesh.kuberay.pods import GRACE_SECONDS
    from mesh.kuberay.service import serve_config as serve_config_of
    from serve_apps.assistant import builder
    from serve_apps.assistant.placement import placement

# Serve's own, too: the interval of metrics is to become an environment variable.
pytestmark = pytest.mark.filterwarnings("ignore:The `metrics_interval_s` field:DeprecationWarning")

Resource = dict[str, Any]
WANTED = generated()


@pytest.fixture(params=sorted(WANTED))
def target(request: pytest.FixtureRequest) -> str:
    return str(request.param).removesuffix(".yaml")


@pytest.fixture
def config(target: str) -> TargetConfig:
    return load_config(CONFIGS / f"{target}.yaml")


@pytest.fixture
def resources(target: str) -> list[Resource]:
    return list(yaml.load_all((FOLDER / f"{target}.yaml").read_text(), Loader=yaml.CSafeLoader))


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


def test_what_is_written_is_fresh_and_anything_else_is_named(tmp_path: Path) -> None:
    assert differences(WANTED) == []
    assert {"gpu-1.yaml", "gpu-cluster.yaml"} == set(WANTED)
    assert differences(WANTED, tmp_path) == [f"{name} is missing" for name in sorted(WANTED)]
    write(WANTED, tmp_path)
    (tmp_path / "gone.yaml").write_text("left")
    (tmp_path / "gpu-1.yaml").write_text("other")
    assert differences(WANTED, tmp_path) == ["gone.yaml is left over", "gpu-1.yaml is not what its target says"]
    write(WANTED, tmp_path)
    assert differences(WANTED, tmp_path) == []


def test_ray_serve_reads_the_applications(serve_config: Resource, config: TargetConfig) -> None:
    schema = ServeDeploySchema.model_validate(serve_config)
    # The parser passes over what it does not know.
    assert serve_config.keys() <= ServeDeploySchema.model_fields.keys()
    for application in serve_config["applications"]:
        assert application.keys() <= ServeApplicationSchema.model_fields.keys()
        for options in application["deployments"]:
            assert options.keys() <= DeploymentSchema.model_fields.keys()
            assert options.get("autoscaling_config", {}).keys() <= AutoscalingConfig.model_fields.keys()
    assert tuple(one.name for one in schema.applications) == config.applications


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
    router, *others = changed["applications"]
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
        kubernetes_validate.validate(one, "1.37", strict=True)


def test_an_unknown_field_of_a_pod_is_noticed(service: Resource) -> None:
    pod = as_pod(pod_templates(service)[0])
    pod["spec"]["containers"][0]["limits"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, "1.37", strict=True)


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
