"""The commands that look at the state folder, where no stack runs."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deskmesh_cli.main import build
from deskmesh_cli.progress import StartProgress

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DESKMESH_HOME", str(tmp_path))
    (tmp_path / "logs").mkdir()
    (tmp_path / "traces").mkdir()
    return tmp_path


def deskmesh(*arguments: str) -> Result:
    return CliRunner().invoke(build(), list(arguments))


def test_status_of_nothing(home: Path) -> None:
    assert json.loads(deskmesh("status", "--json").output) == {"processes": [], "ready": False}
    assert "deskmesh up" in deskmesh("status").output


def test_restart_of_nothing_says_what_to_do(home: Path) -> None:
    result = deskmesh("restart", "auth")
    assert result.exit_code == 1
    assert "deskmesh up" in result.output


def test_down_of_nothing_is_harmless(home: Path) -> None:
    result = deskmesh("down", "--json")
    assert result.exit_code == 0
    assert json.loads(result.output) == {"was_running": False}


def test_logs_show_the_newest_lines_of_each_process(home: Path) -> None:
    def entry(process: str, message: str, **fields: object) -> dict[str, object]:
        return {"time": "2026-01-02T03:04:05.678Z", "level": "INFO", "process": process, "message": message} | fields

    auth = [entry("auth", "one"), entry("auth", "two", attempts=2), entry("auth", "three", trace_id=TRACE)]
    (home / "logs" / "auth.log").write_text("".join(json.dumps(one) + "\n" for one in auth))
    (home / "logs" / "web.log").write_text(json.dumps(entry("web", "four")) + "\n")
    assert deskmesh("logs", "auth", "-n", "2").output.splitlines() == [
        "2026-01-02 03:04:05.678 INFO     two attempts=2",
        f"2026-01-02 03:04:05.678 INFO     three trace_id={TRACE}",
    ]
    assert [line.split()[2:5] for line in deskmesh("logs", "-n", "1").output.splitlines()] == [
        ["INFO", "auth", "three"],
        ["INFO", "web", "four"],
    ]
    assert json.loads(deskmesh("logs", "web", "--json").output) == entry("web", "four")
    unknown = deskmesh("logs", "nobody")
    assert unknown.exit_code == 1
    assert "auth, web" in unknown.output


def test_a_trace_is_a_tree(home: Path) -> None:
    span = {"trace_id": TRACE, "service": "edge-envoy", "start_ns": 1_000_000, "duration_ms": 9.0, "error": False}
    spans = [
        span | {"span_id": "a", "parent_id": "", "name": "ingress"},
        span | {"span_id": "b", "parent_id": "a", "name": "WhoAmI", "service": "auth", "start_ns": 3_000_000},
    ]
    lines = [json.dumps(one, separators=(",", ":")) for one in spans]
    (home / "traces" / "spans.jsonl").write_text("\n".join(lines) + "\n")
    (root,) = json.loads(deskmesh("trace", TRACE[:8], "--json").output)
    assert [child["service"] for child in root["children"]] == ["auth"]
    assert "+2.0 ms" in deskmesh("trace", TRACE).output
    assert deskmesh("trace", "ffff").exit_code == 1


def test_doctor_prints_every_finding(home: Path) -> None:
    result = deskmesh("doctor", "--json")
    report = json.loads(result.output)
    assert report["ok"] is (result.exit_code == 0)
    assert {"python", "memory", "socket paths"} <= {finding["name"] for finding in report["findings"]}


def test_a_start_is_followed_to_its_last_snapshot() -> None:
    def snapshot(state: str) -> dict[str, object]:
        process = {
            "name": "ray",
            "state": state,
            "usual_seconds": 60,
            "running_seconds": 3.0,
            "ready_after_seconds": 61.0 if state == "ready" else None,
            "problem": "",
        }
        return {"steps": [], "processes": [process]}

    states = ["waiting", "starting", "backoff", "starting", "ready"]
    with StartProgress(quiet=True) as progress:
        seen = list(progress.follow(iter([snapshot(state) for state in states])))
    assert len(seen) == len(states)
