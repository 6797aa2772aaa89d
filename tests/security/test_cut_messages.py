"""Calls whose message is missing, cut off or slow to come: ended by the edge, and in nobody's way.

gRPC's server in Python never answers them; see `mesh/envoy/templates/whole_message.lua`.
"""

import asyncio
import ssl
import struct
import time

import pytest

from tests.security.gate import Gate

ME = "/deskmesh.auth.v1.AuthService/WhoAmI"
# A call that the server answers with a stream.
WATCH = "/deskmesh.sessions.v1.ConversationService/Watch"
MANY = 200
# More than the calls that a service is let have at once however slow it is.
SLOW = 140
# The gate waits three seconds for a request to come whole.
ENDED_SECONDS = 10.0

CUT = {
    "nothing": b"",
    "half a head": b"\0\0\0",
    "less than it says": struct.pack(">BI", 0, 100) + b"x" * 10,
    "more than it says": struct.pack(">BI", 0, 0) + b"x",
    "two messages": struct.pack(">BI", 0, 0) * 2,
}


async def call(gate: Gate, path: str, body: bytes) -> tuple[str | None, float]:
    """The gRPC status of a call over grpc-web, and how long it took."""
    headers = {
        "authorization": f"Bearer {gate.rest.token}",
        "content-type": "application/grpc-web+proto",
        "x-grpc-web": "1",
    }
    began = time.monotonic()
    async with (
        asyncio.timeout(ENDED_SECONDS),
        gate.session.post(f"{gate.url}{path}", data=body, headers=headers) as response,
    ):
        await response.read()
        return response.headers.get("grpc-status"), time.monotonic() - began


@pytest.mark.parametrize("path", [ME, WATCH])
@pytest.mark.parametrize("body", CUT.values(), ids=CUT.keys())
async def test_a_message_that_is_not_whole_is_refused_at_once(open_gate: Gate, path: str, body: bytes) -> None:
    assert (await call(open_gate, path, body))[0] == "3"


async def test_many_of_them_keep_no_other_call_from_its_answer(open_gate: Gate) -> None:
    cut = [asyncio.create_task(call(open_gate, ME, CUT["less than it says"])) for _ in range(MANY)]
    normal = await open_gate.rest.call("GET", "/api/v1/me")
    answers = await asyncio.gather(*cut)
    assert normal.status == 200
    assert {status for status, _ in answers} == {"3"}
    assert max(seconds for _, seconds in answers) < ENDED_SECONDS


async def test_what_never_comes_whole_is_ended_and_reaches_no_service(open_gate: Gate) -> None:
    trusted = ssl.create_default_context(cafile=str(open_gate.ca_file))
    head = (
        f"POST {ME} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {open_gate.rest.token}\r\n"
        "content-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\ncontent-length: 105\r\n\r\n"
    ).encode()

    async def begin() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("localhost", open_gate.port, ssl=trusted)
        writer.write(head + CUT["less than it says"])
        await writer.drain()
        return reader, writer

    async def ended(reader: asyncio.StreamReader) -> bytes:
        async with asyncio.timeout(ENDED_SECONDS):
            return await reader.readuntil(b"\r\n\r\n")

    began = time.monotonic()
    open_now = await asyncio.gather(*(begin() for _ in range(SLOW)))
    try:
        assert (await open_gate.rest.call("GET", "/api/v1/me")).status == 200
        answers = await asyncio.gather(*(ended(reader) for reader, _ in open_now))
    finally:
        for _, writer in open_now:
            writer.transport.abort()
    assert all(b"grpc-status: 4\r\n" in answer for answer in answers), answers[0]
    assert time.monotonic() - began > 1
