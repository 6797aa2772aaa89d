"""The model's folder: when it is good, and how damage is found and mended."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from serve_apps.assistant import prepare_models
from serve_apps.assistant.prepare_models import MANIFEST, find_problem, prepare, write_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "small"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    write_manifest(folder)
    return folder


def test_a_whole_folder_is_left_alone(folder: Path) -> None:
    assert find_problem(folder, verify=True) is None
    assert prepare(folder, verify=True) is False


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


def test_a_damaged_folder_is_made_anew_and_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "model.safetensors").write_bytes(b"")
    leftover = folder.with_name(f".{folder.name}.12345")
    leftover.mkdir()

    def convert(target: Path) -> None:
        (target / "config.json").write_text("{}")
        (target / "model.safetensors").write_bytes(b"weights")

    monkeypatch.setattr(prepare_models, "_convert", convert)
    assert prepare(folder) is True
    assert find_problem(folder, verify=True) is None
    assert not leftover.exists()
    assert [entry.name for entry in folder.parent.iterdir() if entry.is_dir()] == [folder.name]


def test_a_conversion_that_fails_leaves_no_half_made_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(target: Path) -> None:
        (target / "model.safetensors").write_bytes(b"half")
        raise prepare_models.PreparationError("out of luck")

    monkeypatch.setattr(prepare_models, "_convert", convert)
    with pytest.raises(prepare_models.PreparationError):
        prepare(tmp_path / "models" / "small")
    assert [entry for entry in (tmp_path / "models").iterdir() if entry.is_dir()] == []


def test_too_little_room_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_models, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(prepare_models.PreparationError, match="MiB free"):
        prepare(tmp_path / "models" / "small")


def test_a_prepared_model_is_confirmed_without_the_heavy_libraries() -> None:
    code = "import sys, serve_apps.assistant.prepare_models; sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
