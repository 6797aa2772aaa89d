"""How the pods of each workload run: without rights, spread out, replaced one after the other, with time to finish."""

import json
from collections.abc import Mapping

from mesh.istio import network
from mesh.istio.deployed import DRAIN_SECONDS, OF_POSTGRES, OPS_SOCKET, RUN, SECRETS, Deployed
from mesh.istio.plan import CONTRACTS, EDGE, GATEWAY_PORT, Document, Plan, document, selector

IMAGE = "deskmesh-services"
USER = 10001
# The user as whom Istio's proxy runs.
PROXY_USER = 1337
# Until everybody knows that a pod takes no more, it still does.
FAREWELL_SECONDS = 5
# A proxy ends when its time is over, whatever still goes through it.
PROXY_SECONDS = FAREWELL_SECONDS + DRAIN_SECONDS + 5
GRACE_SECONDS = PROXY_SECONDS + 10
# A process that starts has so long until it serves.
START_SECONDS = 120
BUSY_PERCENT = 70

UNPRIVILEGED: Document = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CLOSED: Document = {**UNPRIVILEGED, "readOnlyRootFilesystem": True}
USUAL: Document = {"runAsUser": USER, "runAsGroup": USER, "fsGroup": USER}


def of_workload(plan: Plan, pods: Deployed) -> list[Document]:
    """The Deployment, how far it grows, and how many of its pods may be missing on purpose."""
    scaled = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": pods.name},
        "minReplicas": pods.fewest,
        "maxReplicas": pods.most,
        "metrics": [_load(pods)],
        # A wave comes fast and goes slowly.
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
    }
    budget = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": selector(pods.name)},
        # A pod that does not work holds up no machine that is to be emptied.
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return [
        document("apps/v1", "Deployment", pods.name, _deployment(plan, pods)),
        document("autoscaling/v2", "HorizontalPodAutoscaler", pods.name, scaled),
        document("policy/v1", "PodDisruptionBudget", pods.name, budget),
    ]


def apart(labels: Mapping[str, str], *, by: str = "kubernetes.io/hostname") -> Document:
    """On different machines, or in different zones, where there are any."""
    return {
        "maxSkew": 1,
        "topologyKey": by,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": dict(labels)},
    }


def container(name: str, command: tuple[str, ...], **rest: object) -> Document:
    """One of ours: it writes nowhere but into the volumes that it mounts."""
    return {"name": name, "image": IMAGE, "command": list(command), "securityContext": CLOSED, **rest}


def _load(pods: Deployed) -> Document:
    # By the container alone, as what its proxy takes says nothing of it.
    of_container = {
        "name": "cpu",
        "container": "istio-proxy" if pods.name == EDGE else pods.name,
        "target": {"type": "Utilization", "averageUtilization": BUSY_PERCENT},
    }
    return {"type": "ContainerResource", "containerResource": of_container}


def _deployment(plan: Plan, pods: Deployed) -> Document:
    labels = {**selector(pods.name), "app.kubernetes.io/part-of": "deskmesh"}
    proxy: Document = {"terminationDrainDuration": f"{PROXY_SECONDS}s"}
    edge = pods.name == EDGE
    if edge:
        annotations = {"inject.istio.io/templates": "gateway"}
        labels["sidecar.istio.io/inject"] = "true"
    else:
        # Without its proxy a process reaches nothing.
        annotations, proxy = {}, {"holdApplicationUntilProxyStarts": True, **proxy}
    return {
        # How many there are is the autoscaler's business.
        "selector": {"matchLabels": selector(pods.name)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
        "template": {
            "metadata": {"labels": labels, "annotations": {**annotations, "proxy.istio.io/config": json.dumps(proxy)}},
            "spec": {
                "serviceAccountName": pods.name,
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": GRACE_SECONDS,
                "securityContext": USUAL,
                "topologySpreadConstraints": [
                    apart(selector(pods.name)),
                    apart(selector(pods.name), by="topology.kubernetes.io/zone"),
                ],
                **(_edge(pods) if edge else _process(plan, pods)),
            },
        },
    }


def _process(plan: Plan, pods: Deployed) -> Document:
    mounts: list[Document] = [{"name": "run", "mountPath": RUN}, {"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108
    volumes: list[Document] = [
        {"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
    ]
    if pods.secrets:
        mounts.append({"name": "secrets", "mountPath": SECRETS, "readOnly": True})
        volumes.append({"name": "secrets", "secret": {"secretName": f"{pods.name}-settings", "defaultMode": 0o440}})
    namespace = {"name": "DESKMESH_ENVIRONMENT", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}
    values = {f"DESKMESH_{name}": value for name, value in pods.settings.items()}
    values |= OF_POSTGRES if "database_url" in pods.secrets else {}
    fixed = [{"name": name, "value": value} for name, value in values.items()]
    one = container(
        pods.name,
        pods.command,
        ports=[{"name": one["name"], "containerPort": one["port"]} for one in network.ports(plan, pods.name)],
        env=[namespace, *fixed],
        resources=_resources(pods),
        startupProbe=_probe("/serving", every=2, failures=START_SECONDS // 2),
        readinessProbe=_probe("/serving", every=5, failures=2),
        livenessProbe=_probe("/healthz", every=10, failures=3),
        lifecycle=_farewell(),
        volumeMounts=mounts,
    )
    return {"containers": [one], "volumes": volumes}


def _edge(pods: Deployed) -> Document:
    """Istio's gateway, into whose pod Istio puts the image and its own settings."""
    mount = {"name": "contracts", "mountPath": CONTRACTS.rpartition("/")[0]}
    size = {"cpu": "100m", "memory": "128Mi"}
    contracts = container(
        "contracts",
        ("python", "-m", "mesh.rest.descriptors", CONTRACTS),
        resources={"requests": size, "limits": {"memory": "256Mi"}},
        volumeMounts=[mount],
    )
    proxy: Document = {
        "name": "istio-proxy",
        "image": "auto",
        "ports": [{"name": "https", "containerPort": GATEWAY_PORT, "protocol": "TCP"}],
        "securityContext": {**CLOSED, "runAsUser": PROXY_USER, "runAsGroup": PROXY_USER},
        "resources": _resources(pods),
        "lifecycle": _farewell(),
        "volumeMounts": [{**mount, "readOnly": True}],
    }
    return {
        "initContainers": [contracts],
        "containers": [proxy],
        "volumes": [{"name": "contracts", "emptyDir": {"sizeLimit": "8Mi"}}],
    }


def _resources(pods: Deployed) -> Document:
    # No bound on the processor: what nobody else needs may be had.
    asked = {"cpu": f"{pods.millicores}m", "memory": f"{pods.mebibytes}Mi"}
    return {"requests": asked, "limits": {"memory": f"{2 * pods.mebibytes}Mi"}}


def _probe(path: str, *, every: int, failures: int) -> Document:
    # Kubernetes and Istio ask at the pod's address, where nothing of ours listens.
    asked = ["python", "-S", "-m", "services.common.probe", OPS_SOCKET, path]
    return {"exec": {"command": asked}, "periodSeconds": every, "timeoutSeconds": 5, "failureThreshold": failures}


def _farewell() -> Document:
    return {"preStop": {"sleep": {"seconds": FAREWELL_SECONDS}}}
