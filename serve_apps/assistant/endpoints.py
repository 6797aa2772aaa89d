"""Keeps Envoy's endpoint files as the board says."""

from collections.abc import Sequence
from pathlib import Path

from mesh.envoy.endpoints import write_endpoints
from serve_apps.assistant.board import Report

Addresses = dict[str, list[tuple[str, int]]]


def addresses(applications: Sequence[str], reports: Sequence[Report]) -> Addresses:
    """Host and port of every replica that takes requests, by application; each application has an entry."""
    found: Addresses = {application: [] for application in applications}
    for report in reports:
        if report.application in found and not report.draining:
            host, _, port = report.replica.rpartition(":")
            found[report.application].append((host, int(port)))
    return found


class EndpointFiles:
    """One file an application; a file is written only when its content changes."""

    def __init__(self, folder: Path, applications: Sequence[str]) -> None:
        self._folder = folder
        self._applications = applications
        self._written: Addresses = {}

    def update(self, reports: Sequence[Report]) -> None:
        """Write what has changed since the last time."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for application, found in addresses(self._applications, reports).items():
            if self._written.get(application) != found:
                write_endpoints(self._folder, application, found)
                self._written[application] = found
