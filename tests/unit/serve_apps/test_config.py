"""The target's configuration: the one that ships is valid, and mistakes are named with file and field."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from serve_apps.assistant import yaml_file
from serve_apps.assistant.config import ConfigError, TargetConfig, load_config
from serve_apps.assistant.settings import CONFIGS

SIMULATED = {
    "name": "simulated-words",
    "application": "llm",
    "context_length": 1000,
    "engine": {"kind": "simulated"},
}


ROOT = CONFIGS.parent.parent
KEYS = st.sampled_from(["models", "router", "name", "engine", "kind", "source", "quality", "replica_policies"])


def _nested(children: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.lists(children, max_size=3) | st.dictionaries(KEYS, children, max_size=4)


def write(folder: Path, content: object) -> Path:
    file = folder / "target.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return file


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.name)
def test_what_ships_is_valid(file: Path) -> None:
    config = load_config(file)
    assert "router" in config.applications


def test_the_laptop_trusts_its_small_model_with_nothing() -> None:
    config = load_config(CONFIGS / "laptop.yaml")
    assert config.applications == ("router", "embedder", "llm")
    assert {"decide", "free_wording"}.isdisjoint(config.models[0].capabilities)


VLLM = {"kind": "vllm", "threads": 2, "kv_cache_mebibytes": 384}
REAL = {"name": "real", "source": {"kind": "cache", "folder": "real"}, "engine": VLLM}
ENDPOINT = {"kind": "endpoint", "url": "https://models.example.com/v1", "model": "large"}
ADAPTER = {"name": "polite", "source": {"kind": "path", "path": "/models/polite"}}


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        ({"engine": {"kind": "magic"}}, "models[0].engine", "magic"),
        ({"context_length": "many"}, "models[0].context_length", "integer"),
        ({"typo": 1}, "models[0].typo", "Extra"),
        ({"name": "words"}, "models[0]", "simulated-"),
        ({"autoscaling": {"min_replicas": 3, "max_replicas": 2}}, "models[0].autoscaling", "below"),
        ({"engine": VLLM}, "models[0]", "simulated-"),
        ({"engine": {"kind": "simulated", "max_running": 0}}, "models[0].engine.max_running", "greater"),
        ({"name": "real", "engine": VLLM}, "models[0]", "source is missing"),
        ({"quality": 11}, "models[0].quality", "10"),
        ({"cost": {"input_per_million": -1}}, "models[0].cost.input_per_million", "greater"),
        ({"languages": ["english"]}, "models[0].languages[0]", "pattern"),
        ({"environment": {"lower": "1"}}, "models[0].environment", "pattern"),
        ({"application": "router"}, "(whole file)", "router"),
        (REAL | {"source": ENDPOINT}, "models[0]", "belong together"),
        (REAL | {"engine": {"kind": "remote"}}, "models[0]", "belong together"),
        (
            {"name": "far", "source": ENDPOINT, "engine": {"kind": "remote"}, "capabilities": ["score"]},
            "models[0]",
            "cannot score",
        ),
        (REAL | {"source": {"kind": "hub", "repository": "a/b", "revision": "main"}}, "models[0].source.revision", ""),
        (REAL | {"adapters": [ADAPTER]}, "models[0]", "max_adapters"),
        (REAL | {"engine": VLLM | {"max_adapters": 1}, "adapters": [ADAPTER, ADAPTER]}, "models[0]", "share one name"),
        (REAL | {"engine": VLLM | {"tensor_parallel": 2}}, "models[0].engine", "CPU"),
        (REAL | {"engine": {"kind": "vllm", "threads": 2}}, "models[0].engine", "kv_cache_mebibytes is missing"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, change: dict[str, object], field: str, problem: str) -> None:
    file = write(tmp_path, {"models": [SIMULATED | change]})
    with pytest.raises(ConfigError) as raised:
        load_config(file)
    message = str(raised.value)
    assert message.startswith(f"{file}:")
    assert f" {field}" in message
    assert problem in message


def test_every_mistake_has_its_line(tmp_path: Path) -> None:
    text = """models:
  - name: simulated-one
    application: one
    context_length: 1000
    engine:
      kind: simulated
      token_milliseconds: soon
    quality: 20
  - name: simulated-two
    engine: {kind: simulated}
    context_length: 1000
router:
  replica_policies:
    - kind: power_of_two
    - kind: session_affinity
      slack: none
"""
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as raised:
        load_config(file)
    places = [line.removeprefix(f"{file}:").split(": ")[:2] for line in str(raised.value).splitlines()]
    assert sorted(places) == [
        ["16", "router.replica_policies[1].slack"],
        ["7", "models[0].engine.token_milliseconds"],
        ["8", "models[0].quality"],
        ["9", "models[1].application"],
    ]


def test_a_field_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    text = "router: {replicas: 1}\nmodels: []\nrouter:\n  replicas: 2\n"
    with pytest.raises(ConfigError, match=r"target\.yaml:3: router: stands here twice"):
        load_config(write(tmp_path, text))


def test_two_models_cannot_share_a_name_or_an_application(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="share one name"):
        load_config(write(tmp_path, {"models": [SIMULATED, SIMULATED | {"application": "other"}]}))
    with pytest.raises(ConfigError, match="share one application"):
        load_config(write(tmp_path, {"models": [SIMULATED, SIMULATED | {"name": "simulated-2"}]}))


def test_two_embedding_models_cannot_share_a_name(tmp_path: Path) -> None:
    one = {"model": "one", "source": {"kind": "package", "package": "one"}}
    with pytest.raises(ConfigError, match="two embedding models share one name"):
        load_config(write(tmp_path, {"models": [SIMULATED], "embedder": one | {"further": [one]}}))


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match=r"target\.yaml:2: is not YAML"):
        load_config(write(tmp_path, "models: [\n"))
    with pytest.raises(ConfigError, match="whole file"):
        load_config(write(tmp_path, "just words"))
    with pytest.raises(ConfigError, match="whole file"):
        load_config(write(tmp_path, ""))


@settings(max_examples=50)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8), _nested, max_leaves=12))
def test_no_content_breaks_the_check(content: object) -> None:
    with contextlib.suppress(ConfigError):
        yaml_file.parse(yaml.safe_dump(content), TargetConfig, "target.yaml")


def _parts(part: type[BaseModel], seen: set[type[BaseModel]]) -> set[type[BaseModel]]:
    """Every class that a file of this class can hold."""
    seen.add(part)
    for field in part.model_fields.values():
        for inner in _classes(field.annotation):
            if inner not in seen:
                _parts(inner, seen)
    return seen


def _classes(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _classes(argument)


def test_the_page_describes_every_field() -> None:
    page = (ROOT / "docs" / "models.md").read_text()
    fields = {name for part in _parts(TargetConfig, set()) for name in part.model_fields}
    assert {name for name in fields if f"`{name}`" not in page} == set()
