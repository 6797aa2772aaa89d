"""The supervisor as a process of its own, with fake servers: what it starts, restarts and leaves behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from laptop import daemon, launch, proc
from laptop.control import Control, NotRunning
from laptop.pki import read_certificate
from laptop.settings import PROJECT_ROOT, StackSettings

FAKE_STACK = Path(__file__).with_name("programs") / "fake_stack.py"


class FakeStack:
    """Starts and asks a supervisor of fake servers in a home of its own."""

    def __init__(self, home: Path, *, certificate_hours: float = 24) -> None:
        self.settings = StackSettings(home=home)
        self.environment = {
            **os.environ,
            "DESKMESH_HOME": str(home),
            "DESKMESH_CERTIFICATE_HOURS": str(certificate_hours),
        }
        self.control = Control(self.settings.paths)
        self.supervisor: subprocess.Popen[bytes] | None = None

    def spawn(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, FAKE_STACK], env=self.environment, cwd=PROJECT_ROOT)

    def up(self) -> dict[str, Any]:
        self.supervisor = self.spawn()
        self.until(self.answers, "the supervisor answers")
        return list(self.control.up())[-1]

    def down(self) -> bool:
        ended = launch.shut_down(self.settings, lambda _: None)
        if self.supervisor:
            self.supervisor.wait(timeout=60)
        return ended

    def answers(self) -> bool:
        try:
            self.control.status()
        except NotRunning:
            return False
        return True

    def process(self, name: str) -> dict[str, Any]:
        return next(one for one in self.control.status()["processes"] if one["name"] == name)

    def orphan(self) -> psutil.Process:
        return psutil.Process(int((self.settings.home / "orphan.pid").read_text()))

    @staticmethod
    def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
            time.sleep(0.05)


@pytest.fixture
def home() -> Iterator[Path]:
    # A short path: Unix sockets allow 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="dm-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def stack(home: Path) -> Iterator[FakeStack]:
    stack = FakeStack(home)
    yield stack
    stack.down()


def test_all_parts_become_ready_in_the_order_of_their_dependencies(stack: FakeStack) -> None:
    status = stack.up()
    assert status["ready"]
    assert [one["name"] for one in status["processes"]] == ["first", "second"]
    assert [(one["name"], one["state"]) for one in status["steps"]] == [("step", "done")]


def test_status_counts_descendants_and_names_listeners(stack: FakeStack) -> None:
    stack.up()
    first = stack.process("first")
    assert first["listeners"] == [{"address": str(stack.settings.paths.socket("first")), "tls": True, "mtls": False}]
    own = psutil.Process(first["pid"]).memory_info().rss
    assert first["rss_bytes"] > own, "the grandchild's memory counts as well"


def test_a_killed_process_is_started_again_and_its_orphan_ended(stack: FakeStack) -> None:
    stack.up()
    before, orphan = stack.process("first"), stack.orphan()
    os.kill(before["pid"], signal.SIGKILL)
    stack.until(lambda: stack.process("first")["restarts"] == 1, "restarted")
    stack.until(lambda: stack.process("first")["state"] == "ready", "ready again")
    assert stack.process("first")["pid"] != before["pid"]
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
    assert stack.process("second")["restarts"] == 0
    assert (stack.settings.home / "starts").read_text() == "xx", "what is to happen before a start happens each time"


def test_restart_waits_until_the_process_is_ready(stack: FakeStack) -> None:
    stack.up()
    before = stack.process("second")["pid"]
    answer = stack.control.restart("second")
    assert answer["state"] == "ready"
    assert stack.process("second")["pid"] != before
    assert "error" in stack.control.restart("nobody")


def test_whatever_a_process_prints_becomes_json_lines(stack: FakeStack) -> None:
    stack.up()
    entries = [json.loads(line) for line in stack.settings.paths.log("step").read_text().splitlines()]
    assert [(entry["process"], entry["level"], entry["message"]) for entry in entries] == [("step", "INFO", "done")]
    assert all(entry["time"].endswith("+00:00") for entry in entries)


def test_a_process_that_writes_outlives_its_supervisor(stack: FakeStack) -> None:
    stack.up()
    first = psutil.Process(stack.process("first")["pid"])
    assert stack.supervisor is not None
    stack.supervisor.kill()
    stack.supervisor.wait()
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(stack.settings.paths.socket("first")))
            assert caller.recv(1) == b""
    assert first.is_running()
    assert first.status() != psutil.STATUS_ZOMBIE


def test_down_leaves_no_process_socket_or_lock(stack: FakeStack) -> None:
    stack.up()
    orphan = stack.orphan()
    assert stack.down() is True
    assert not orphan.is_running()
    assert proc.marked_processes(stack.settings.home) == {}
    assert [file for file in stack.settings.paths.run.rglob("*") if not file.is_dir()] == []
    assert stack.down() is False


def test_a_second_supervisor_yields_to_the_first(stack: FakeStack) -> None:
    stack.up()
    pids = {one["name"]: one["pid"] for one in stack.control.status()["processes"]}
    assert stack.spawn().wait(timeout=60) == daemon.ALREADY_RUNNING
    assert {one["name"]: one["pid"] for one in stack.control.status()["processes"]} == pids


def test_what_a_killed_supervisor_left_is_ended_by_the_next_start(stack: FakeStack) -> None:
    stack.up()
    left = [psutil.Process(pid) for pid in proc.marked_processes(stack.settings.home)]
    assert len(left) == 3
    assert stack.supervisor is not None
    stack.supervisor.kill()
    stack.supervisor.wait()
    assert all(process.is_running() for process in left)
    assert stack.up()["ready"]
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in left)


def test_what_a_killed_supervisor_left_is_ended_by_down(stack: FakeStack) -> None:
    stack.up()
    assert stack.supervisor is not None
    stack.supervisor.kill()
    stack.supervisor.wait()
    assert stack.down() is True
    assert proc.marked_processes(stack.settings.home) == {}


def test_a_failed_step_is_told_and_the_rest_keeps_running(stack: FakeStack) -> None:
    (stack.settings.home / "want-broken").touch()
    status = stack.up()
    stack.until(lambda: stack.control.status()["failed"], "the failure shows")
    broken = next(one for one in status["steps"] if one["name"] == "broken")
    assert broken["problem"] == "ended with exit code 1"
    assert json.loads(stack.settings.paths.log("broken").read_text())["message"] == "no luck"
    assert not status["ready"]


def test_certificates_rotate_while_the_stack_runs(home: Path) -> None:
    # A life of 10 s is renewed after 5.
    stack = FakeStack(home, certificate_hours=10 / 3600)
    try:
        stack.up()
        file = stack.settings.paths.pki / "first" / "tls.crt"
        before = read_certificate(file)
        assert before is not None
        stack.until(lambda: read_certificate(file) != before, "a new certificate")
        assert stack.process("first")["restarts"] == 0
    finally:
        stack.down()
