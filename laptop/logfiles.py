"""Keeps log files small: each process appends to one file, older text moves to `<name>.log.1` and on."""

import os
import shutil
from pathlib import Path

MOST_BYTES = 16 * 1024 * 1024
KEEP = 3


def rotate_all(folder: Path, most_bytes: int = MOST_BYTES) -> None:
    """Rotate every log in the folder that has grown too large."""
    for file in folder.glob("*.log"):
        if file.stat().st_size > most_bytes:
            rotate(file)


def rotate(file: Path) -> None:
    """Copy the log away and empty it in place.

    The writers hold the file open for appending and know nothing of this, so it cannot be renamed;
    lines written between the copy and the cut are lost, a few milliseconds of them.
    """
    for number in range(KEEP - 1, 0, -1):
        older = file.with_name(f"{file.name}.{number}")
        if older.exists():
            older.replace(file.with_name(f"{file.name}.{number + 1}"))
    shutil.copyfile(file, file.with_name(f"{file.name}.1"))
    os.truncate(file, 0)


def tail(file: Path, lines: int) -> list[str]:
    """The last lines of a log, oldest first; none if there is no such file."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - lines * 2048))
            return stream.read().decode(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []
