"""HTTPS to hosts that somebody outside named: nowhere private, no redirects, and not for long or for much."""

import asyncio
import ipaddress
import json
import socket
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

TIMEOUT_SECONDS = 5.0
MOST_BYTES = 256 * 1024
# Addresses that lead to others by translation: what they lead to is not to be seen from here.
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")


class NotReached(Exception):
    """Nothing that can be used was answered; says which and why for the log, and nothing of the answer."""


class Outside:
    """Asks for JSON. `ca_file` is trusted in place of the system's authorities; `private` allows private addresses."""

    def __init__(self, *, ca_file: Path | None = None, private: bool = False) -> None:
        self._ca_file = ca_file
        self._private = private
        self._tls: ssl.SSLContext | None = None

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The document at an address. Raises NotReached."""
        status, document = await self._ask("GET", url, headers or {}, None)
        if status != HTTPStatus.OK:
            raise NotReached(f"{_host(url)} answers {status}")
        return document

    async def post(self, url: str, headers: Mapping[str, str], body: str) -> tuple[int, dict[str, Any]]:
        """What a form is answered with, and the status. Raises NotReached."""
        return await self._ask("POST", url, headers, body)

    async def _ask(
        self, method: str, url: str, headers: Mapping[str, str], body: str | None
    ) -> tuple[int, dict[str, Any]]:
        if urlsplit(url).scheme != "https":
            raise NotReached("not HTTPS")
        self._check_literal(_host(url))
        # What is packed could unpack to anything.
        sent = {**headers, "Accept": "application/json", "Accept-Encoding": "identity"}
        try:
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                aiohttp.ClientSession(connector=self._connector(), auto_decompress=False) as session,
                session.request(method, url, headers=sent, data=body, allow_redirects=False) as answer,
            ):
                if "Content-Encoding" in answer.headers:
                    raise NotReached(f"{_host(url)} answers packed")
                return answer.status, _document(await _read(answer))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise NotReached(f"{_host(url)}: {type(error).__name__}") from None

    def _connector(self) -> aiohttp.TCPConnector:
        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=self._ca_file)
        return aiohttp.TCPConnector(ssl=self._tls, resolver=_Public(private=self._private), use_dns_cache=False)

    def _check_literal(self, host: str) -> None:
        # aiohttp resolves no addresses.
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return
        if not self._private and not is_public(address):
            raise NotReached("a private address")


class _Public(AbstractResolver):
    """Resolves to what may be connected to, and only what was looked up is: a name cannot change in between."""

    def __init__(self, *, private: bool) -> None:
        self._private = private
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        # One private address among others makes the name one that is not to be trusted.
        if not self._private and not all(is_public(ipaddress.ip_address(one["host"])) for one in found):
            raise OSError("a private address")
        return found

    async def close(self) -> None:
        await self._resolver.close()


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address is one of the internet's, and no other way to one that is not."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.sixtofour is not None or address.teredo is not None or address in _TRANSLATED:
            return False
    return address.is_global and not address.is_multicast


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    read = bytearray()
    async for chunk in answer.content.iter_any():
        read += chunk
        if len(read) > MOST_BYTES:
            raise ValueError("too large")
    return bytes(read)


def _document(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(document, dict):
        raise ValueError("no object")  # noqa: TRY004 - the answer is wrong, not the argument
    return document


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""
