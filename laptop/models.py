"""The cache of converted models in the user's cache folder: where it is and whether it is whole."""

import json
import os
from pathlib import Path

HEADER_LENGTH_BYTES = 8
MOST_HEADER_BYTES = 100 * 1024 * 1024


def folder() -> Path:
    """`$XDG_CACHE_HOME/deskmesh/models`, by default below `~/.cache`."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "deskmesh" / "models"


def cached(cache: Path) -> list[Path]:
    """The folders of the models that are there."""
    return sorted(path for path in cache.glob("*") if path.is_dir() and not path.name.startswith("."))


def damage(model: Path) -> str:
    """What is wrong with a model's weights, in words; empty if they are whole.

    The header of a safetensors file says how long the file must be, so a cut or overwritten file
    shows without reading the weights.
    """
    weights = sorted(model.glob("*.safetensors"))
    if not weights:
        return "there are no weights in it"
    return next(filter(None, map(_damage_of_file, weights)), "")


def _damage_of_file(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(HEADER_LENGTH_BYTES), "little")
            if not 0 < length < MOST_HEADER_BYTES:
                return f"{file.name} does not begin like a safetensors file"
            header = json.loads(stream.read(length))
    except (OSError, ValueError) as error:
        return f"{file.name} cannot be read: {type(error).__name__}"
    tensors = [entry for name, entry in header.items() if name != "__metadata__"]
    expected = HEADER_LENGTH_BYTES + length + max((entry["data_offsets"][1] for entry in tensors), default=0)
    actual = file.stat().st_size
    return "" if actual == expected else f"{file.name} has {actual} bytes instead of {expected}"
