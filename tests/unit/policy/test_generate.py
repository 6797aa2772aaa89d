"""What is written from the protos: the same each time, and what does not belong is noticed and removed."""

from pathlib import Path

import pytest

from mesh.istio.plan import EDGE, WEB, Plan
from mesh.policy import document
from mesh.policy.generate import OWNED, differences, generated, write
from mesh.policy.table import load_table

TABLE = load_table()
PLAN = Plan.of(TABLE)
WANTED = generated()


def test_what_was_written_is_fresh_and_anything_else_is_named(tmp_path: Path) -> None:
    assert differences(WANTED, tmp_path) == [f"{path} is missing" for path in sorted(WANTED)]
    write(WANTED, tmp_path)
    assert differences(generated(), tmp_path) == []
    stale, surplus = tmp_path / OWNED[0] / "security.yaml", tmp_path / OWNED[1] / "gone" / "security.yaml"
    stale.write_text("mode: PERMISSIVE")
    surplus.parent.mkdir()
    surplus.write_text("left")
    assert differences(WANTED, tmp_path) == [
        f"{surplus.relative_to(tmp_path)} is left over",
        f"{stale.relative_to(tmp_path)} is not what the protos say",
    ]
    write(WANTED, tmp_path)
    assert differences(WANTED, tmp_path) == []
    assert not surplus.parent.exists()


def test_every_file_says_what_it_was_written_from() -> None:
    for path, text in WANTED.items():
        assert "python -m mesh.policy.generate" in text.splitlines()[0], path


@pytest.mark.parametrize("method", sorted(TABLE))
def test_the_page_shows_every_rpc(method: str) -> None:
    rule = TABLE[method]
    line = next(
        line
        for line in WANTED[document.PATH].splitlines()
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
