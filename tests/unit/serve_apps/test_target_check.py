"""What a target's file may change while everything runs, and what is said of it before anything is touched."""

import json
from pathlib import Path
from typing import Any

import pytest

from serve_apps.assistant import yaml_file
from serve_apps.assistant.config import TargetConfig
from serve_apps.assistant.target_check import Findings, check_target
from serve_apps.assistant.versions import versions_of


def adapter(folder: Path, rank: int = 8) -> dict[str, Any]:
    """An adapter's folder as far as a check reads it."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank}))
    (folder / "adapter_model.safetensors").touch()
    return {"name": folder.name, "source": {"kind": "path", "path": str(folder)}}


def target(weights: Path, adapters: list[dict[str, Any]], **router: object) -> str:
    model = {
        "name": "m",
        "application": "m",
        "context_length": 1000,
        "engine": {"kind": "vllm", "max_adapters": 2},
        "source": {"kind": "path", "path": str(weights)},
        "adapters": adapters,
    }
    return json.dumps({"models": [model], "router": router})


def checked(text: str, running: str) -> Findings:
    return check_target("t.yaml", text, yaml_file.parse(running, TargetConfig, "running"))


def test_adapters_and_routing_change_without_a_version(tmp_path: Path) -> None:
    polite, brief = adapter(tmp_path / "polite"), adapter(tmp_path / "brief")
    running = target(tmp_path, [polite])
    for text in (target(tmp_path, [polite, brief]), target(tmp_path, []), target(tmp_path, [polite], lease_seconds=1)):
        found = checked(text, running)
        assert found.problems == []
        assert any("takes effect at once" in note for note in found.notes)
        assert found.versions == versions_of(yaml_file.parse(running, TargetConfig, "t").models)


def test_what_serves_is_nothing_new(tmp_path: Path) -> None:
    running = target(tmp_path, [adapter(tmp_path / "polite")])
    assert checked(running, running).problems == ["t.yaml:1: models: nothing differs from what serves"]


def test_an_adapter_that_does_not_fit_is_refused_before_an_engine_sees_it(tmp_path: Path) -> None:
    found = checked(target(tmp_path, [adapter(tmp_path / "large", rank=64)]), target(tmp_path, []))
    said = "t.yaml:1: models[0].adapters[0]: large: its rank is 64, the engine takes 16 at most"
    assert found.problems == [said]


def test_an_adapter_that_is_not_there_is_refused(tmp_path: Path) -> None:
    lost = {"name": "lost", "source": {"kind": "path", "path": str(tmp_path / "lost")}}
    (problem,) = checked(target(tmp_path, [lost]), target(tmp_path, [])).problems
    assert problem.startswith("t.yaml:1: models[0].adapters[0].source: ")


def test_a_name_stays_with_its_adapter(tmp_path: Path) -> None:
    """Else a conversation would have the one in this request and the other in the next."""
    one, other = adapter(tmp_path / "one"), adapter(tmp_path / "other")
    (problem,) = checked(target(tmp_path, [other | {"name": "one"}]), target(tmp_path, [one])).problems
    assert problem.endswith("one serves from another one; what is new has a new name")


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"replicas": 2}, "router.replicas"), ({"lease_seconds": -1}, "router.lease_seconds")],
)
def test_what_needs_a_restart_or_is_wrong_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    (problem,) = checked(target(tmp_path, [], **changes), target(tmp_path, [])).problems
    assert said in problem
