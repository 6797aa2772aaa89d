"""Which file holds what, and how kustomize puts an environment together from them."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import yaml

from mesh.istio import control_plane, network, security, traffic
from mesh.istio.plan import HOST, Document, Plan, document

FOLDER = PurePosixPath("mesh/istio")
HEADER = "# Written by `python -m mesh.policy.generate` from the policy options in protos/. Do not edit.\n"

# Environment → where people reach it. The namespace has the environment's name, as the services' identities say it.
ENVIRONMENTS = {
    "dev": f"dev.{HOST}",
    "staging": f"staging.{HOST}",
    "prod": HOST,
}
SETTINGS = "environment"
CONTROL_PLANE = "control-plane"


def files(plan: Plan) -> dict[PurePosixPath, str]:
    """Every file under `FOLDER`, with its text."""
    found: dict[PurePosixPath, str] = {}
    base = {"security": security.base(), "traffic": traffic.base(plan), "network": network.base()}
    found |= _folder("base", base)
    for workload in plan.workloads:
        parts = {
            "workload": network.of_workload(plan, workload),
            "security": security.of_workload(plan, workload),
            "traffic": traffic.of_workload(plan, workload),
        }
        found |= _folder(f"services/{workload}", parts)
    found |= _file("services/kustomization", _kustomization(resources=list(plan.workloads)))
    found |= _file(f"components/{SETTINGS}/kustomization", _component())
    for environment, host in ENVIRONMENTS.items():
        found |= _overlay(environment, host)
        found |= _file(f"{CONTROL_PLANE}/{environment}", control_plane.values(environment))
    return found


def _folder(folder: str, parts: Mapping[str, list[Document]]) -> dict[PurePosixPath, str]:
    held = {name: documents for name, documents in parts.items() if documents}
    found = _file(f"{folder}/kustomization", _kustomization(resources=[f"{name}.yaml" for name in held]))
    for name, documents in held.items():
        found |= _file(f"{folder}/{name}", *documents)
    return found


def _overlay(environment: str, host: str) -> dict[PurePosixPath, str]:
    folder = f"overlays/{environment}"
    settings = document(
        "v1", "ConfigMap", SETTINGS, data={"namespace": environment, "host": host, "origin": f"https://{host}"}
    )
    # Read by kustomize only; it does not reach the cluster.
    settings["metadata"] = {"name": SETTINGS, "annotations": {"config.kubernetes.io/local-config": "true"}}
    namespace = document("v1", "Namespace", environment)
    namespace["metadata"] = {
        "name": environment,
        "labels": {
            "app.kubernetes.io/part-of": "deskmesh",
            "istio-injection": "enabled",
            "pod-security.kubernetes.io/enforce": "restricted",
        },
    }
    kustomization = _kustomization(
        namespace=environment,
        resources=["namespace.yaml", f"{SETTINGS}.yaml", "../../base", "../../services"],
        components=[f"../../components/{SETTINGS}"],
    )
    return (
        _file(f"{folder}/kustomization", kustomization)
        | _file(f"{folder}/namespace", namespace)
        | _file(f"{folder}/{SETTINGS}", settings)
    )


def _component() -> Document:
    """Puts an environment's namespace and host where the manifests have their own."""

    def replace(field: str, *targets: Document) -> Document:
        source = {"kind": "ConfigMap", "name": SETTINGS, "fieldPath": f"data.{field}"}
        return {"source": source, "targets": list(targets)}

    def target(kind: str, path: str, reject: Sequence[str] = (), name: str = "", **options: Any) -> Document:
        selected = {"kind": kind, "name": name} if name else {"kind": kind}
        chosen: Document = {"select": selected, "fieldPaths": [path]}
        if reject:
            chosen["reject"] = [{"kind": kind, "name": name} for name in reject]
        return {**chosen, "options": options} if options else chosen

    callers = "spec.rules.*.from.*.source.principals.*"

    return {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "replacements": [
            replace(
                "namespace",
                target("AuthorizationPolicy", callers, security.WITHOUT_PRINCIPALS, delimiter="/", index=2),
                target("AuthorizationPolicy", "spec.provider.name", name=security.API_KEYS, delimiter=".", index=1),
                target("RequestAuthentication", "spec.jwtRules.*.jwksUri", delimiter=".", index=1),
                target("Sidecar", "spec.egress.*.hosts.*", delimiter=".", index=2),
                # Each environment has stores of its own.
                target("ServiceEntry", "spec.hosts.*", delimiter=".", index=1),
            ),
            replace("host", target("Gateway", "spec.servers.*.hosts.*"), target("VirtualService", "spec.hosts.*")),
            replace(
                "origin",
                target("VirtualService", "spec.http.*.corsPolicy.allowOrigins.*.exact"),
                target("RequestAuthentication", "spec.jwtRules.*.issuer"),
            ),
        ],
    }


def _kustomization(**content: object) -> Document:
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", **content}


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, _data: object) -> bool:
        return True


def _file(name: str, *documents: Document) -> dict[PurePosixPath, str]:
    text = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=120)
    return {FOLDER / f"{name}.yaml": HEADER + text}
