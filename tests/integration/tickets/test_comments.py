"""Comments and history, and what customers see of them."""

import asyncio

import grpc
import pytest

from deskmesh.tickets.v1 import ticket_pb2
from services.common.ids import new_id
from tests.integration.tickets.desk import Desk
from tests.support.server import refused

PUBLIC, INTERNAL = ticket_pb2.COMMENT_VISIBILITY_PUBLIC, ticket_pb2.COMMENT_VISIBILITY_INTERNAL
NEW, OPEN, SOLVED = ticket_pb2.TICKET_STATUS_NEW, ticket_pb2.TICKET_STATUS_OPEN, ticket_pb2.TICKET_STATUS_SOLVED


async def test_customers_see_public_comments_only(desk: Desk) -> None:
    agent, customer = desk.person("agent"), desk.person("customer")
    ticket = await customer.create()
    asked = await customer.comment(ticket.id, "When will it come?")
    noted = await agent.comment(ticket.id, "The carrier lost it", visibility=INTERNAL)
    answered = await agent.comment(ticket.id, "We send another")
    for_agents, for_customer = await agent.comments(ticket.id), await customer.comments(ticket.id)
    assert list(for_agents.comments) == [asked.comment, noted.comment, answered.comment]
    assert list(for_customer.comments) == [asked.comment, answered.comment]
    assert [comment.author_id for comment in for_customer.comments] == [customer.user_id, agent.user_id]

    history, seen = await agent.events(ticket.id), await customer.events(ticket.id)
    kinds = [event.WhichOneof("event") for event in history.events]
    assert kinds == ["opened", "comment_added", "comment_added", "field_changed", "comment_added"]
    assert [event for event in history.events if event.comment_added.comment_id != noted.comment.id] == list(
        seen.events
    )


async def test_customers_write_public_comments_only(desk: Desk) -> None:
    customer = desk.person("customer")
    ticket = await customer.create()
    async with refused() as refusal:
        await customer.comment(ticket.id, visibility=INTERNAL)
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert [field for field, _ in refusal.error.violations] == ["visibility"]
    assert await customer.get(ticket.id) == ticket


@pytest.mark.parametrize("text", ["", " \n", "x" * 32769])
async def test_a_comment_says_something_and_not_too_much(desk: Desk, text: str) -> None:
    customer = desk.person("customer")
    ticket = await customer.create()
    async with refused() as refusal:
        await customer.comment(ticket.id, text)
    assert {field for field, _ in refusal.error.violations} == {"text"}


@pytest.mark.parametrize("visibility", [PUBLIC, INTERNAL])
async def test_an_agents_comment_opens_a_new_ticket(desk: Desk, visibility: "ticket_pb2.CommentVisibility") -> None:
    customer = desk.person("customer")
    ticket = await customer.create()
    assert (await customer.comment(ticket.id)).ticket.status == NEW
    assert (await desk.person("agent").comment(ticket.id, visibility=visibility)).ticket.status == OPEN


async def test_the_customers_comment_opens_a_solved_ticket_again(desk: Desk) -> None:
    agent, customer = desk.person("agent"), desk.person("customer")
    solved = await agent.update(await customer.create(), status=SOLVED)
    assert (await agent.comment(solved.id)).ticket.status == SOLVED
    answer = await customer.comment(solved.id, "It still leaks")
    assert (answer.ticket.status, answer.ticket.HasField("solved_at")) == (OPEN, False)
    assert answer.ticket == await agent.get(solved.id)


async def test_racing_repeats_of_a_comment_write_it_once(desk: Desk) -> None:
    customer, request_id = desk.person("customer"), new_id("req")
    ticket = await customer.create()
    answers = await asyncio.gather(*(customer.comment(ticket.id, request_id=request_id) for _ in range(6)))
    assert len({answer.comment.id for answer in answers}) == 1
    assert len((await customer.comments(ticket.id)).comments) == 1
    async with refused() as refusal:
        await customer.comment(ticket.id, "Another", request_id=request_id)
    assert refusal.error.reason == "REQUEST_ID_REUSED"


async def test_racing_comments_are_all_kept_in_one_order(desk: Desk) -> None:
    agent = desk.person("agent")
    ticket = await agent.create()
    written = await asyncio.gather(*(agent.comment(ticket.id, f"Comment {n}") for n in range(12)))
    listed = (await agent.comments(ticket.id)).comments
    assert {comment.id for comment in listed} == {answer.comment.id for answer in written}
    sequences = [event.sequence for event in (await agent.events(ticket.id)).events]
    assert sequences == list(range(1, len(sequences) + 1))


async def test_pages_of_comments_and_history(desk: Desk) -> None:
    agent, customer = desk.person("agent"), desk.person("customer")
    ticket = await customer.create()
    for n in range(5):
        await agent.comment(ticket.id, f"Comment {n}", visibility=INTERNAL if n % 2 else PUBLIC)
    texts, token = [], ""
    for _ in range(3):
        page = await customer.comments(ticket.id, page_size=1, page_token=token)
        texts += [comment.text for comment in page.comments]
        token = page.next_page_token
    assert (texts, token) == (["Comment 0", "Comment 2", "Comment 4"], "")

    first = await agent.events(ticket.id, page_size=4)
    rest = await agent.events(ticket.id, page_size=4, page_token=first.next_page_token)
    assert [event.sequence for event in (*first.events, *rest.events)] == list(range(1, 8))
    assert not rest.next_page_token

    other = await customer.create()
    comments = await agent.comments(ticket.id, page_size=1)
    for call in (
        agent.events(other.id, page_token=first.next_page_token),
        agent.comments(ticket.id, page_token=first.next_page_token),
        agent.comments(other.id, page_token=comments.next_page_token),
        customer.comments(ticket.id, page_token=comments.next_page_token),
        customer.comments(ticket.id, page_token="bm90IGEgdG9rZW4"),
    ):
        async with refused() as refusal:
            await call
        assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")


async def test_pages_of_long_texts_end_early(desk: Desk) -> None:
    agent = desk.person("agent")
    ticket = await agent.create()
    await asyncio.gather(*(agent.comment(ticket.id, "x" * 32768) for _ in range(40)))
    first = await agent.comments(ticket.id, page_size=200)
    assert (len(first.comments), bool(first.next_page_token)) == (32, True)
    rest = await agent.comments(ticket.id, page_size=200, page_token=first.next_page_token)
    assert (len(rest.comments), rest.next_page_token) == (8, "")
