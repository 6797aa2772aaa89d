"""What kustomize makes of the manifests, built once each, and whether Kubernetes would take a resource."""

import copy
import subprocess
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import kubernetes_validate
import yaml
from kubernetes_validate import utils

ROOT = Path(__file__).parents[2]
KUBECTL = ROOT / ".tools" / "kubectl"
Resource = dict[str, Any]
KUBERNETES = "1.37"


def manifests(environment: str) -> list[Resource]:
    """The resources of an environment; a copy, to be changed at will."""
    return copy.deepcopy(_parsed(environment))


@cache
def built(overlay: str) -> str:
    """The same as text, of any folder under `mesh/istio/overlays`."""
    return kustomize(ROOT / "mesh" / "istio" / "overlays" / overlay)


def kustomize(folder: Path) -> str:
    """What a folder with a kustomization becomes. Raises CalledProcessError."""
    assert KUBECTL.exists(), "run `make .tools/kubectl` first"
    return subprocess.run([KUBECTL, "kustomize", folder], check=True, capture_output=True, text=True).stdout


def validate(resource: Resource) -> None:
    """By the strict schemas, in which there is no other field. Raises kubernetes_validate.ValidationError."""
    # The definitions are large, and would be read anew for each resource.
    with patch.object(utils, "schema_contents", _schema):
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)


_schema = cache(utils.schema_contents)


@cache
def _parsed(environment: str) -> list[Resource]:
    return list(yaml.load_all(built(environment), Loader=yaml.CSafeLoader))
