"""Finding and ending what belongs to a session, orphans included."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serve_apps.assistant import processes
from serve_apps.assistant.cluster import LONGEST_FOLDER, Cluster
from serve_apps.assistant.settings import AssistantSettings

# A parent that starts a child deaf to SIGTERM and ends once it is, as Ray's daemons and engines do.
CHILD = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", file=sys.stderr, flush=True)
time.sleep(60)
"""
PARENT = """
import subprocess, sys
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True, **quiet)
child.stderr.readline()
print(child.pid)
"""


def start_orphan(state: Path) -> int:
    command = [sys.executable, "-c", PARENT, CHILD]
    environment = os.environ | {processes.MARK: str(state)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_an_orphan_deaf_to_sigterm_is_found_and_ended(tmp_path: Path) -> None:
    pid = start_orphan(tmp_path)
    assert [process.pid for process in processes.of_session(tmp_path)] == [pid]
    assert processes.end(tmp_path, grace_seconds=0.2) == 1
    assert processes.of_session(tmp_path) == []


def test_the_session_of_another_state_folder_is_left_alone(tmp_path: Path) -> None:
    start_orphan(tmp_path / "mine")
    start_orphan(tmp_path / "theirs")
    processes.end(tmp_path / "mine", grace_seconds=0.1)
    assert len(processes.of_session(tmp_path / "theirs")) == 1
    processes.end(tmp_path / "theirs", grace_seconds=0.1)


def test_the_token_is_made_once_and_for_the_owner_only(tmp_path: Path) -> None:
    cluster = Cluster(AssistantSettings(home=tmp_path))
    file = Path(cluster.environment()["RAY_AUTH_TOKEN_PATH"])
    token = file.read_text()
    assert len(token) == 64
    assert file.stat().st_mode & 0o777 == 0o600
    assert cluster.environment()["RAY_AUTH_TOKEN_PATH"] == str(file)
    assert file.read_text() == token


def test_a_long_state_folder_gets_a_short_path_for_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / ("long" * 15)
    (home / "ray").mkdir(parents=True)
    cluster = Cluster(AssistantSettings(home=home))
    folder = cluster._short_folder()
    try:
        assert len(str(folder)) <= LONGEST_FOLDER
        assert folder.resolve() == (home / "ray").resolve()
        assert folder.parent.stat().st_mode & 0o077 == 0
    finally:
        folder.unlink()
