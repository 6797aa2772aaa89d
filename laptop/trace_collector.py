"""Receives OpenTelemetry spans over gRPC on a Unix socket and keeps them as JSON lines in a few files.

`python -m laptop.trace_collector SOCKET FOLDER OPS_SOCKET`
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.process_collector import ProcessCollector

from services.common.logs import configure_logging
from services.common.ops import OpsServer

MOST_BYTES = 32 * 1024 * 1024
KEEP = 4
CURRENT = "spans.jsonl"


class SpanFiles:
    """`spans.jsonl` and its predecessors `spans.jsonl.1` … in a folder; at most `keep` of them."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES, keep: int = KEEP) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._keep = keep
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._stream = self._open()

    def append(self, lines: list[str]) -> None:
        """Write lines whole and at once; begin a new file when the present one is full."""
        self._stream.write("".join(f"{line}\n" for line in lines))
        self._stream.flush()
        if self._stream.tell() > self._most_bytes:
            self._rotate()

    def close(self) -> None:
        self._stream.close()

    def _open(self) -> Any:
        return (self._folder / CURRENT).open("a", encoding="utf-8")

    def _rotate(self) -> None:
        self._stream.close()
        current = self._folder / CURRENT
        for number in range(self._keep - 1, 0, -1):
            older = current if number == 1 else current.with_name(f"{CURRENT}.{number - 1}")
            if older.exists():
                older.replace(current.with_name(f"{CURRENT}.{number}"))
        self._stream = self._open()


class TraceCollector(trace_service_pb2_grpc.TraceServiceServicer):
    """The OTLP trace service."""

    def __init__(self, files: SpanFiles, registry: CollectorRegistry) -> None:
        self._files = files
        self._kept = Counter("deskmesh_traces_spans", "Spans kept, by who made them.", ("service",), registry=registry)

    async def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, _context: Any
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        """Keep every span of the request."""
        found = list(spans(request))
        self._files.append([json.dumps(span, separators=(",", ":")) for span in found])
        for span in found:
            self._kept.labels(span["service"]).inc()
        return trace_service_pb2.ExportTraceServiceResponse()


def spans(request: trace_service_pb2.ExportTraceServiceRequest) -> Iterator[dict[str, Any]]:
    """Each span as a flat record; times in nanoseconds since 1970, durations in milliseconds."""
    for resource_spans in request.resource_spans:
        service = _attributes(resource_spans.resource.attributes).get("service.name", "")
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield _record(span, str(service))


def _record(span: Span, service: str) -> dict[str, Any]:
    return {
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_id": span.parent_span_id.hex(),
        "service": service,
        "name": span.name,
        "kind": Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        "start_ns": span.start_time_unix_nano,
        "duration_ms": round((span.end_time_unix_nano - span.start_time_unix_nano) / 1e6, 3),
        "error": span.status.message or True if span.status.code == Status.STATUS_CODE_ERROR else False,
        "attributes": _attributes(span.attributes),
        "events": [{"name": event.name, "attributes": _attributes(event.attributes)} for event in span.events],
    }


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs if isinstance(pair, KeyValue)}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    if kind == "bytes_value":
        return value.bytes_value.hex()
    return getattr(value, kind) if kind else None


async def serve(socket: Path, folder: Path, ops_socket: Path) -> None:
    """Serve until SIGTERM or SIGINT."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    ops = OpsServer(ops_socket, registry)
    files = SpanFiles(folder)
    server = grpc.aio.server()
    add_servicer: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server  # its package has no types
    add_servicer(TraceCollector(files, registry), server)
    server.add_insecure_port(f"unix:{socket}")
    await ops.start()
    await server.start()
    ops.serving = True
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await server.stop(grace=2)
    await ops.stop()
    files.close()


if __name__ == "__main__":
    configure_logging("traces", os.environ.get("DESKMESH_LOG_LEVEL", "INFO"))
    os.umask(0o077)  # the socket and the files are for this user alone
    asyncio.run(serve(*map(Path, sys.argv[1:4])))
