"""The pods through which everybody comes to the replicas: nodes of Ray that compute nothing, each with an Envoy.

They are what the Service `inference` of `mesh/istio` stands for. The mesh's proxy in the pod has mutual TLS with the
callers and takes nothing but that one port; Ray's own connections, and Envoy's to the replicas, have TLS of their own.
"""

import hashlib
import json
from collections.abc import Mapping

from mesh.envoy.cluster import Door
from mesh.envoy.cluster import files as files_of
from mesh.envoy.methods import load_methods
from mesh.istio.plan import RPC_PORT, Document
from mesh.istio.pods import UNPRIVILEGED, apart
from mesh.kuberay import pods
from serve_apps.assistant.app import DOOR
from serve_apps.assistant.builder import DRAIN_SECONDS
from serve_apps.assistant.config import TargetConfig

GROUP = DOOR
APP = "inference"
# Two on different machines; a third for an update is not needed, as one is replaced after the other.
PODS = 2
CONFIG = "inference-envoy"
RAY_CORES, RAY_GIBIBYTES = 1, 4
ENVOY_CORES, ENVOY_GIBIBYTES = 2, 1
# KubeRay adds this volume to every pod of Ray: the pod's certificate, and Ray's authority.
CERTIFICATES = "ray-tls"


def door(config: TargetConfig) -> Door:
    """The Envoy of a target. A model that keeps no replica is not waited for: requests wait for it in the router."""
    resting = {model.application for model in config.models if model.autoscaling.min_replicas == 0}
    needed = tuple(one for one in config.applications if one not in resting)
    return Door(models={model.application: model.name for model in config.models}, needed=needed)


def files(config: TargetConfig) -> Mapping[str, str]:
    """What Envoy reads at its start."""
    return files_of(door(config), load_methods())


def group(config: TargetConfig) -> Document:
    """The group of Ray's workers with an Envoy each."""
    template: Document = pods.template("ray-worker", RAY_CORES, RAY_GIBIBYTES, 0, keys=False, worker=True)
    digest = hashlib.sha256("".join(files(config).values()).encode()).hexdigest()[:16]
    annotations = {
        "sidecar.istio.io/inject": "true",
        # Ray's connections have TLS and tokens of their own, and ports that no mesh can know.
        "traffic.sidecar.istio.io/includeInboundPorts": str(RPC_PORT),
        "traffic.sidecar.istio.io/includeOutboundIPRanges": "",
        "proxy.istio.io/config": json.dumps({"terminationDrainDuration": f"{DRAIN_SECONDS:.0f}s"}),
        # Envoy reads its configuration once: another one means another pod.
        "deskmesh/envoy": digest,
    }
    specification: Document = dict(template["spec"])  # type: ignore[call-overload]
    specification["initContainers"] = [_endpoints(config)]
    specification["containers"] = [*specification["containers"], _envoy(config)]  # type: ignore[misc]
    specification["volumes"] = [*specification["volumes"], {"name": CONFIG, "configMap": {"name": CONFIG}}]  # type: ignore[misc]
    specification["topologySpreadConstraints"] = [apart({"app": APP})]
    return {
        "groupName": GROUP,
        "replicas": PODS,
        "minReplicas": PODS,
        "maxReplicas": PODS,
        # Room for what keeps the endpoint files, and for nothing else.
        "rayStartParams": {"num-cpus": "0", "resources": json.dumps(json.dumps({DOOR: 1}))},
        "template": {
            "metadata": {"labels": {**pods.LABELS, "app": APP}, "annotations": annotations},
            "spec": specification,
        },
    }


def _endpoints(config: TargetConfig) -> Document:
    """Without the files Envoy does not start; empty ones do until there are replicas."""
    folder = str(door(config).endpoints)
    return {
        "name": "endpoints",
        "image": pods.IMAGE,
        "command": ["python", "-m", "mesh.envoy.endpoints", folder, *config.applications],
        "resources": pods.resources(1, 1),
        "securityContext": UNPRIVILEGED,
        "volumeMounts": [{"name": "run", "mountPath": str(door(config).run)}],
    }


def _envoy(config: TargetConfig) -> Document:
    at = door(config)
    mounts: list[Document] = [
        {"name": "run", "mountPath": str(at.run)},
        {"name": CONFIG, "mountPath": str(at.config), "readOnly": True},
        {"name": CERTIFICATES, "mountPath": str(at.tls), "readOnly": True},
    ]
    program = ["envoy", "-c", str(at.config / "inference.yaml"), "--disable-hot-restart"]
    return {
        "name": "envoy",
        "image": pods.IMAGE,
        "command": [*program, "--concurrency", str(ENVOY_CORES)],
        "resources": pods.resources(ENVOY_CORES, ENVOY_GIBIBYTES),
        "securityContext": UNPRIVILEGED,
        "readinessProbe": {"httpGet": {"path": at.ready_path, "port": at.ready_port}, "periodSeconds": 2},
        # Envoy would end at once. Nobody new comes while the pod is on its way out, and streams come to their ends.
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", f"{DRAIN_SECONDS:.0f}"]}}},
        "volumeMounts": mounts,
    }
