"""What people who run the stack look at: status, logs, traces, metrics, doctor."""

import json
import ssl
import time
from datetime import datetime
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from tests.support.stack import Stack

PROCESSES = {
    "postgres", "valkey", "traces", "auth", "sessions", "tickets", "knowledge", "orchestrator", "usage", "models",
    "web", "ray", "inference-envoy", "edge-envoy", "gateway",
}  # fmt: skip


def test_status_tells_of_every_process(stack: Stack) -> None:
    status = stack.deskmesh_json("status")
    assert status["ready"] is True
    processes = {process["name"]: process for process in status["processes"]}
    assert set(processes) >= PROCESSES
    for process in processes.values():
        assert set(process) >= {"name", "pid", "state", "restarts", "rss_bytes", "cpu_seconds", "listeners"}
        assert process["rss_bytes"] > 0
    for listener in (listener for process in processes.values() for listener in process["listeners"]):
        assert set(listener) == {"address", "tls", "mtls"}
    edge = [
        listener for listener in processes["edge-envoy"]["listeners"] if str(stack.edge_port) in listener["address"]
    ]
    assert edge
    assert edge[0]["tls"] is True
    assert all(listener["mtls"] for listener in processes["auth"]["listeners"] if "127.0.0.1:" in listener["address"])


def test_a_second_up_is_harmless(stack: Stack) -> None:
    before = {process["name"]: process["pid"] for process in stack.deskmesh_json("status")["processes"]}
    assert stack.deskmesh("up").returncode == 0
    assert {process["name"]: process["pid"] for process in stack.deskmesh_json("status")["processes"]} == before


def test_logs_are_json_and_carry_the_trace(stack: Stack) -> None:
    answer = stack.deskmesh_json("chat", "--once", "How do I cancel an order?")
    lines = (stack.home / "logs" / "orchestrator.log").read_text().splitlines()
    assert any(json.loads(line).get("trace_id") == answer["trace_id"] for line in lines)
    assert "How do I cancel an order" not in "\n".join(lines), "what customers write stays out of the logs"


def test_every_line_of_every_log_is_json_with_the_same_fields(stack: Stack) -> None:
    logs = {file.stem: file.read_text().splitlines() for file in (stack.home / "logs").glob("*.log")}
    assert set(logs) >= PROCESSES | {"supervisor"}
    for name in ("postgres", "valkey", "ray", "edge-envoy", "supervisor"):
        assert logs[name], f"{name} says something in every start"
    for name, lines in logs.items():
        for line in lines:
            entry = json.loads(line)
            assert entry.keys() >= {"time", "level", "process", "message"}, line
            # The models' replicas share Ray's log under their own names.
            assert entry["process"] == name or name == "ray", line
            assert entry["level"] in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}, line
            assert datetime.fromisoformat(entry["time"]).tzinfo is not None, line


def test_logs_are_legible(stack: Stack) -> None:
    shown = stack.deskmesh("logs", "postgres", "-n", "500").stdout
    assert "database system is ready to accept connections" in shown
    assert "{" not in shown


def test_one_trace_spans_every_part(stack: Stack) -> None:
    answer = stack.deskmesh_json("chat", "--once", "How long does an exchange take?")
    wanted = {"edge-envoy", "orchestrator", "sessions", "knowledge"}
    deadline = time.monotonic() + 20
    services: set[str] = set()
    while time.monotonic() < deadline and not (wanted <= services and len(services) > len(wanted)):
        time.sleep(1)
        services = {
            span["service"]
            for file in (stack.home / "traces").glob("*.jsonl")
            for span in map(json.loads, file.read_text().splitlines())
            if span["trace_id"] == answer["trace_id"]
        }
    assert wanted <= services
    assert services - wanted, "the model's deployment belongs to the trace as well"


# A metric that only the process itself can know.
OWN_METRICS = {
    "auth": "grpc_server_handling_seconds_count",
    "sessions": "grpc_server_handling_seconds_count",
    "tickets": "grpc_server_handling_seconds_count",
    "knowledge": "grpc_server_handling_seconds_count",
    "orchestrator": "grpc_server_handling_seconds_count",
    "web": "deskmesh_web_responses_total",
    "traces": "deskmesh_traces_spans_total",
    "postgres": "deskmesh_postgres_connections",
    "valkey": "deskmesh_valkey_used_memory",
    "edge-envoy": "envoy_http_downstream_rq_total",
    "inference-envoy": "envoy_http_downstream_rq_total",
    "ray": "deskmesh_engine_running",
    "supervisor": "process_resident_memory_bytes",
}


def test_every_process_has_metrics(stack: Stack) -> None:
    trusted = ssl.create_default_context(cafile=str(stack.ca_file))
    with urlopen(f"{stack.edge_url}/metrics", context=trusted) as page:
        assert b"process_resident_memory_bytes" not in page.read(), "the edge shows the page, no metrics"
    stack.deskmesh_json("chat", "--once", "Where is my parcel?")
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(stack.deskmesh("metrics").stdout):
        for sample in family.samples:
            found.setdefault(sample.labels["process"], set()).add(sample.name)
    for name, metric in OWN_METRICS.items():
        assert metric in found[name], name
    for name in PROCESSES:
        assert {"deskmesh_process_up", "deskmesh_process_restarts_total"} <= found[name]
    assert any(metric.startswith("ray_") for metric in found["ray"])


def test_one_process_can_be_asked_for_its_metrics(stack: Stack) -> None:
    text = stack.deskmesh("metrics", "auth").stdout
    assert {s.labels["process"] for f in text_string_to_metric_families(text) for s in f.samples} == {"auth"}
    assert "deskmesh_process_metrics_up" in text
    assert stack.deskmesh("metrics", "nobody").returncode == 1


def test_doctor_finds_nothing_wrong(stack: Stack) -> None:
    report = stack.deskmesh_json("doctor")
    assert report
