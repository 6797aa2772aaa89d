"""The model's folder: when it is good, and how damage is found and mended."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from serve_apps.assistant import prepare_models
from serve_apps.assistant.config import CacheSource, TargetConfig, load_config
from serve_apps.assistant.prepare_models import MANIFEST, find_problem, prepare, write_manifest
from serve_apps.assistant.settings import CONFIGS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "small"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    write_manifest(folder)
    return folder


def never(_target: Path) -> None:
    raise AssertionError("there is nothing to make")


def test_a_whole_folder_is_left_alone(folder: Path) -> None:
    assert find_problem(folder, verify=True) is None
    assert prepare(folder, never, verify=True) is False


def test_what_is_wrong_is_named(folder: Path, tmp_path: Path) -> None:
    assert find_problem(tmp_path / "absent", verify=False) == "not there yet"
    (folder / "model.safetensors").write_bytes(b"weighty")
    assert find_problem(folder, verify=False) is None
    assert find_problem(folder, verify=True) == "model.safetensors is damaged"
    (folder / "model.safetensors").write_bytes(b"")
    assert find_problem(folder, verify=False) == "model.safetensors is damaged"
    (folder / "model.safetensors").unlink()
    assert find_problem(folder, verify=False) == "incomplete"
    (folder / MANIFEST).write_text("[]")
    assert find_problem(folder, verify=False) == "its manifest is damaged"
    (folder / MANIFEST).write_text(json.dumps({"format": 0, "files": {}}))
    assert find_problem(folder, verify=False) == "made by another version"


def test_a_damaged_folder_is_made_anew_and_leaves_nothing_behind(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")
    leftover = folder.with_name(f".{folder.name}.12345")
    leftover.mkdir()

    def convert(target: Path) -> None:
        (target / "config.json").write_text("{}")
        (target / "model.safetensors").write_bytes(b"weights")

    assert prepare(folder, convert) is True
    assert find_problem(folder, verify=True) is None
    assert not leftover.exists()
    assert [entry.name for entry in folder.parent.iterdir() if entry.is_dir()] == [folder.name]


def test_a_conversion_that_fails_leaves_no_half_made_folder(tmp_path: Path) -> None:
    def convert(target: Path) -> None:
        (target / "model.safetensors").write_bytes(b"half")
        raise prepare_models.PreparationError("out of luck")

    with pytest.raises(prepare_models.PreparationError):
        prepare(tmp_path / "models" / "small", convert)
    assert [entry for entry in (tmp_path / "models").iterdir() if entry.is_dir()] == []


def test_too_little_room_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_models, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(prepare_models.PreparationError, match="MiB free"):
        prepare(tmp_path / "models" / "small", never)


def test_a_prepared_model_is_confirmed_without_the_heavy_libraries() -> None:
    code = "import sys, serve_apps.assistant.prepare_models; sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_each_target_needs_its_own_and_nobody_makes_others() -> None:
    assert prepare_models.needed(load_config(CONFIGS / "laptop.yaml")) == [prepare_models.MODEL]
    assert prepare_models.needed(load_config(CONFIGS / "laptop-two.yaml")) == [
        prepare_models.MODEL,
        prepare_models.INT8,
    ]
    assert prepare_models.needed(load_config(CONFIGS / "gpu-cluster.yaml")) == []
    (model,) = load_config(CONFIGS / "laptop.yaml").models
    strange = model.model_copy(update={"source": CacheSource(kind="cache", folder="strange")})
    with pytest.raises(prepare_models.PreparationError, match="strange"):
        prepare_models.needed(TargetConfig(models=(strange,)))


def test_eight_bits_are_close_to_the_weights(tmp_path: Path) -> None:
    """In a process of its own: the libraries are heavy."""
    code = f"""
import json, torch
from pathlib import Path
from safetensors.torch import load_file, save_file
from serve_apps.assistant.int8 import quantize
source, target = Path({str(tmp_path)!r}) / "source", Path({str(tmp_path)!r}) / "target"
source.mkdir(), target.mkdir()
weight = torch.randn(8, 16, generator=torch.Generator().manual_seed(1))
weight[3] = 0.0
save_file({{"a.q_proj.weight": weight, "norm.weight": weight[0].clone()}}, source / "model.safetensors")
(source / "config.json").write_text(json.dumps({{"model_type": "llama"}}))
quantize(source, target)
found = load_file(target / "model.safetensors")
back = found["a.q_proj.weight"].float() * found["a.q_proj.weight_scale"]
assert found["a.q_proj.weight"].dtype is torch.int8 and found["a.q_proj.weight_scale"].shape == (8, 1)
assert (back - weight).abs().max() <= weight.abs().max() / 127 / 2 + 1e-6
assert torch.equal(found["norm.weight"], weight[0])
config = json.loads((target / "config.json").read_text())
assert config["quantization_config"]["quant_method"] == "compressed-tensors" and config["model_type"] == "llama"
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
