"""Adapters that would end the engine never reach it."""

import json
from pathlib import Path

import pytest

from serve_apps.assistant.engines.adapters import CONFIG, WEIGHTS, find_problem

GOOD = {"peft_type": "LORA", "r": 8, "bias": "none"}


def adapter(folder: Path, config: object, *, weights: bool = True) -> Path:
    (folder / CONFIG).write_text(config if isinstance(config, str) else json.dumps(config))
    if weights:
        (folder / WEIGHTS).write_bytes(b"")
    return folder


def test_one_that_fits_has_no_problem(tmp_path: Path) -> None:
    assert find_problem(adapter(tmp_path, GOOD), largest_rank=8) is None
    named = GOOD | {"target_modules": ["q_proj", "model.layers.0.mlp.down_proj"]}
    assert find_problem(adapter(tmp_path, named), largest_rank=8) is None
    # A pattern is for the engine to match.
    assert find_problem(adapter(tmp_path, GOOD | {"target_modules": "all-linear"}), largest_rank=8) is None


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (GOOD | {"r": 16}, "rank is 16"),
        (GOOD | {"r": 0}, "rank is 0"),
        (GOOD | {"peft_type": "IA3"}, "type IA3"),
        (GOOD | {"use_dora": True}, "DoRA"),
        (GOOD | {"bias": "all"}, "biases"),
        (GOOD | {"target_modules": ["q_proj", "lm_head"]}, "changes lm_head"),
        (GOOD | {"target_modules": ["model.layers.0.mlp.experts"]}, "changes experts"),
        (GOOD | {"target_modules": 5}, "damaged"),
        ({"r": 8}, "damaged"),
        (GOOD | {"r": "many"}, "damaged"),
        ([], "damaged"),
        ("{", "damaged"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, config: object, problem: str) -> None:
    assert problem in (find_problem(adapter(tmp_path, config), largest_rank=8) or "")


def test_missing_files_are_said(tmp_path: Path) -> None:
    assert "cannot be read" in (find_problem(tmp_path / "absent", largest_rank=8) or "")
    assert WEIGHTS in (find_problem(adapter(tmp_path, GOOD, weights=False), largest_rank=8) or "")
