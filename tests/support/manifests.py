"""What kustomize makes of the manifests, built once each."""

import copy
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
KUBECTL = ROOT / ".tools" / "kubectl"
Resource = dict[str, Any]


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


@cache
def _parsed(environment: str) -> list[Resource]:
    return list(yaml.load_all(built(environment), Loader=yaml.CSafeLoader))
