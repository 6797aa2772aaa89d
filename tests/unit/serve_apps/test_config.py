"""The target's configuration: the one that ships is valid, and mistakes are named with file and field."""

from pathlib import Path

import pytest
import yaml

from serve_apps.assistant.config import ConfigError, load_config
from serve_apps.assistant.settings import CONFIGS

SIMULATED = {
    "name": "simulated-words",
    "application": "llm",
    "context_length": 1000,
    "engine": {"kind": "simulated"},
}


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


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        ({"engine": {"kind": "magic"}}, "models.0.engine", "magic"),
        ({"context_length": "many"}, "models.0.context_length", "integer"),
        ({"typo": 1}, "models.0.typo", "Extra"),
        ({"name": "words"}, "models.0", "simulated-"),
        ({"autoscaling": {"min_replicas": 3, "max_replicas": 2}}, "models.0.autoscaling", "below"),
        ({"engine": {"kind": "vllm"}}, "models.0", "simulated-"),
        ({"name": "real", "engine": {"kind": "vllm"}}, "models.0", "source is missing"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, change: dict[str, object], field: str, problem: str) -> None:
    file = write(tmp_path, {"models": [SIMULATED | change]})
    with pytest.raises(ConfigError) as raised:
        load_config(file)
    message = str(raised.value)
    assert str(file) in message
    assert field in message
    assert problem in message


def test_two_models_cannot_share_a_name_or_an_application(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="share one name"):
        load_config(write(tmp_path, {"models": [SIMULATED, SIMULATED | {"application": "other"}]}))
    with pytest.raises(ConfigError, match="share one application"):
        load_config(write(tmp_path, {"models": [SIMULATED, SIMULATED | {"name": "simulated-2"}]}))


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="not YAML"):
        load_config(write(tmp_path, "models: ["))
