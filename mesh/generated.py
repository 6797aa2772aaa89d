"""Files of the project that are written from something else: written anew, or held against what they should be."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Generated:
    """The texts of files by their paths in the project. Nothing else may lie in the folders `owned`; `source` is what
    they are written from."""

    files: Mapping[PurePosixPath, str]
    owned: Sequence[PurePosixPath]
    source: str

    def differences(self, root: Path = ROOT) -> list[str]:
        """A line for every file that is missing, other than it would be written, or left over."""
        present = {
            PurePosixPath(path.relative_to(root).as_posix())
            for folder in self.owned
            for path in (root / folder).rglob("*")
            if path.is_file()
        }
        found = [f"{path} is left over" for path in sorted(present - self.files.keys())]
        for path, text in sorted(self.files.items()):
            file = root / path
            if not file.is_file():
                found.append(f"{path} is missing")
            elif file.read_text() != text:
                found.append(f"{path} is not what {self.source} says")
        return found

    def write(self, root: Path = ROOT) -> None:
        """Write every file and remove what is left over."""
        for folder in self.owned:
            for path in sorted((root / folder).rglob("*"), reverse=True):
                if path.is_dir():
                    if not any(path.iterdir()):
                        path.rmdir()
                elif PurePosixPath(path.relative_to(root).as_posix()) not in self.files:
                    path.unlink()
        for name, text in self.files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)


def command(generated: Generated, description: str | None, arguments: Sequence[str] | None) -> int:
    """Write, or with `--check` write nothing and name what is not fresh; then 1 when something is not."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="write nothing; say what is not fresh")
    checking: bool = parser.parse_args(arguments).check
    found = generated.differences()
    if not checking:
        generated.write()
        sys.stdout.write(f"{len(generated.files)} files, {len(found)} changed\n")
        return 0
    for line in found:
        sys.stderr.write(f"{line}; run `make gen`\n")
    sys.stdout.write(f"{len(generated.files)} generated files, {len(found)} not fresh\n")
    return 1 if found else 0
