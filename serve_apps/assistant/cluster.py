"""A Ray cluster of one machine: started, watched and ended with everything that belongs to it.

All of it listens on loopback and asks for a token. The dashboard's pages, usage statistics, log collector, autoscaling
monitor and client server stay off: most are a process of 50–100 MiB that nobody here needs.
"""

import hashlib
import logging
import os
import secrets
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from serve_apps.assistant import processes
from serve_apps.assistant.settings import AssistantSettings

logger = logging.getLogger(__name__)

# Ports by their distance from the base port.
HEAD, NODE_MANAGER, OBJECT_MANAGER, AGENT_HTTP, AGENT_GRPC, RUNTIME_ENV_AGENT, METRICS, HEAD_METRICS = range(20, 28)
FIRST_WORKER, LAST_WORKER = 40, 99
# Ray's sockets lie 60 characters below its folder, and a socket's path has at most 107.
LONGEST_FOLDER = 40
ESSENTIAL = {"gcs_server", "raylet"}
START_SECONDS = 90
STOP_SECONDS = 2.0


class ClusterError(Exception):
    """Ray did not start; the message says why."""


class Cluster:
    """The Ray processes of one state folder."""

    def __init__(self, settings: AssistantSettings) -> None:
        self._settings = settings
        self._state = settings.state
        self._folder = self._state / "ray"
        # Found once: to look through every process of the machine takes milliseconds.
        self._essential: list[psutil.Process] = []

    @property
    def address(self) -> str:
        """Where Ray's head listens."""
        return f"127.0.0.1:{self._settings.base_port + HEAD}"

    def environment(self) -> dict[str, str]:
        """What this process and everything that Ray starts needs in its environment, before Ray is imported."""
        return {
            processes.MARK: str(self._state),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self._token()),
            "RAY_USAGE_STATS_ENABLED": "0",
            # The name misleads: without "clusters" Ray takes 127.0.0.1 for the node's address, and listens there only.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_START_HOOK": f"{__name__}.without_client_server",
            "RAY_prestart_worker_first_driver": "0",
            "RAY_enable_worker_prestart": "0",
            # Ray would run workers, and so the engine, behind every other process of the machine.
            "RAY_worker_niceness": "0",
            "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
            "RAY_LOGGER_LEVEL": "warning",
            # What Ray does many times a second while nothing happens takes its share of the engine's cores.
            "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.25",
            "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000",
            "RAY_metrics_report_interval_ms": "60000",
            "REPORTER_UPDATE_INTERVAL_MS": "60000",
            "RAY_DASHBOARD_AGENT_CHECK_PARENT_INTERVAL_S": "5",
            # Of tasks there is no dashboard to show them.
            "RAY_task_events_report_interval_ms": "0",
            "DASHBOARD_METRIC_PORT": str(self._settings.base_port + HEAD_METRICS),
        }

    def start(self) -> None:
        """End what an earlier run left, then start the head. Raises ClusterError."""
        if count := processes.end(self._state, grace_seconds=1.0):
            logger.warning("ended processes of an earlier run", extra={"count": count})
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(mode=0o700, parents=True)
        base = self._settings.base_port
        options = {
            "node-ip-address": "127.0.0.1",
            "port": base + HEAD,
            "node-manager-port": base + NODE_MANAGER,
            "object-manager-port": base + OBJECT_MANAGER,
            "dashboard-agent-listen-port": base + AGENT_HTTP,
            "dashboard-agent-grpc-port": base + AGENT_GRPC,
            "runtime-env-agent-port": base + RUNTIME_ENV_AGENT,
            "metrics-export-port": base + METRICS,
            "min-worker-port": base + FIRST_WORKER,
            "max-worker-port": base + LAST_WORKER,
            "temp-dir": self._short_folder(),
            "num-cpus": max(2, os.cpu_count() or 2),
            "num-gpus": 0,
            "object-store-memory": self._settings.object_store_mebibytes << 20,
            "include-dashboard": "false",
            "include-log-monitor": "false",
        }
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head"]
        # Not redirected: the words of every worker come out where this process's own do.
        command += ["--no-monitor", "--no-redirect-output", "--disable-usage-stats", "--log-style=record"]
        command += [f"--{name}={value}" for name, value in options.items()]
        try:
            subprocess.run(  # noqa: S603 - our own command
                command, check=True, timeout=START_SECONDS, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise ClusterError(f"Ray did not start ({error}); is a port from {base + HEAD} on taken?") from error
        self._essential = [one for one in psutil.Process().children() if one.name() in ESSENTIAL]

    def is_alive(self) -> bool:
        """True while head and node manager run."""
        return len(self._essential) == len(ESSENTIAL) and all(map(processes.is_alive, self._essential))

    def stop(self) -> None:
        """End every process of the session, engines and other orphans included."""
        processes.end(self._state, grace_seconds=STOP_SECONDS)
        self._short_link().unlink(missing_ok=True)

    def _token(self) -> Path:
        file = self._state / "secrets" / "ray-token"
        if not file.exists():
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary = file.with_name(f".{file.name}.{os.getpid()}")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as stream:
                stream.write(secrets.token_hex(32))
            os.replace(temporary, file)
        return file

    def _short_folder(self) -> Path:
        """The Ray folder by a path short enough for sockets: itself, or a link to it from a private folder in /tmp."""
        if len(str(self._folder)) <= LONGEST_FOLDER:
            return self._folder
        link = self._short_link()
        link.parent.mkdir(mode=0o700, exist_ok=True)
        status = link.parent.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise ClusterError(f"{link.parent} belongs to somebody else; remove it")
        link.unlink(missing_ok=True)
        link.symlink_to(self._folder)
        return link

    def _short_link(self) -> Path:
        digest = hashlib.sha256(str(self._folder).encode()).hexdigest()[:8]
        return Path(f"/tmp/deskmesh-{os.getuid()}") / digest  # noqa: S108 - checked to be ours alone


def without_client_server(parameters: Any, _head: bool) -> None:
    """Ray calls this in `ray start` before anything runs; the command has no option to leave the client server out."""
    parameters.ray_client_server_port = None
