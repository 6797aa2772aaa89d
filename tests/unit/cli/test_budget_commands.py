"""What the commands about money refuse before they ask anybody."""

import pytest
from typer.testing import CliRunner

from deskmesh_cli.main import build


@pytest.mark.parametrize(
    "arguments",
    [
        ["budgets", "burn"],
        ["budgets", "create"],
        ["budgets", "create", "--limit", "-5"],
        ["budgets", "create", "--limit", "0.0000001"],
        ["budgets", "create", "--limit", "5", "--scope", "planet"],
        ["budgets", "create", "--limit", "5", "--period", "year"],
        ["budgets", "create", "--limit", "5", "--scope", "team", "--subject", "Support"],
        ["budgets", "create", "--limit", "5", "--scope", "user", "--subject", "usr_1", "--member", "usr_1"],
        ["budgets", "set", "--limit", "5"],
        ["budgets", "delete"],
        ["usage", "--by", "mood"],
        ["usage", "--by", "model", "--by", "model"],
        ["usage", "--by", "day", "--by", "model", "--by", "user", "--by", "step"],
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_refused(arguments: list[str]) -> None:
    result = CliRunner().invoke(build(), arguments)
    assert result.exit_code == 1
    assert "✗" in result.output


def test_the_commands_say_what_they_do() -> None:
    for name in ("budgets", "usage"):
        result = CliRunner().invoke(build(), [name, "--help"])
        assert result.exit_code == 0
        assert "--json" in result.output
