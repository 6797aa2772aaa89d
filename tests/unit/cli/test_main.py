"""How the commands of `deskmesh` are found."""

import subprocess
import sys

import pytest
import typer

from deskmesh_cli.main import COMMANDS, GROUPS, build

NAMES = [*COMMANDS, *GROUPS]


def names_of(app: typer.Typer) -> list[str | None]:
    commands = [command.name for command in app.registered_commands]
    return commands + [group.name for group in app.registered_groups]


def test_all_commands_are_there_for_help_and_for_what_is_unknown() -> None:
    assert names_of(build()) == names_of(build("--help")) == names_of(build("no-such-command")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_command_is_found_alone(name: str) -> None:
    assert names_of(build(name)) == [name]


def test_who_only_talks_does_not_wait_for_what_runs_the_stack() -> None:
    program = "import sys; from deskmesh_cli.main import build; build('chat'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "grpc" in loaded
    assert {"sqlalchemy", "aiohttp", "laptop.supervisor"}.isdisjoint(loaded)
