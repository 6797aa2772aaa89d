"""What costs its sender little and would cost the edge much: refused, or the connection ends."""

import asyncio
import gzip
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from deskmesh.auth.v1 import auth_service_pb2 as auth
from deskmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from services.common.errors import from_rpc_error
from tests.integration.gateway.conftest import Door
from tests.integration.gateway.rest import Rest

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS = 1, 4
SECONDS = 10
MANY = 20_000


def frame(kind: int, stream: int = 0, payload: bytes = b"", flags: int = 0) -> bytes:
    """One HTTP/2 frame (RFC 9113, 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def header(name: str, value: str) -> bytes:
    """A header field, literal and without indexing or Huffman (RFC 7541, 6.2.2); both shorter than 127 bytes."""
    return b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()


# A call that waits for its body.
OPENING = b"".join(
    header(name, value)
    for name, value in (
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/deskmesh.auth.v1.AuthService/SignIn"),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
    )
)


class Wire:
    """A connection whose frames a test writes itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ends_after(self, flood: bytes) -> bool:
        """Whether the other end closes the connection because of what is sent."""
        try:
            async with asyncio.timeout(SECONDS):
                self._writer.write(flood)
                await asyncio.gather(self._writer.drain(), self._read_to_the_end())
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    async def _read_to_the_end(self) -> None:
        while await self._reader.read(65536):
            pass


@asynccontextmanager
async def wire(door: Door) -> AsyncIterator[Wire]:
    context = ssl.create_default_context(cafile=str(door.folder / "pki" / "ca.crt"))
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port, ssl=context, server_hostname="localhost")
    writer.write(PREFACE + frame(SETTINGS))
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


def rapid_resets() -> bytes:
    streams = range(1, MANY, 2)
    return b"".join(
        frame(HEADERS, one, OPENING, END_HEADERS) + frame(RESET, one, struct.pack(">I", 8)) for one in streams
    )


FLOODS = {
    "pings that are not listened to": frame(PING, payload=bytes(8)) * MANY,
    "settings": frame(SETTINGS) * MANY,
    "empty data": frame(HEADERS, 1, OPENING, END_HEADERS) + frame(DATA, 1) * 100,
    "priorities": frame(PRIORITY, 1, bytes(4) + b"\x01") * MANY,
    "window updates": frame(HEADERS, 1, OPENING, END_HEADERS) + frame(WINDOW_UPDATE, 1, struct.pack(">I", 1)) * MANY,
    "calls begun and dropped": rapid_resets(),
    "headers without an end": frame(HEADERS, 1, OPENING) + frame(CONTINUATION, 1, header("x-more", "y" * 100)) * 2000,
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_flood_of_frames_ends_its_connection_and_nobody_elses(door: Door, rest: Rest, flood: str) -> None:
    async with wire(door) as attacker:
        assert await attacker.ends_after(FLOODS[flood])
    assert (await rest.call("GET", "/api/v1/me")).status == 200


async def test_who_sends_no_flood_stays(door: Door) -> None:
    async with wire(door) as quiet:
        try:
            async with asyncio.timeout(1):
                assert not await quiet.ends_after(frame(PING, payload=bytes(8)) * 5)
        except TimeoutError:
            pass


@pytest.mark.parametrize(
    ("headers", "statuses"),
    [
        ({"x-large": "y" * 40_000}, {431}),
        ({f"x-{number}": "y" for number in range(80)}, {431}),
        ({"x_underscore": "y"}, {400}),
    ],
    ids=["large", "many", "underscore"],
)
async def test_headers_have_bounds(rest: Rest, headers: dict[str, str], statuses: set[int]) -> None:
    assert (await rest.call("GET", "/api/v1/me", headers=headers)).status in statuses


async def test_nothing_compressed_is_taken_by_rest(rest: Rest) -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    refused = await rest.call("POST", "/api/v1/auth:signIn", data=bomb, headers={"content-encoding": "gzip"})
    assert refused.refusal == (415, "INVALID_FIELD")
    assert "compressed" in refused.json["message"]


async def test_nothing_compressed_is_taken_by_grpc(door: Door) -> None:
    authority = (door.folder / "pki" / "ca.crt").read_bytes()
    target = f"localhost:{door.port}"
    async with grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(authority)) as channel:
        bomb = auth.SignInRequest(email="x" * 1024 * 1024, password="x")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await AuthServiceStub(channel).SignIn(bomb, compression=grpc.Compression.Gzip, timeout=SECONDS)
    refused = from_rpc_error(caught.value)
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert "compressed" in refused.message
