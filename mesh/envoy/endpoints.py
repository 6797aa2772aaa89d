"""The file in which Envoy finds the replicas of one application of Ray Serve.

`python -m mesh.envoy.endpoints FOLDER APPLICATION…` writes empty ones, without which Envoy does not start.
"""

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

KIND = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"


def write_endpoints(folder: Path, application: str, addresses: Iterable[tuple[str, int]]) -> None:
    """Replace `<folder>/<application>.json` in one step; Envoy follows within a second.

    `addresses` are hosts and ports of replicas, an empty iterable when there is none.
    """
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}
        for host, port in sorted(addresses)
    ]
    assignment = {"@type": KIND, "cluster_name": application, "endpoints": [{"lb_endpoints": endpoints}]}
    temporary = folder / f".{application}.json.{os.getpid()}"
    temporary.write_text(json.dumps({"resources": [assignment]}))
    os.replace(temporary, folder / f"{application}.json")


def prepare(folder: Path, applications: Iterable[str]) -> None:
    """An empty file for each application that has none yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for application in applications:
        if not (folder / f"{application}.json").exists():
            write_endpoints(folder, application, ())


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), sys.argv[2:])
