"""Fuzzing, bounded: every decoder for some seconds, by the branches it takes.

`DESKMESH_FUZZ_SECONDS` says for how long; a night takes 1800.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.security.decoders import TARGETS

ROOT = Path(__file__).parents[2]
SECONDS = int(os.environ.get("DESKMESH_FUZZ_SECONDS", "6"))
START_SECONDS = 60
# Far below what it does; a fuzzer that does nothing finds nothing.
LEAST_INPUTS = 1000


def fuzz(folder: Path, *chosen: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.security.fuzz", str(SECONDS), str(folder), *chosen]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS + START_SECONDS
    )


@pytest.mark.timeout(SECONDS + 2 * START_SECONDS)
def test_no_decoder_breaks(tmp_path: Path) -> None:
    done = fuzz(tmp_path)
    crashes = [file.read_bytes() for file in tmp_path.glob("crash-*")]
    names = [list(TARGETS)[crash[0] % len(TARGETS)] for crash in crashes if crash]
    assert (done.returncode, names, crashes) == (0, [], []), done.stderr[-4000:]
    inputs = re.search(r"Done (\d+) runs", done.stdout + done.stderr)
    assert inputs, done.stderr[-4000:]
    assert int(inputs[1]) > LEAST_INPUTS
