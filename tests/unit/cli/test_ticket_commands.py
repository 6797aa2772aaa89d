"""What the commands about tickets refuse before they ask anybody, and how due times are read and told."""

from datetime import UTC, datetime, timedelta

import pytest
import typer
from google.protobuf.timestamp_pb2 import Timestamp
from typer.testing import CliRunner

from deskmesh.tickets.v1 import ticket_pb2
from deskmesh_cli.commands.tickets import due_words, moment
from deskmesh_cli.main import build

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PAST, FUTURE = Timestamp(seconds=int(NOW.timestamp()) - 60), Timestamp(seconds=int(NOW.timestamp()) + 60)


@pytest.mark.parametrize("name", ["list", "show", "update"])
def test_each_command_says_what_it_does_and_prints_data_when_asked(name: str) -> None:
    result = CliRunner().invoke(build("tickets"), ["tickets", name, "--help"])
    assert result.exit_code == 0
    assert "--json" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--order", "mood"],
        ["list", "--status", "lost"],
        ["list", "--priority", "none"],
        ["update", "tkt_1"],
        ["update", "tkt_1", "--due", "soon"],
        ["update", "tkt_1", "--due", "-4h"],
        ["update", "tkt_1", "--status", "lost"],
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_refused(arguments: list[str]) -> None:
    result = CliRunner().invoke(build("tickets"), ["tickets", *arguments])
    assert result.exit_code == 1
    assert "✗" in result.output


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+30m", NOW + timedelta(minutes=30)),
        ("+4h", NOW + timedelta(hours=4)),
        ("+2d", NOW + timedelta(days=2)),
        ("2026-03-05", datetime(2026, 3, 5, 23, 59, tzinfo=UTC)),
        ("2026-03-05T14:00", datetime(2026, 3, 5, 14, tzinfo=UTC)),
        ("2026-03-05T14:00+02:00", datetime(2026, 3, 5, 12, tzinfo=UTC)),
    ],
)
def test_times_are_read_as_people_say_them(text: str, expected: datetime) -> None:
    assert moment(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "+4", "+4w", "tomorrow", "2026-13-01"])
def test_what_is_no_time_ends_the_command(text: str) -> None:
    with pytest.raises(typer.Exit):
        moment(text, NOW)


@pytest.mark.parametrize(
    ("status", "due_at", "late"),
    [
        (ticket_pb2.TICKET_STATUS_OPEN, PAST, True),
        (ticket_pb2.TICKET_STATUS_OPEN, FUTURE, False),
        (ticket_pb2.TICKET_STATUS_SOLVED, PAST, False),
        (ticket_pb2.TICKET_STATUS_CLOSED, PAST, False),
    ],
)
def test_only_what_is_not_solved_is_overdue(status: "ticket_pb2.TicketStatus", due_at: Timestamp, late: bool) -> None:
    words = due_words(ticket_pb2.Ticket(status=status, due_at=due_at), NOW)
    assert words.startswith("2026-03-01")
    assert words.endswith("overdue") == late


def test_without_a_due_time_nothing_is_said() -> None:
    assert due_words(ticket_pb2.Ticket(status=ticket_pb2.TICKET_STATUS_OPEN), NOW) == ""
