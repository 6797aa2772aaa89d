"""Writes what follows from the policy options of the protos: `python -m mesh.policy.generate [--check]`.

The manifests under `mesh/istio` and the tables of `docs/policy.md`. With `--check` nothing is written, and what is not
as it would be written is named.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from mesh.istio import layout
from mesh.istio.plan import Plan
from mesh.policy import document
from mesh.policy.table import load_table

ROOT = Path(__file__).resolve().parents[2]
# Nothing else may lie in these.
OWNED = tuple(layout.FOLDER / name for name in layout.FOLDERS)


def generated() -> dict[PurePosixPath, str]:
    """Every generated file by its path in the project, with its text."""
    table = load_table()
    return {document.PATH: document.render(table), **layout.files(Plan.of(table))}


def differences(wanted: dict[PurePosixPath, str], root: Path = ROOT) -> list[str]:
    """A line for every file that is missing, other than it would be written, or left over."""
    present = {
        PurePosixPath(path.relative_to(root).as_posix())
        for folder in OWNED
        for path in (root / folder).rglob("*")
        if path.is_file()
    }
    found = [f"{path} is left over" for path in sorted(present - wanted.keys())]
    for path, text in sorted(wanted.items()):
        file = root / path
        if not file.is_file():
            found.append(f"{path} is missing")
        elif file.read_text() != text:
            found.append(f"{path} is not what the protos say")
    return found


def write(wanted: dict[PurePosixPath, str], root: Path = ROOT) -> None:
    """Write every file and remove what is left over."""
    for folder in OWNED:
        for path in sorted((root / folder).rglob("*"), reverse=True):
            if path.is_dir():
                if not any(path.iterdir()):
                    path.rmdir()
            elif PurePosixPath(path.relative_to(root).as_posix()) not in wanted:
                path.unlink()
    for name, text in wanted.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 when `--check` finds something."""
    parser = argparse.ArgumentParser(prog="python -m mesh.policy.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; say what is not fresh")
    checking: bool = parser.parse_args(arguments).check
    wanted = generated()
    found = differences(wanted)
    if not checking:
        write(wanted)
        sys.stdout.write(f"{len(wanted)} files, {len(found)} changed\n")
        return 0
    for line in found:
        sys.stderr.write(f"{line}; run `make gen`\n")
    sys.stdout.write(f"{len(wanted)} generated files, {len(found)} not fresh\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
