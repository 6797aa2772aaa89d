"""The running stack's own secrets, and what people wrote, looked for wherever the stack writes or says anything."""

import base64
import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from deskmesh.tickets.v1 import ticket_service_pb2
from deskmesh_client import DeskmeshError
from services.common.ids import new_id
from tests.support.stack import Stack

MARK = new_id("canary")
# What is shorter is no secret, such as a name in a file of secrets.
SHORTEST = 12
SECONDS = 15.0
PRIVATE = ("secrets", "pki", "postgres", "valkey", "mail", "ray")
PEM = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\n(.+?)\n", re.DOTALL)
# Which of the names in files of secrets hold one.
NAMES = re.compile(r"password|secret|token|key|url", re.IGNORECASE)


def strings(value: Any, name: str = "") -> Iterator[str]:
    """The secrets in a JSON document: texts under a name that says so, and all in a mapping of passwords."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from strings(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner, name)
    elif isinstance(value, str) and NAMES.search(name):
        yield value


def kept_in(file: Path) -> set[bytes]:
    """Every form in which what a file of secrets holds could turn up."""
    content = file.read_bytes()
    if file.suffix == ".json":
        document = json.loads(content)
        under = "password" if file.name.startswith("database") else ""
        return {one.encode() for one in strings({under: list(document.values())} if under else document)}
    if found := PEM.findall(content):
        return set(found)
    return {content.strip(), base64.b64encode(content), content.hex().encode(), base64.urlsafe_b64encode(content)}


def secrets_of(stack: Stack) -> dict[bytes, str]:
    """The secrets of a stack and where each is kept."""
    files = [file for file in (stack.home / "secrets").rglob("*") if file.is_file()]
    files += list((stack.home / "pki").rglob("*.key"))
    found = {one: str(file.relative_to(stack.home)) for file in files for one in kept_in(file)}
    return {one: where for one, where in found.items() if len(one) >= SHORTEST}


@pytest_asyncio.fixture(scope="module")
async def planted(whole_stack: Stack) -> dict[bytes, str]:
    """What people bring in, rightly and wrongly; once it is done, its trace has been written."""
    password = f"wrong {MARK} password"
    async with whole_stack.client() as nobody:
        with pytest.raises(DeskmeshError) as caught:
            await nobody.sign_in(f"{MARK}@example.com", password)
        assert MARK not in f"{caught.value!r} {caught.value.metadata} {caught.value.violations}"
    async with whole_stack.client("customer") as customer:
        token = await customer.access_token()
        made = await customer.tickets.CreateTicket(
            ticket_service_pb2.CreateTicketRequest(
                request_id=new_id("req"), subject=f"Lost {MARK}", description=f"My card is 4111 1111 1111 1111 {MARK}."
            )
        )
        wrong = ticket_service_pb2.GetTicketRequest(ticket_id=f"tkt_{MARK}")
        with pytest.raises(DeskmeshError) as missing:
            await customer.tickets.GetTicket(wrong)
    assert made.ticket.id
    wait_for_trace(whole_stack, missing.value.metadata["trace_id"])
    return {MARK.encode(): "what people wrote", token.encode(): "an access token", password.encode(): "a password"}


def wait_for_trace(stack: Stack, trace_id: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not any(trace_id.encode() in file.read_bytes() for file in (stack.home / "traces").iterdir()):
        assert time.monotonic() < deadline, "the trace is not written"
        time.sleep(0.2)


def admin(run: Path, node: str, path: str) -> bytes:
    """What an Envoy's administration answers."""
    with socket.socket(socket.AF_UNIX) as there:
        there.connect(str(run / f"{node}-envoy.sock"))
        there.sendall(f"GET {path} HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: there.recv(65536), b""))


def places(stack: Stack) -> dict[str, bytes]:
    """Everything that the stack writes for others than itself, and everything it says of itself."""
    found = {
        str(file.relative_to(stack.home)): file.read_bytes()
        for file in stack.home.rglob("*")
        if file.is_file() and file.relative_to(stack.home).parts[0] not in PRIVATE
    }
    for words in (("status",), ("status", "--json"), ("doctor", "--json"), ("metrics",), ("logs",)):
        done = stack.deskmesh(*words)
        found[f"deskmesh {' '.join(words)}"] = (done.stdout + done.stderr).encode()
    for node in ("edge", "inference"):
        for path in ("/config_dump", "/stats", "/clusters"):
            found[f"{node} {path}"] = admin(stack.home / "run", node, path)
    for process in processes(stack):
        found[f"the command line of {process.pid}"] = " ".join(process.cmdline()).encode()
    return found


def processes(stack: Stack) -> list[psutil.Process]:
    return [psutil.Process(one["pid"]) for one in stack.deskmesh_json("status")["processes"] if one["pid"]]


def test_the_secrets_are_found_where_they_are_kept(whole_stack: Stack) -> None:
    kept = set(secrets_of(whole_stack).values())
    assert {"secrets/key-encryption.key", "secrets/demo.json", "secrets/database.json", "pki/ca.key"} <= kept


def test_no_secret_is_found_anywhere_else(whole_stack: Stack, planted: dict[bytes, str]) -> None:
    secrets = secrets_of(whole_stack) | planted
    searched = places(whole_stack)
    for name in ("deskmesh status", "deskmesh metrics", "edge /config_dump", "logs/auth.log", "logs/edge-envoy.log"):
        assert searched[name], name
    assert any(name.startswith("traces/") for name in searched)
    found = [(name, kept) for name, said in searched.items() for one, kept in secrets.items() if one in said]
    assert found == []


def test_what_holds_secrets_is_for_its_owner_alone(whole_stack: Stack) -> None:
    for file in [*(whole_stack.home / "secrets").rglob("*"), *(whole_stack.home / "pki").rglob("*.key")]:
        assert file.stat().st_mode & 0o077 == 0, file
    for name in ("secrets", "pki", "logs", "traces", "mail"):
        assert (whole_stack.home / name).stat().st_mode & 0o077 == 0, name


def test_no_process_leaves_its_memory_behind(whole_stack: Stack) -> None:
    for process in processes(whole_stack):
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        [line] = [one for one in limits.splitlines() if one.startswith("Max core file size")]
        assert line.split()[4:6] == ["0", "0"], process


def test_nothing_in_the_repository_has_the_form_of_a_key_or_token_of_ours() -> None:
    root = Path(__file__).parents[2]
    shapes = (r"dm_live_[0-9A-Za-z]{49}", "-----BEGIN [A-Z ]*PRIVATE KEY-----", r"eyJhbGciOiJFZERTQS[0-9A-Za-z_-]{20,}")
    for one in shapes:
        done = subprocess.run(
            ["git", "grep", "-lE", "-e", one, "--", ".", ":!tests/security/test_secrets_of_the_stack.py"],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, ""), f"{one}: {done.stdout}{done.stderr}"
