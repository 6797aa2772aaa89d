"""Writes the manifests under `mesh/kuberay/targets`: `python -m mesh.kuberay.generate [--check]`.

One file for each target of `serve_apps/configs` that a cluster can run. With `--check` nothing is written, and what is
not as it would be written is named.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mesh.istio.text import as_text
from mesh.kuberay.service import fits, manifests
from serve_apps.assistant.config import load_config
from serve_apps.assistant.settings import CONFIGS

FOLDER = Path(__file__).parent / "targets"
HEADER = "# Written by `python -m mesh.kuberay.generate` from serve_apps/configs/{target}.yaml. Do not edit.\n"


def generated() -> dict[str, str]:
    """Every file by its name, with its text."""
    configs = {file.stem: load_config(file) for file in sorted(CONFIGS.glob("*.yaml"))}
    return {
        f"{target}.yaml": HEADER.format(target=target) + as_text(manifests(target, config))
        for target, config in configs.items()
        if fits(config)
    }


def differences(wanted: dict[str, str], folder: Path = FOLDER) -> list[str]:
    """A line for every file that is missing, other than it would be written, or left over."""
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    found = [f"{name} is left over" for name in sorted(present - wanted.keys())]
    for name, text in sorted(wanted.items()):
        if name not in present:
            found.append(f"{name} is missing")
        elif (folder / name).read_text() != text:
            found.append(f"{name} is not what its target says")
    return found


def write(wanted: dict[str, str], folder: Path = FOLDER) -> None:
    """Write every file and remove what is left over."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (folder / name).write_text(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 when `--check` finds something."""
    parser = argparse.ArgumentParser(prog="python -m mesh.kuberay.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; say what is not fresh")
    checking: bool = parser.parse_args(arguments).check
    wanted = generated()
    found = differences(wanted)
    if not checking:
        write(wanted)
        sys.stdout.write(f"{len(wanted)} files, {len(found)} changed\n")
        return 0
    for line in found:
        sys.stderr.write(f"mesh/kuberay/targets/{line}; run `make gen`\n")
    sys.stdout.write(f"{len(wanted)} manifests of targets, {len(found)} not fresh\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
