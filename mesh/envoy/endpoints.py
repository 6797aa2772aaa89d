"""The file in which Envoy finds the replicas of one application of Ray Serve."""

import json
import os
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
