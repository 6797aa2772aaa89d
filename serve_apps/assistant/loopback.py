"""Keeps Ray Serve off the network of a laptop."""

from typing import Any

import ray.serve._private.replica as serve_replica

HOST = "127.0.0.1"
EVERYWHERE = "[::]:"


def confine_serve() -> None:
    """Make the replica's port for calls between deployments listen on loopback; call it before the replica is ready.

    Serve opens that port on every interface and has no setting for it (it asks for Ray's token, but does not look at
    the node's address). All else of Ray listens on loopback by itself when the node's address is one. A test holds that
    no port of the running application is open to the network.
    """
    original = serve_replica.add_port_to_grpc_server

    def add_port(server: Any, address: str) -> int:
        port: int = original(server, address.replace(EVERYWHERE, f"{HOST}:"))
        return port

    serve_replica.add_port_to_grpc_server = add_port
