"""What the commands about organizations refuse before they ask anybody, and how records are told."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from typer.testing import CliRunner

from deskmesh.auth.v1 import api_key_pb2
from deskmesh_cli.main import build
from deskmesh_cli.records import data, table, when

COMMANDS = (
    ("orgs",),
    ("audit",),
    *(("members", name) for name in ("list", "set-roles", "remove")),
    *(("invitations", name) for name in ("list", "create", "resend", "revoke")),
    *(("roles", name) for name in ("permissions", "list", "create", "update", "delete")),
    *(("api-keys", name) for name in ("list", "create", "rotate", "revoke")),
    *(("api-keys", name) for name in ("accounts", "create-account", "delete-account")),
    *(("programs", name) for name in ("list", "revoke")),
    *(("sso", name) for name in ("show", "set", "remove", "links", "unlink", "unlink-member")),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_each_command_says_what_it_does_and_prints_data_when_asked(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(build(), [*command, "--help"])
    assert result.exit_code == 0
    assert "--json" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["members", "set-roles", "usr_1"],
        ["members", "set-roles", "usr_1", "--role", "boss"],
        ["invitations", "create", "a@example.com", "--role", "boss"],
        ["audit", "--type", "boredom"],
        ["sso", "set", "Acme", "https://id.acme.example", "desk", "--domain", "acme.example", "--role", "owner"],
        ["sso", "set", "Acme", "https://id.acme.example", "desk"],
        *(
            ["sso", "set", "Acme", "https://id.acme.example", "desk", "--domain", "acme.example", "--group", rule]
            for rule in ("desk", "=agent", "desk=boss", "desk=owner", "desk=")
        ),
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_refused(arguments: list[str]) -> None:
    result = CliRunner().invoke(build(), arguments)
    assert result.exit_code == 1
    assert "✗" in result.output


def test_a_record_as_data_names_empty_fields_too() -> None:
    found = data(api_key_pb2.ApiKey(id="key_1", user_id="usr_1"))
    assert (found["id"], found["user_id"], found["scopes"], found["name"]) == ("key_1", "usr_1", [], "")


def test_no_time_is_shown_as_nothing() -> None:
    assert when(Timestamp()) == ""
    assert when(Timestamp(seconds=1_800_000_000)).startswith("2027-01-1")


def test_lines_in_a_pipe_keep_long_words_whole(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["usr_" + "0" * 26, "key_" + "1" * 26, "members.read, members.write, tickets.read, tickets.update"]
    table(("who", "what", "scopes"), [words], empty="")
    assert "  ".join(words) in capsys.readouterr().out
