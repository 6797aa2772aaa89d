"""metrics: what Prometheus would scrape."""

import http.client
import socket
from typing import Annotated

import typer

from deskmesh_cli.console import fail
from laptop.settings import StackSettings

SECONDS = 30.0


def metrics(
    name: Annotated[str, typer.Argument(help="A process; all of them if left out.")] = "",
) -> None:
    """Print the metrics of every process in Prometheus' text format."""
    path = StackSettings().paths.metrics_socket
    connection = http.client.HTTPConnection("localhost", timeout=SECONDS)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(SECONDS)
    try:
        connection.sock.connect(str(path))
        connection.request("GET", f"/metrics/{name}" if name else "/metrics")
        response = connection.getresponse()
        body = response.read().decode()
    except (OSError, http.client.HTTPException):
        raise fail("The stack does not run.", "`deskmesh up` starts it.") from None
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise fail(f"There is no process {name}.", "`deskmesh status` lists the processes.")
    typer.echo(body, nl=False)
