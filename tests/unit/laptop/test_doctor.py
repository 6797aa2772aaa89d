"""What the doctor finds, and that it says what to do."""

import os
import socket
from datetime import timedelta
from pathlib import Path

import pytest

from laptop import doctor
from laptop.doctor import Finding, Verdict
from laptop.pki import LocalPki
from laptop.settings import ENVIRONMENT, TRUST_DOMAIN, StackSettings
from laptop.stack import WORKLOADS
from serve_apps.assistant.models import cache_folder
from serve_apps.assistant.prepare_models import MODEL


def settings(home: Path, **changes: int) -> StackSettings:
    return StackSettings(home=home, **changes)  # type: ignore[arg-type]


def bad(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.verdict is not Verdict.OK]


@pytest.mark.parametrize(
    ("name", "variable"), [("edge_port", "DESKMESH_EDGE_PORT"), ("metrics_port", "DESKMESH_METRICS_PORT")]
)
def test_a_busy_port_is_named_with_who_holds_it(tmp_path: Path, name: str, variable: str) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        (finding,) = bad(
            list(doctor.check_ports(settings(tmp_path, **{"edge_port": 28443, name: port}, base_port=27100)))
        )
    assert finding.verdict is Verdict.PROBLEM
    assert str(port) in finding.name
    assert f"PID {os.getpid()}" in finding.detail
    assert variable in finding.advice


def test_a_path_too_long_for_sockets_is_a_problem(tmp_path: Path) -> None:
    deep = tmp_path / ("a-folder-with-a-long-name" * 4)
    (finding,) = bad(list(doctor.check_state_folder(settings(deep))))
    assert finding.name == "socket paths"
    assert "shorter" in finding.advice


def test_every_finding_but_ok_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(doctor, "MEMORY_NEEDED", 1 << 60)
    monkeypatch.setattr(doctor, "DISK_NEEDED", 1 << 60)
    monkeypatch.setattr(doctor, "WEB_FOLDER", tmp_path / "nothing")
    found = bad(doctor.obstacles(settings(tmp_path, base_port=27100, edge_port=28443)))
    assert {"node", "npm", "compiler", "web app", "memory", "disk of the state folder"} <= {one.name for one in found}
    assert all(finding.advice for finding in found)


def test_certificates_are_told_until_when_they_hold(tmp_path: Path) -> None:
    stack = settings(tmp_path)
    assert [finding.verdict for finding in doctor.check_certificates(stack)] == [Verdict.OK]
    pki = LocalPki(stack.paths.pki, trust_domain=TRUST_DOMAIN, environment=ENVIRONMENT, lifetime=timedelta(seconds=-30))
    pki.ensure(WORKLOADS)
    findings = list(doctor.check_certificates(stack))
    assert len(findings) == len(WORKLOADS)
    assert all(finding.verdict is Verdict.WARNING and "expired" in finding.detail for finding in findings)


def test_a_damaged_model_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert [finding.verdict for finding in doctor.check_model(settings(tmp_path))] == [Verdict.OK]
    (cache_folder() / MODEL).mkdir(parents=True)
    (finding,) = bad(list(doctor.check_model(settings(tmp_path))))
    assert "anew" in finding.advice
