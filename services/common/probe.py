"""Asks the ops server of a process: `python -S -m services.common.probe SOCKET PATH`; ends with 0 for 200, else 1.

For Kubernetes' probes, every few seconds in each pod, so nothing is imported that takes long.
"""

import socket
import sys

SECONDS = 4.0


def answers(address: str, path: str) -> bool:
    """Whether the server on a Unix socket answers a GET request with 200. Raises OSError without a server."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SECONDS)
        connection.connect(address)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n".encode())
        status = connection.makefile("rb").readline().split()
    return status[1:2] == [b"200"]


if __name__ == "__main__":
    try:
        sys.exit(0 if answers(*sys.argv[1:3]) else 1)
    except OSError as error:
        sys.exit(f"no answer: {error}")
