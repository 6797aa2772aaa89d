"""Kustomize's own words: how an environment is put together from parts that know nothing of it."""

from collections.abc import Sequence
from typing import Any

import yaml

from mesh.istio.plan import Document

# What an environment says of itself; read by kustomize only.
SETTINGS = "environment"


def kustomization(**content: object) -> Document:
    """A folder of resources."""
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", **content}


def component(**content: object) -> Document:
    """What an environment may add, or must."""
    return {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component", **content}


def settings(**data: str) -> Document:
    """What an environment says of itself; it does not reach the cluster."""
    metadata = {"name": SETTINGS, "annotations": {"config.kubernetes.io/local-config": "true"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def replace(field: str, *targets: Document, **part: object) -> Document:
    """Puts what the environment says, or a part of it, where the targets are."""
    source: Document = {"kind": "ConfigMap", "name": SETTINGS, "fieldPath": f"data.{field}"}
    return {"source": {**source, "options": part} if part else source, "targets": list(targets)}


def target(kind: str, path: str, reject: Sequence[str] = (), name: str = "", **part: Any) -> Document:
    """A field, or a part of it, of all resources of a kind, of those that are not rejected, or of one."""
    selected = {"kind": kind, "name": name} if name else {"kind": kind}
    chosen: Document = {"select": selected, "fieldPaths": [path]}
    if reject:
        chosen["reject"] = [{"kind": kind, "name": name} for name in reject]
    return {**chosen, "options": part} if part else chosen


def patch(changes: Sequence[Document], kind: str, name: str = "") -> Document:
    """Changes, in the form of RFC 6902, of all resources of a kind or of one."""
    selected = {"kind": kind, "name": name} if name else {"kind": kind}
    return {"target": selected, "patch": yaml.safe_dump(list(changes), sort_keys=False)}


def variable(name: str) -> str:
    """Where the Deployments of our own programs have a variable."""
    return f"spec.template.spec.containers.*.env.[name=DESKMESH_{name}].value"
