"""How a pod runs Ray: without rights, with its group's resources, and with time to finish what it writes."""

from collections.abc import Sequence

from mesh.istio.plan import Document
from mesh.istio.pods import UNPRIVILEGED, USUAL, apart
from mesh.kuberay.nodes import NodeGroup
from serve_apps.assistant.app import rollout
from serve_apps.assistant.builder import DRAIN_SECONDS
from serve_apps.assistant.config import EndpointSource, TargetConfig

IMAGE = "deskmesh-inference:0.1.0"
APP = "inference-ray"
ACCOUNT = "inference"
# Every pod of Ray has it, whatever else it is.
OF_RAY = {"deskmesh/ray": "true"}
LABELS = {"app": APP, "app.kubernetes.io/part-of": "deskmesh", **OF_RAY}
# The pod outlives the replica's own drain, and Ray's farewell to it.
GRACE_SECONDS = int(rollout(DRAIN_SECONDS)["graceful_shutdown_timeout_s"]) + 15
KEYS_SECRET = "model-keys"  # noqa: S105 - a name, not a secret
KEYS_FOLDER = "/var/run/secrets/deskmesh"
HEALTH_PORT = 52365
SHARED_MEMORY_SHARE = 4
HEAD_CORES, HEAD_GIBIBYTES = 4, 12
CACHE_GIBIBYTES = 200


def head() -> Document:
    """Ray's head, which runs nothing but itself: no replica is lost with it."""
    return {
        "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},  # noqa: S104 - KubeRay's operator asks it
        # The account is left to KubeRay, which gives it what the autoscaler may do and no more.
        "template": template("ray-head", HEAD_CORES, HEAD_GIBIBYTES, 0, keys=False, worker=False),
    }


def worker(group: NodeGroup, config: TargetConfig) -> Document:
    """The workers of a group."""
    keys = group.gpus == 0 and any(
        isinstance(model.source, EndpointSource) and model.source.key_file for model in config.models
    )
    return {
        "groupName": group.name,
        "replicas": group.fewest,
        "minReplicas": group.fewest,
        "maxReplicas": group.most,
        "rayStartParams": {},
        "template": template(
            "ray-worker",
            group.cores,
            group.gibibytes,
            group.gpus,
            keys=keys,
            worker=True,
            labels={"deskmesh/outside": "true"} if group.reaches_outside else {},
        ),
    }


def resources(cores: int, gibibytes: int, gpus: int = 0) -> Document:
    """The same asked for as allowed, which is also what Ray takes for the node's size."""
    amount = {"cpu": str(cores), "memory": f"{gibibytes}Gi", **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
    return {"requests": dict(amount), "limits": amount}


def template(
    name: str,
    cores: int,
    gibibytes: int,
    gpus: int,
    *,
    keys: bool,
    worker: bool,
    labels: Document | None = None,
) -> Document:
    """A pod of Ray without anything beside it."""
    volumes: list[Document] = [
        {"name": "run", "emptyDir": {}},
        {"name": "cache", "emptyDir": {"sizeLimit": f"{CACHE_GIBIBYTES}Gi"}},
        # Ray's objects, and what the GPUs of one replica tell each other.
        {"name": "shared", "emptyDir": {"medium": "Memory", "sizeLimit": f"{gibibytes // SHARED_MEMORY_SHARE}Gi"}},
    ]
    mounts: list[Document] = [
        {"name": "run", "mountPath": "/run/deskmesh"},
        {"name": "cache", "mountPath": "/home/deskmesh/.cache"},
        {"name": "shared", "mountPath": "/dev/shm"},  # noqa: S108 - where Linux has it
    ]
    if keys:
        volumes.append({"name": "keys", "secret": {"secretName": KEYS_SECRET, "defaultMode": 0o440}})
        mounts.append({"name": "keys", "mountPath": KEYS_FOLDER, "readOnly": True})
    container: Document = {
        "name": name,
        "image": IMAGE,
        "env": _environment(),
        "resources": resources(cores, gibibytes, gpus),
        "securityContext": UNPRIVILEGED,
        "volumeMounts": mounts,
    }
    if worker:
        # KubeRay's own probe asks Serve's HTTP proxy, which does not run: callers reach replicas without it.
        container["readinessProbe"] = {
            "httpGet": {"path": "/api/healthz", "port": HEALTH_PORT},
            "periodSeconds": 5,
            "timeoutSeconds": 5,
        }
    specification: Document = {
        "automountServiceAccountToken": not worker,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": USUAL,
        "containers": [container],
        "volumes": volumes,
    }
    if worker:
        specification["serviceAccountName"] = ACCOUNT
    if gpus:
        specification["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    elif worker:
        specification["topologySpreadConstraints"] = [apart(LABELS)]
    return {
        "metadata": {
            "labels": {**LABELS, **(labels or {})},
            # Ray's connections have TLS and tokens of their own, and ports that no mesh can know.
            "annotations": {"sidecar.istio.io/inject": "false"},
        },
        "spec": specification,
    }


def _environment() -> Sequence[Document]:
    values = {
        "DESKMESH_RUN_FOLDER": "/run/deskmesh",
        "HOME": "/home/deskmesh",
        "RAY_USAGE_STATS_ENABLED": "0",
        # The same as on one machine: Ray would run the engine behind everything else.
        "RAY_worker_niceness": "0",
    }
    fixed: list[Document] = [{"name": name, "value": value} for name, value in values.items()]
    namespace = {"fieldRef": {"fieldPath": "metadata.namespace"}}
    return [*fixed, {"name": "DESKMESH_ENVIRONMENT", "valueFrom": namespace}]
