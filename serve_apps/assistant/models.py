"""Where the files of models lie."""

import importlib.util
import os
from pathlib import Path
from typing import NamedTuple

from serve_apps.assistant.config import CacheSource, HubSource, LocalSource, PathSource


def cache_folder() -> Path:
    """The folder of converted models: `${XDG_CACHE_HOME:-~/.cache}/deskmesh/models`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "deskmesh" / "models"


def package_folder(package: str) -> Path:
    """The folder of an installed package, which is not imported. Raises FileNotFoundError."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"the Python package {package} is not installed")
    return Path(spec.origin).parent


def locate(source: LocalSource, *, needed: str = "config.json") -> Path:
    """The folder with the model's files, `needed` among them. Raises FileNotFoundError with what to do."""
    match source:
        case CacheSource(folder=folder):
            found, advice = cache_folder() / folder, "run python -m serve_apps.assistant.prepare_models"
        case PathSource(path=path):
            found, advice = path, "correct the path"
        case _:
            found, advice = package_folder(source.package) / source.folder, "reinstall the package"
    if not (found / needed).exists():
        raise FileNotFoundError(f"no model in {found}: {advice}")
    return found


class Weights(NamedTuple):
    """What an engine loads: a folder, or the ID of a hub's repository and the commit."""

    name: str
    revision: str | None


def find_weights(source: LocalSource | HubSource) -> Weights:
    """The weights of a model. Raises FileNotFoundError with what to do when a local one is not there."""
    if isinstance(source, HubSource):
        return Weights(source.repository, source.revision)
    return Weights(str(locate(source)), None)
