"""Calls to other services: mutual TLS with the peer's identity checked, on channels that survive rotated certificates.

Behind a mesh's proxy both are the proxy's: calls leave without TLS, and it takes them to whoever holds the name.

What goes with every call: the trace, the person acted for, a deadline. Retries are gRPC's own, switched on only for the
RPCs whose policy lets anybody repeat them.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import grpc
import grpc.aio

from mesh.policy.table import Rule, load_table
from services.common.context import Caller, current_caller
from services.common.interceptors.identity import ACTING_ORGANIZATION, ACTING_ROLES, ACTING_USER
from services.common.tls import CertificateFiles, Signature, channel_credentials
from services.common.tracing import TRACEPARENT, current_traceparent

logger = logging.getLogger(__name__)

MetadataPairs = tuple[tuple[str, str | bytes], ...]

# How often the certificate files are looked at, and how long calls on a replaced channel may still run.
LOOK_INTERVAL_SECONDS = 1.0
REPLACED_GRACE_SECONDS = 300.0

MAXIMUM_MESSAGE_BYTES = 16 * 1024 * 1024

_acting: ContextVar[Caller | None] = ContextVar("deskmesh_acting", default=None)


@contextmanager
def acting_as(caller: Caller) -> Iterator[None]:
    """Calls made in the block act for this caller's person instead of the one being served; for background work."""
    token = _acting.set(caller)
    try:
        yield
    finally:
        _acting.reset(token)


def call_metadata() -> list[tuple[str, str | bytes]]:
    """The trace and the person of the code that runs, as headers of a call."""
    pairs: list[tuple[str, str | bytes]] = []
    if traceparent := current_traceparent():
        pairs.append((TRACEPARENT, traceparent))
    person = _acting.get() or current_caller()
    if person is not None and person.organization_id:
        pairs.append((ACTING_ORGANIZATION, person.organization_id))
        if person.user_id:
            pairs.append((ACTING_USER, person.user_id))
        if person.roles:
            pairs.append((ACTING_ROLES, ",".join(person.roles)))
    return pairs


def service_config(rules: Iterable[Rule]) -> str:
    """gRPC's service config, in JSON, that retries what may be repeated when a server cannot be reached."""
    names = [{"service": rule.service, "method": rule.name} for rule in rules if rule.retryable]
    policy = {
        "maxAttempts": 4,
        "initialBackoff": "0.05s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    config: dict[str, object] = {"retryThrottling": {"maxTokens": 20, "tokenRatio": 0.1}}
    if names:
        config["methodConfig"] = [{"name": names, "retryPolicy": policy}]
    return json.dumps(config)


class ChannelFactory:
    """Makes one channel an address, with this workload's certificate, or without TLS for a proxy that has one."""

    def __init__(self, files: CertificateFiles | None, *, default_deadline_seconds: float = 30.0) -> None:
        self._files = files
        self._default_deadline_seconds = default_deadline_seconds
        self._channels: dict[tuple[str, str], RotatingChannel] = {}

    def channel(self, address: str, service_account: str) -> "RotatingChannel":
        """The channel to `address`, where only the workload `service_account` is accepted. Share it freely."""
        key = (address, service_account)
        if key not in self._channels:
            self._channels[key] = RotatingChannel(address, service_account, self._files, self._default_deadline_seconds)
        return self._channels[key]

    async def close(self) -> None:
        """Close every channel; calls still running are cancelled."""
        await asyncio.gather(*(channel.close() for channel in self._channels.values()))
        self._channels.clear()


class RotatingChannel(grpc.aio.Channel):
    """A channel that is made anew when the certificate files change; calls on the old one run to their end."""

    def __init__(
        self, address: str, service_account: str, files: CertificateFiles | None, default_deadline_seconds: float
    ) -> None:
        self._address = address
        self._files = files
        self._default_deadline_seconds = default_deadline_seconds
        # The authority issues a workload's name as a DNS name to that workload alone. A proxy goes by the address.
        names = () if files is None else ("grpc.ssl_target_name_override", "grpc.default_authority")
        self._options = [
            *((name, service_account) for name in names),
            ("grpc.service_config", service_config(load_table().values())),
            ("grpc.max_receive_message_length", MAXIMUM_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.max_reconnect_backoff_ms", 2_000),
            ("grpc.initial_reconnect_backoff_ms", 100),
        ]
        self._signature: Signature | None = None
        self._current: grpc.aio.Channel | None = None
        self._next_look = 0.0
        self._closing: set[asyncio.Task[None]] = set()

    def current(self) -> grpc.aio.Channel:
        """The channel to call on now. Raises OSError when there are no certificate files at all."""
        now = time.monotonic()
        if self._current is None or now >= self._next_look:
            self._next_look = now + LOOK_INTERVAL_SECONDS
            self._look()
        assert self._current is not None  # noqa: S101 - _look either sets it or raises
        return self._current

    def _look(self) -> None:
        if self._files is None:
            self._current = self._current or grpc.aio.insecure_channel(self._address, self._options)
            return
        try:
            signature = self._files.signature()
            if signature == self._signature:
                return
            material = self._files.read()
        except OSError:
            if self._current is None:
                raise
            logger.warning("certificate files cannot be read", exc_info=True)
            return
        replaced, self._signature = self._current, signature
        self._current = grpc.aio.secure_channel(self._address, channel_credentials(material), self._options)
        if replaced is not None:
            task = asyncio.get_running_loop().create_task(replaced.close(REPLACED_GRACE_SECONDS))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> "_MultiCallable":  # type: ignore[override]
        return _MultiCallable(self, "unary_unary", method, args, kwargs, default_seconds=self._default_deadline_seconds)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> "_MultiCallable":  # type: ignore[override]
        return _MultiCallable(self, "unary_stream", method, args, kwargs, default_seconds=None)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> "_MultiCallable":  # type: ignore[override]
        return _MultiCallable(self, "stream_unary", method, args, kwargs, default_seconds=None)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> "_MultiCallable":  # type: ignore[override]
        return _MultiCallable(self, "stream_stream", method, args, kwargs, default_seconds=None)

    async def close(self, grace: float | None = None) -> None:
        for task in self._closing:
            task.cancel()
        if self._current is not None:
            await self._current.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self.current().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self.current().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self.current().channel_ready()

    async def __aenter__(self) -> "RotatingChannel":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _MultiCallable:
    """One RPC, called on whatever channel is current; the default deadline holds for unary calls only."""

    def __init__(
        self,
        channel: RotatingChannel,
        kind: str,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        default_seconds: float | None,
    ) -> None:
        self._channel = channel
        self._make: Callable[[grpc.aio.Channel], Any] = lambda current: getattr(current, kind)(method, *args, **kwargs)
        self._made: tuple[grpc.aio.Channel, Any] | None = None
        self._default_seconds = default_seconds

    def __call__(
        self,
        request: Any | AsyncIterable[Any] = None,
        *,
        timeout: float | None = None,
        metadata: Iterable[tuple[str, str | bytes]] | None = None,
        **rest: Any,
    ) -> Any:
        channel = self._channel.current()
        if self._made is None or self._made[0] is not channel:
            self._made = (channel, self._make(channel))
        pairs = call_metadata()
        pairs.extend(metadata or ())
        seconds = self._default_seconds if timeout is None else timeout
        return self._made[1](request, timeout=seconds, metadata=grpc.aio.Metadata(*pairs), **rest)
