"""Finds the server programs inside the Python packages that bring them."""

import importlib.util
from pathlib import Path


def program(package: str, pattern: str) -> Path:
    """The file of an installed package that matches a glob pattern. Raises FileNotFoundError.

    The package is not imported: what is wanted is its binary, and some imports have side effects.
    """
    found = importlib.util.find_spec(package)
    folder = Path(found.origin).parent if found and found.origin else None
    file = next(iter(sorted(folder.glob(pattern))), None) if folder else None
    if file is None:
        raise FileNotFoundError(f"{package} is not installed whole: {pattern} is missing; run `make setup`")
    return file
