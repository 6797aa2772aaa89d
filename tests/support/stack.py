"""The whole stack, started once for a test run the way a person starts it, in a state folder of its own."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from deskmesh_cli.connection import DemoSignIns, SignIn
from deskmesh_client import Client

# The first pair of ports that is free is taken, so that several runs may go on beside each other.
PORTS = [(18443 + 300 * step, 17100 + 300 * step) for step in range(4)]
START_SECONDS = 900
COMMAND = Path(sys.executable).parent / "deskmesh"


@dataclass(frozen=True)
class Stack:
    """A running stack: its state folder, its address, and how to reach it as a person or a program would."""

    home: Path
    edge_port: int
    base_port: int

    @property
    def edge_url(self) -> str:
        return f"https://localhost:{self.edge_port}"

    @property
    def ca_file(self) -> Path:
        return self.home / "pki" / "ca.crt"

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "DESKMESH_HOME": str(self.home),
            "DESKMESH_EDGE_PORT": str(self.edge_port),
            "DESKMESH_BASE_PORT": str(self.base_port),
        }

    def deskmesh(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        return subprocess.run(
            [COMMAND, *arguments], env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    def deskmesh_json(self, *arguments: str, timeout: float = 120) -> Any:
        """Run the command line with --json and return what it printed; fails the test when it fails."""
        done = self.deskmesh(*arguments, "--json", timeout=timeout)
        assert done.returncode == 0, f"deskmesh {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def demo(self) -> DemoSignIns:
        return DemoSignIns.model_validate_json((self.home / "secrets" / "demo.json").read_bytes())

    def sign_in(self, role: str) -> SignIn:
        return next(user for user in self.demo().users if user.role == role)

    @asynccontextmanager
    async def client(self, role: str | None = None) -> AsyncIterator[Client]:
        """A client of its own session, signed in as the demo organization's person of this role, if one is named."""
        async with Client(f"localhost:{self.edge_port}", ca_file=self.ca_file) as client:
            if role is not None:
                person = self.sign_in(role)
                await client.sign_in(person.email, person.password, self.demo().organization)
            yield client

    def process(self, name: str) -> psutil.Process:
        """The process that runs under this name."""
        processes = self.deskmesh_json("status")["processes"]
        return psutil.Process(next(process["pid"] for process in processes if process["name"] == name))


@pytest.fixture(scope="session")
def whole_stack() -> Iterator[Stack]:
    """Started at the first use, stopped at the end; nothing of it may be left then."""
    home = Path(tempfile.mkdtemp(prefix="dm-"))
    home.chmod(0o755)  # the database runs under a user of its own when the tests run as root
    stack = Stack(home, *free_ports())
    up = stack.deskmesh("up", timeout=START_SECONDS)
    try:
        assert up.returncode == 0, f"deskmesh up failed:\n{up.stdout[-4000:]}\n{up.stderr[-4000:]}"
        yield stack
    finally:
        down = stack.deskmesh("down")
        left = processes_of(home)
        if os.environ.get("DESKMESH_KEEP_TEST_HOME") is None:
            shutil.rmtree(home, ignore_errors=True)
    assert down.returncode == 0, down.stdout + down.stderr
    assert left == [], "processes outlived `deskmesh down`"


def free_ports() -> tuple[int, int]:
    """The edge port and the base port of a stack that would disturb no other."""
    taken = {connection.laddr.port for connection in psutil.net_connections("tcp") if connection.laddr}
    for edge, base in PORTS:
        if edge not in taken and taken.isdisjoint(range(base, base + 100)):
            return edge, base
    pytest.fail(f"every pair of ports for a test stack is taken: {PORTS}")


def processes_of(home: Path) -> list[str]:
    """Processes whose environment names this state folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("DESKMESH_HOME") == str(home):
                found.append(f"{process.pid} {' '.join(process.cmdline())[:120]}")
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found
