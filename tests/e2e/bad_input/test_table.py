"""Everything from outside is hostile: each bad input gets its typed refusal at the edge."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from deskmesh.auth.v1 import auth_service_pb2, organization_service_pb2, user_pb2
from deskmesh.knowledge.v1 import article_service_pb2, search_service_pb2
from deskmesh.orchestrator.v1 import orchestrator_service_pb2
from deskmesh.sessions.v1 import conversation_service_pb2, message_pb2
from deskmesh.tickets.v1 import ticket_service_pb2
from deskmesh_client import Client, DeskmeshError
from tests.e2e.bad_input.calls import article, message, request_id
from tests.support.stack import Stack

Call = Callable[[Client], Awaitable[Any]]
NOT_FOUND = grpc.StatusCode.NOT_FOUND


@dataclass(frozen=True)
class Bad:
    """One bad call: who makes it, how, and how it is refused."""

    name: str
    call: Call
    reason: str
    code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT
    role: str = "customer"
    fields: set[str] = field(default_factory=set)


TABLE = [
    Bad("empty message", lambda c: c.orchestrator.SendMessage(message(text="")), "INVALID_FIELD", fields={"text"}),
    Bad(
        "blank message", lambda c: c.orchestrator.SendMessage(message(text=" \n\t ")), "INVALID_FIELD", fields={"text"}
    ),
    Bad(
        "message over 32 KiB",
        lambda c: c.orchestrator.SendMessage(message(text="x" * 32_769)),
        "INVALID_FIELD",
        fields={"text"},
    ),
    Bad(
        "multi-byte message over 32 KiB",
        lambda c: c.orchestrator.SendMessage(message(text="é" * 16_385)),
        "INVALID_FIELD",
        fields={"text"},
    ),
    Bad(
        "no request_id",
        lambda c: c.orchestrator.SendMessage(message(request_id="")),
        "INVALID_FIELD",
        fields={"request_id"},
    ),
    Bad(
        "several fields at once",
        lambda c: c.orchestrator.SendMessage(message(request_id="", conversation_id="", text="")),
        "INVALID_FIELD",
        fields={"request_id", "conversation_id", "text"},
    ),
    Bad("unknown conversation", lambda c: c.orchestrator.SendMessage(message()), "CONVERSATION_NOT_FOUND", NOT_FOUND),
    Bad(
        "unknown turn",
        lambda c: c.orchestrator.GetTurn(orchestrator_service_pb2.GetTurnRequest(turn_id="trn_none")),
        "TURN_NOT_FOUND",
        NOT_FOUND,
    ),
    Bad(
        "unknown ticket",
        lambda c: c.tickets.GetTicket(ticket_service_pb2.GetTicketRequest(ticket_id="tkt_none")),
        "TICKET_NOT_FOUND",
        NOT_FOUND,
    ),
    Bad(
        "unknown article",
        lambda c: c.articles.GetArticle(article_service_pb2.GetArticleRequest(slug="none")),
        "ARTICLE_NOT_FOUND",
        NOT_FOUND,
    ),
    Bad(
        "neither identifier nor slug",
        lambda c: c.articles.GetArticle(article_service_pb2.GetArticleRequest()),
        "INVALID_FIELD",
        fields={"key"},
    ),
    Bad(
        "identifier over 64 characters",
        lambda c: c.tickets.GetTicket(ticket_service_pb2.GetTicketRequest(ticket_id="x" * 65)),
        "INVALID_FIELD",
        fields={"ticket_id"},
    ),
    Bad(
        "page of 1,000",
        lambda c: c.tickets.ListTickets(ticket_service_pb2.ListTicketsRequest(page_size=1000)),
        "INVALID_FIELD",
        fields={"page_size"},
    ),
    Bad(
        "made-up page token",
        lambda c: c.tickets.ListTickets(ticket_service_pb2.ListTicketsRequest(page_token="bm90IGEgdG9rZW4")),
        "INVALID_PAGE_TOKEN",
    ),
    Bad(
        "empty query",
        lambda c: c.search.Search(search_service_pb2.SearchRequest(query="")),
        "INVALID_FIELD",
        fields={"query"},
    ),
    Bad(
        "article over 1 MiB",
        lambda c: c.articles.CreateArticle(article(markdown="x" * ((1 << 20) + 1))),
        "INVALID_FIELD",
        role="owner",
        fields={"markdown"},
    ),
    Bad(
        "slug with spaces",
        lambda c: c.articles.CreateArticle(article(slug="Not a slug")),
        "INVALID_FIELD",
        role="owner",
        fields={"slug"},
    ),
    Bad(
        "update of no field",
        lambda c: c.tickets.UpdateTicket(
            ticket_service_pb2.UpdateTicketRequest(ticket_id="tkt_none", etag="1", update_mask=FieldMask())
        ),
        "INVALID_FIELD",
        role="agent",
        fields={"update_mask"},
    ),
    Bad(
        "update of an unknown field",
        lambda c: c.tickets.UpdateTicket(
            ticket_service_pb2.UpdateTicketRequest(
                ticket_id="tkt_none", etag="1", update_mask=FieldMask(paths=["number"])
            )
        ),
        "INVALID_FIELD",
        role="agent",
        fields={"update_mask"},
    ),
    Bad(
        "customer writes an article",
        lambda c: c.articles.CreateArticle(article()),
        "PERMISSION_MISSING",
        grpc.StatusCode.PERMISSION_DENIED,
    ),
    Bad(
        "customer lists members",
        lambda c: c.members.AddMember(
            organization_service_pb2.AddMemberRequest(
                request_id=request_id(),
                email="a@example.org",
                display_name="A",
                password="long enough to be one",
                roles=[user_pb2.ROLE_OWNER],
            )
        ),
        "PERMISSION_MISSING",
        grpc.StatusCode.PERMISSION_DENIED,
    ),
    Bad(
        "wrong e-mail address",
        lambda c: c.auth.SignUp(
            auth_service_pb2.SignUpRequest(
                email="not an address",
                password="long enough to be one",
                display_name="A",
                join_organization_slug="fernwick",
            )
        ),
        "INVALID_FIELD",
        fields={"email"},
    ),
    Bad(
        "wrong password",
        lambda c: c.auth.SignIn(auth_service_pb2.SignInRequest(email="nobody@example.org", password="wrong")),
        "CREDENTIALS_INVALID",
        grpc.StatusCode.UNAUTHENTICATED,
    ),
    Bad(
        "outside caller of a workload's RPC",
        lambda c: c.conversations.GetContext(
            conversation_service_pb2.GetContextRequest(conversation_id="cnv_none", max_tokens=10)
        ),
        "WORKLOAD_NOT_ALLOWED",
        grpc.StatusCode.PERMISSION_DENIED,
    ),
    Bad(
        "customer speaks as the assistant",
        lambda c: c.conversations.AppendMessage(
            conversation_service_pb2.AppendMessageRequest(
                request_id=request_id(), conversation_id="cnv_none", text="Hi", author=message_pb2.AUTHOR_ASSISTANT
            )
        ),
        "INVALID_FIELD",
        fields={"author"},
    ),
]


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad.name)
async def test_it_is_refused_with_its_reason(stack: Stack, bad: Bad) -> None:
    async with stack.client(bad.role) as client:
        with pytest.raises(DeskmeshError) as caught:
            await bad.call(client)
    error = caught.value
    assert (error.reason, error.code) == (bad.reason, bad.code)
    assert {violation.field for violation in error.violations} >= bad.fields
    assert len(error.trace_id) == 32
    for leak in ("Traceback", "sqlalchemy", "asyncpg", "/services/", "SELECT"):
        assert leak not in error.message
