"""Small parts of the laptop: settings, order of processes, logs, traces, models, listeners."""

import json
import os
import socket
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from laptop import logfiles, proc, traces
from laptop.probes import unhealthy_upstreams
from laptop.settings import StackSettings
from laptop.specs import ProcessSpec, in_start_order
from laptop.trace_collector import SpanFiles, spans


def spec(name: str, *depends_on: str) -> ProcessSpec:
    return ProcessSpec(name=name, argv=("true",), depends_on=depends_on)


def test_a_second_stack_gets_replica_ports_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DESKMESH_REPLICA_PORT", raising=False)
    monkeypatch.setenv("DESKMESH_HOME", str(tmp_path))
    monkeypatch.setenv("DESKMESH_BASE_PORT", "7100")
    first = StackSettings()
    monkeypatch.setenv("DESKMESH_BASE_PORT", "17100")
    monkeypatch.setenv("DESKMESH_EDGE_PORT", "")
    second = StackSettings()
    assert first.home == tmp_path
    assert second.edge_port == 8443
    assert abs(first.replica_port - second.replica_port) >= 1000


def test_processes_are_ordered_by_what_they_depend_on() -> None:
    ordered = in_start_order((spec("c", "b"), spec("a"), spec("b", "a")))
    assert [one.name for one in ordered] == ["a", "b", "c"]


@pytest.mark.parametrize("specs", [(spec("a", "b"), spec("b", "a")), (spec("a", "nobody"),)])
def test_a_circle_or_a_gap_is_an_error(specs: tuple[ProcessSpec, ...]) -> None:
    with pytest.raises(ValueError, match="depends on"):
        in_start_order(specs)


def test_a_rotated_log_goes_on_in_the_same_file(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    with file.open("a") as writer:
        for number in range(3):
            writer.write(f"line {number}\n" * 50)
            writer.flush()
            logfiles.rotate_all(tmp_path, most_bytes=100)
        writer.write("last\n")
    assert file.read_text() == "last\n"
    assert (tmp_path / "a.log.1").read_text().startswith("line 2")
    assert (tmp_path / "a.log.3").read_text().startswith("line 0")
    assert logfiles.tail(tmp_path / "a.log.1", 2) == ["line 2", "line 2"]
    assert logfiles.tail(tmp_path / "none.log", 2) == []


def export(*parents: tuple[bytes, bytes, int]) -> trace_service_pb2.ExportTraceServiceRequest:
    request = trace_service_pb2.ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    attribute = resource.resource.attributes.add(key="service.name")
    attribute.value.string_value = "auth"
    scope = resource.scope_spans.add()
    for span_id, parent, start in parents:
        scope.spans.add(
            trace_id=b"\x0a" * 16,
            span_id=span_id,
            parent_span_id=parent,
            name=f"span {start}",
            start_time_unix_nano=start,
            end_time_unix_nano=start + 1_500_000,
        )
    return request


def test_spans_are_kept_and_found_as_a_tree(tmp_path: Path) -> None:
    files = SpanFiles(tmp_path)
    root, child = b"\x01" * 8, b"\x02" * 8
    files.append([json.dumps(span, separators=(",", ":")) for span in spans(export((child, root, 5), (root, b"", 1)))])
    files.close()
    found = traces.find(tmp_path, "0A0a")
    assert [span["name"] for span in found] == ["span 1", "span 5"]
    assert found[0]["service"] == "auth"
    assert found[0]["duration_ms"] == 1.5
    (tree,) = traces.tree(found)
    assert [node.span["name"] for node in tree.children] == ["span 5"]
    assert traces.find(tmp_path, "ffff") == []


def test_span_files_stay_few_and_small(tmp_path: Path) -> None:
    files = SpanFiles(tmp_path, most_bytes=20, keep=3)
    for number in range(6):
        files.append([f"{number}" * 30])
    files.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["spans.jsonl", "spans.jsonl.1", "spans.jsonl.2"]
    assert (tmp_path / "spans.jsonl.1").read_text().startswith("5")


def test_listeners_of_this_process_are_found(tmp_path: Path) -> None:
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as local:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        path = tmp_path / "s"
        local.bind(str(path))
        local.listen()
        port = tcp.getsockname()[1]
        found = proc.listeners([os.getpid()])
        assert f"127.0.0.1:{port}" in found
        assert str(path) in found
        assert proc.holder_of_port(port) == os.getpid()
    assert proc.holder_of_port(port) is None


def test_unhealthy_upstreams_are_named() -> None:
    hosts = [{"health_status": {"eds_health_status": "HEALTHY"}}]
    sick = [{"health_status": {"eds_health_status": "HEALTHY", "failed_active_health_check": True}}]
    statuses = [{"name": "a", "host_statuses": hosts}, {"name": "b", "host_statuses": sick}, {"name": "c"}]
    assert unhealthy_upstreams(json.dumps({"cluster_statuses": statuses}).encode()) == ["b", "c"]
