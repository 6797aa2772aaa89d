"""The RayService of a target: what Serve runs, the cluster beneath it, and how a new one takes over."""

from collections.abc import Sequence
from typing import Any

import yaml

from mesh.istio.plan import STORES, Document, document
from mesh.istio.pods import UNPRIVILEGED
from mesh.kuberay import door, network, pods
from mesh.kuberay.nodes import node_groups
from serve_apps.assistant import builder
from serve_apps.assistant.app import changeable, rollout, watched
from serve_apps.assistant.builder import DRAIN_SECONDS
from serve_apps.assistant.config import CacheSource, ModelConfig, TargetConfig

RAY_VERSION = "2.60.0"
IMPORT_PATH = f"{builder.__name__}:{builder.build.__name__}"
# A machine without work for so long is given back; loading a model again costs minutes.
IDLE_SECONDS = 600
STATE_SECRET = "ray-state"  # noqa: S105 - a name, not a secret


def fits(config: TargetConfig) -> bool:
    """Whether a cluster can run it: weights in one machine's cache are nowhere else."""
    return not any(isinstance(model.source, CacheSource) for model in config.models)


def manifests(target: str, config: TargetConfig) -> list[Document]:
    """Everything of one target."""
    return [
        document("ray.io/v1", "RayService", f"inference-{target}", _service(config)),
        document("v1", "ConfigMap", door.CONFIG, data=dict(door.files(config))),
        _budget(pods.APP, pods.APP),
        _budget(f"{pods.APP}-{door.GROUP}", door.APP),
        *network.policies(),
    ]


def serve_config(config: TargetConfig) -> Document:
    """What Ray Serve reads.

    What changes without a restart stands under `deployments`, all else in `args`: Serve replaces the replicas of an
    application whose `args` have changed, and of no other.
    """
    return {
        # Callers reach replicas themselves: docs/adr/0003-token-path.md.
        "proxy_location": "Disabled",
        "logging_config": {"encoding": "JSON", "enable_access_log": False},
        "applications": list(_applications(config)),
    }


def _budget(name: str, app: str) -> Document:
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": app}}}
    return document("policy/v1", "PodDisruptionBudget", name, spec)


def _service(config: TargetConfig) -> Document:
    return {
        # When the cluster itself changes, as by a new image, a second one starts beside it and takes over.
        "upgradeStrategy": {"type": "NewCluster"},
        "rayClusterDeletionDelaySeconds": pods.GRACE_SECONDS,
        "excludeHeadPodFromServeSvc": True,
        "serveConfigV2": _text(serve_config(config)),
        "rayClusterConfig": _cluster(config),
    }


def _cluster(config: TargetConfig) -> Document:
    valkey = next(store for store in STORES if store.name == "valkey")
    password = {"valueFrom": {"secretKeyRef": {"name": STATE_SECRET, "key": "password"}}}
    return {
        "rayVersion": RAY_VERSION,
        "authOptions": {"mode": "token"},
        "tlsOptions": {"enabled": True},
        # Replicas go on while the head is replaced.
        "gcsFaultToleranceOptions": {"redisAddress": f"{valkey.host}:{valkey.port}", "redisPassword": password},
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {
            "version": "v2",
            "upscalingMode": "Default",
            "idleTimeoutSeconds": IDLE_SECONDS,
            "resources": pods.resources(1, 1),
            "securityContext": UNPRIVILEGED,
        },
        "headGroupSpec": pods.head(),
        "workerGroupSpecs": [door.group(config), *(pods.worker(group, config) for group in node_groups(config))],
    }


def _applications(config: TargetConfig) -> Sequence[Document]:
    models = [_described(model, bare=False) for model in config.models]
    router: Document = {
        "router": {
            "config": config.router.model_dump(mode="json", exclude={"replicas"}, exclude_unset=True),
            "models": models,
        }
    }
    replaced = rollout(DRAIN_SECONDS)
    known: Document = {"endpoints": {"applications": list(config.applications), "doors": door.PODS}}
    found = [
        _application("endpoints", "endpoints", known, {**watched(), "num_replicas": door.PODS}),
        _application("router", "router", router, {**replaced, "num_replicas": config.router.replicas}),
    ]
    if config.embedder is not None:
        described = config.embedder.model_dump(mode="json", exclude={"replicas"}, exclude_unset=True)
        replicas = {**replaced, "num_replicas": config.embedder.replicas}
        found.append(_application("embedder", "embedder", {"embedder": described}, replicas))
    for model in config.models:
        arguments: Document = {"model": _described(model, bare=True)}
        found.append(_application(model.application, model.name, arguments, {**replaced, **changeable(model)}))
    return found


def _application(name: str, deployment: str, arguments: Document, options: dict[str, Any]) -> Document:
    return {
        "name": name,
        "route_prefix": None,
        "import_path": IMPORT_PATH,
        "args": arguments,
        "deployments": [{"name": deployment, **options}],
    }


def _described(model: ModelConfig, *, bare: bool) -> Document:
    """The model without what its deployment can be told while it runs."""
    left_out = {"autoscaling"} | ({"adapters"} if bare else set())
    described: Document = model.model_dump(mode="json", exclude=left_out, exclude_unset=True)
    if model.autoscaling.min_replicas == 0 and not bare:
        # What the router must know to hold a request until there is a replica.
        described["autoscaling"] = {"min_replicas": 0}
    return described


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, _data: object) -> bool:
        return True


def _text(content: object) -> str:
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=120)
