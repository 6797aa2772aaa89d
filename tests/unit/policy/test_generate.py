"""What is written from the protos: the same each time, and what does not belong is noticed and removed."""

from pathlib import Path

import pytest

from mesh.istio.plan import EDGE, WEB, Plan
from mesh.policy import document
from mesh.policy.generate import generated
from mesh.policy.table import load_table

TABLE = load_table()
PLAN = Plan.of(TABLE)
WANTED = generated()


def test_what_was_written_is_fresh_and_anything_else_is_named(tmp_path: Path) -> None:
    assert WANTED.differences(tmp_path) == [f"{path} is missing" for path in sorted(WANTED.files)]
    WANTED.write(tmp_path)
    assert generated().differences(tmp_path) == []
    first, second, *_ = WANTED.owned
    stale, surplus = first / "security.yaml", second / "gone" / "security.yaml"
    (tmp_path / stale).write_text("mode: PERMISSIVE")
    (tmp_path / surplus).parent.mkdir()
    (tmp_path / surplus).write_text("left")
    assert WANTED.differences(tmp_path) == [f"{surplus} is left over", f"{stale} is not what its proto says"]
    WANTED.write(tmp_path)
    assert WANTED.differences(tmp_path) == []
    assert not (tmp_path / surplus).parent.exists()


def test_every_file_says_what_it_was_written_from() -> None:
    for path, text in WANTED.files.items():
        assert "python -m mesh.policy.generate" in text.splitlines()[0], path


@pytest.mark.parametrize("method", sorted(TABLE))
def test_the_page_shows_every_rpc(method: str) -> None:
    rule = TABLE[method]
    line = next(
        line
        for line in WANTED.files[document.PATH].splitlines()
        if f"`{rule.service.rpartition('.')[2]}.{rule.name}`" in line
        and f"| {', '.join(sorted(rule.callers))} |" in line
    )
    assert rule.permission in line


def test_the_plan_knows_both_sides_of_every_call() -> None:
    for callee in PLAN.callees:
        for caller in PLAN.callers_of(callee):
            assert callee in PLAN.callees_of(caller)
    assert WEB in PLAN.callees_of(EDGE)
    assert {rule.callee for rule in PLAN.rules} == set(PLAN.callees)
