"""After whatever several people did at once, history replays to the ticket as it stands."""

import asyncio
import json
import random

import grpc
import grpc.aio
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from deskmesh.tickets.v1 import ticket_pb2
from services.common.errors import from_rpc_error
from tests.integration.tickets.desk import Client, Desk, due_text

PUBLIC, INTERNAL = ticket_pb2.COMMENT_VISIBILITY_PUBLIC, ticket_pb2.COMMENT_VISIBILITY_INTERNAL
FIELDS = ("subject", "description", "status", "priority", "assignee_id", "tags", "due_at")
# What people who work at the same time may be told.
EXPECTED_REFUSALS = {"STALE_ETAG", "TICKET_TRANSITION_NOT_ALLOWED", "INVALID_FIELD"}


def texts(ticket: ticket_pb2.Ticket) -> dict[str, str]:
    """The fields of a ticket as its history writes them."""
    return {
        "subject": ticket.subject,
        "description": ticket.description,
        "status": ticket_pb2.TicketStatus.Name(ticket.status),
        "priority": ticket_pb2.TicketPriority.Name(ticket.priority),
        "assignee_id": ticket.assignee_id,
        "tags": json.dumps(list(ticket.tags), ensure_ascii=False),
        "due_at": due_text(ticket),
    }


def wanted(dice: random.Random, agents: list[Client]) -> dict[str, object]:
    """New values of one to three fields; CLOSED is left out, so that things go on happening."""
    values: dict[str, object] = {
        "subject": f"Tent {dice.randint(1, 3)}",
        "description": dice.choice(["", "At the seams", "Überall, “nass”"]),
        "status": dice.randint(ticket_pb2.TICKET_STATUS_NEW, ticket_pb2.TICKET_STATUS_SOLVED),
        "priority": dice.randint(ticket_pb2.TICKET_PRIORITY_LOW, ticket_pb2.TICKET_PRIORITY_URGENT),
        "assignee_id": dice.choice(["", *(agent.user_id for agent in agents)]),
        "tags": dice.choice([[], ["tent"], ["tent", 'rain, "wind"']]),
        "due_at": Timestamp(seconds=dice.randint(1_900_000_000, 1_900_000_003), nanos=dice.choice([0, 5_000])),
    }
    return {name: values[name] for name in dice.sample(FIELDS, dice.randint(1, 3))}


@pytest.mark.parametrize("seed", range(4))
async def test_history_replays_to_the_ticket(desk: Desk, seed: int) -> None:
    dice = random.Random(seed)
    customer, agents = desk.person("customer"), [desk.person("agent") for _ in range(2)]
    opened = await customer.create(tags=["tent"])
    acknowledged: list[str] = []

    async def work(person: Client) -> None:
        for _ in range(12):
            try:
                if dice.random() < 0.3:
                    visibility = PUBLIC if person is customer else dice.choice([PUBLIC, INTERNAL])
                    written = await person.comment(opened.id, "Hello", visibility=visibility)
                    acknowledged.append(written.comment.id)
                else:
                    await person.update(await person.get(opened.id), **wanted(dice, agents))
            except grpc.aio.AioRpcError as error:
                assert from_rpc_error(error).reason in EXPECTED_REFUSALS

    await asyncio.gather(*(work(person) for person in (customer, *agents)))

    ticket = await agents[0].get(opened.id)
    events = (await agents[0].events(opened.id, page_size=200)).events
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    said = texts(opened)
    for event in events:
        if event.WhichOneof("event") == "field_changed":
            change = event.field_changed
            assert said[change.field] == change.before != change.after
            said[change.field] = change.after
    assert said == texts(ticket)

    told = [event.comment_added.comment_id for event in events if event.WhichOneof("event") == "comment_added"]
    kept = [comment.id for comment in (await agents[0].comments(opened.id, page_size=200)).comments]
    assert told == kept
    assert sorted(kept) == sorted(acknowledged)
