"""A stack of the benchmark's own, beside one that may be running."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

EDGE_PORT = 28443
BASE_PORT = 27100
COMMAND = Path(sys.executable).parent / "deskmesh"


def environment(home: Path) -> dict[str, str]:
    return os.environ | {
        "DESKMESH_HOME": str(home),
        "DESKMESH_EDGE_PORT": str(EDGE_PORT),
        "DESKMESH_BASE_PORT": str(BASE_PORT),
    }


def deskmesh(home: Path, *arguments: str) -> str:
    """Run the command line on this stack and return what it printed. Raises CalledProcessError."""
    done = subprocess.run(
        [COMMAND, *arguments], env=environment(home), stdout=subprocess.PIPE, text=True, check=True, timeout=900
    )
    return done.stdout


def deskmesh_json(home: Path, *arguments: str) -> Any:
    return json.loads(deskmesh(home, *arguments, "--json"))


@contextmanager
def state_folder() -> Iterator[Path]:
    """A new state folder; whatever runs on it is stopped at the end."""
    home = Path(tempfile.mkdtemp(prefix="dm-bench-"))
    home.chmod(0o755)  # the database runs under a user of its own when this runs as root
    try:
        yield home
    finally:
        subprocess.run([COMMAND, "down"], env=environment(home), check=False, stdout=subprocess.DEVNULL)
        shutil.rmtree(home, ignore_errors=True)
