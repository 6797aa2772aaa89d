"""Keeps Ray Serve off the network of a laptop."""

from typing import Any

HOST = "127.0.0.1"
EVERYWHERE = "[::]:"


def confine_serve(host: str) -> None:
    """Make the port for calls between deployments listen on loopback, too, if the replica does.

    To be called in a replica's constructor.

    Serve opens that port on every interface and has no setting for it (it asks for Ray's token, but does not look at
    the node's address). All else of Ray listens on loopback by itself when the node's address is one. A test holds that
    no port of the running application is open to the network.
    """
    if host != HOST:
        return
    import ray.serve._private.replica as serve_replica

    original = serve_replica.add_port_to_grpc_server

    def add_port(server: Any, address: str) -> int:
        port: int = original(server, address.replace(EVERYWHERE, f"{HOST}:"))
        return port

    serve_replica.add_port_to_grpc_server = add_port
