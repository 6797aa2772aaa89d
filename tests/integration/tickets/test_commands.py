"""What `deskmesh tickets` asks the service, and what it prints of its answers."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from deskmesh.tickets.v1 import ticket_pb2
from deskmesh.tickets.v1 import ticket_service_pb2 as pb
from deskmesh_cli.commands import tickets
from deskmesh_client import Client
from tests.integration.tickets.desk import Client as Person
from tests.integration.tickets.desk import Desk


class Signed:
    """The stub, whose calls are a person's."""

    def __init__(self, person: Person) -> None:
        self._person = person

    def __getattr__(self, name: str) -> Any:
        return lambda request: getattr(self._person.stub, name)(request, metadata=self._person.headers)


@dataclass
class SignedClient:
    """The part of a client that the commands use."""

    tickets: Signed


async def test_tickets_are_listed_and_changed(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = desk.person("agent")
    client = cast(Client, SignedClient(Signed(agent)))
    made = [await agent.create(subject=f"[b]Tent[/] {number}") for number in range(3)]
    monkeypatch.setattr(tickets, "PAGE_SIZE", 2)
    request = pb.ListTicketsRequest(order=pb.TICKET_ORDER_DUE_ASC)
    assert [one.number for one in (await tickets._found(client, request, 9)).tickets] == [1, 2, 3]
    request = pb.ListTicketsRequest(order=pb.TICKET_ORDER_DUE_ASC)
    assert [one.number for one in (await tickets._found(client, request, 1)).tickets] == [1]

    wanted = {"due_at": tickets._timestamp(datetime(2020, 1, 2, 12, tzinfo=UTC)), "assignee_id": agent.user_id}
    changed = await tickets._changed(client, made[2].id, wanted)
    assert (changed.ticket.assignee_id, changed.ticket.status) == (agent.user_id, ticket_pb2.TICKET_STATUS_OPEN)
    tickets._show([changed.ticket, made[0]])
    text = capsys.readouterr().out
    assert all(part in text for part in ("#3", made[2].id, "2020-01-02", "overdue", "[b]Tent[/] 2", "nobody")), text
    tickets._show_whole(await tickets._changed(client, made[2].id, {"due_at": None}))
    text = capsys.readouterr().out
    assert all(part in text for part in ("no time", "open", "normal")), text
