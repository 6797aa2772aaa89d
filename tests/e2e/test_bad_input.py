"""Everything from outside is hostile: each bad input gets its typed refusal at the edge, and nothing is written."""

import base64
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.field_mask_pb2 import FieldMask

from deskmesh.auth.v1 import auth_service_pb2, organization_service_pb2, user_pb2
from deskmesh.inference.v1 import embedding_service_pb2, embedding_service_pb2_grpc
from deskmesh.knowledge.v1 import article_service_pb2, ingest_service_pb2, search_service_pb2
from deskmesh.orchestrator.v1 import orchestrator_service_pb2
from deskmesh.sessions.v1 import conversation_service_pb2, message_pb2
from deskmesh.tickets.v1 import ticket_pb2, ticket_service_pb2
from deskmesh_client import Client, DeskmeshError
from deskmesh_client.errors import from_rpc_error
from tests.support.stack import Stack

Call = Callable[[Client], Awaitable[Any]]


def request_id() -> str:
    return uuid.uuid4().hex


def message(**fields: Any) -> orchestrator_service_pb2.SendMessageRequest:
    values = {"request_id": request_id(), "conversation_id": "cnv_none", "text": "Hello"} | fields
    return orchestrator_service_pb2.SendMessageRequest(**values)


def article(**fields: Any) -> article_service_pb2.CreateArticleRequest:
    values = {"request_id": request_id(), "slug": "bad-input", "title": "Bad", "markdown": "Text."} | fields
    return article_service_pb2.CreateArticleRequest(**values)


@dataclass(frozen=True)
class Bad:
    """One bad call: who makes it, how, and how it is refused."""

    name: str
    call: Call
    reason: str
    code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT
    role: str = "customer"
    fields: set[str] = field(default_factory=set)


NOT_FOUND = grpc.StatusCode.NOT_FOUND
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


async def test_what_is_refused_writes_nothing(stack: Stack) -> None:
    async with stack.client("customer") as client:
        conversation = await client.start_conversation()
        for text in ("", "  ", "x" * 40_000):
            with pytest.raises(DeskmeshError):
                await client.orchestrator.SendMessage(message(conversation_id=conversation.id, text=text))
        listed = await client.conversations.ListMessages(
            conversation_service_pb2.ListMessagesRequest(conversation_id=conversation.id)
        )
    assert not listed.messages
    assert listed.last_offset == 0


async def test_another_tenants_records_are_not_found(stack: Stack) -> None:
    async with stack.client("customer") as mine, stack.client() as stranger:
        turn = await mine.ask("Please open a ticket about a missing parcel.")
        turn = await mine.ask("yes", turn.conversation_id)
        owner = auth_service_pb2.NewOrganization(slug=f"other-{uuid.uuid4().hex[:8]}", name="Another shop")
        signed_up = await stranger.auth.SignUp(
            auth_service_pb2.SignUpRequest(
                email=f"{uuid.uuid4().hex[:8]}@example.org",
                password="correct horse battery",
                display_name="Stranger",
                new_organization=owner,
            )
        )
        stranger._keep(signed_up.tokens)
        reads: list[tuple[str, Callable[[], Awaitable[Any]]]] = [
            (
                "CONVERSATION_NOT_FOUND",
                lambda: stranger.conversations.GetConversation(
                    conversation_service_pb2.GetConversationRequest(conversation_id=turn.conversation_id)
                ),
            ),
            (
                "CONVERSATION_NOT_FOUND",
                lambda: stranger.conversations.ListMessages(
                    conversation_service_pb2.ListMessagesRequest(conversation_id=turn.conversation_id)
                ),
            ),
            (
                "TICKET_NOT_FOUND",
                lambda: stranger.tickets.GetTicket(ticket_service_pb2.GetTicketRequest(ticket_id=turn.ticket_id)),
            ),
            (
                "TURN_NOT_FOUND",
                lambda: stranger.orchestrator.GetTurn(orchestrator_service_pb2.GetTurnRequest(turn_id=turn.id)),
            ),
            (
                "ARTICLE_NOT_FOUND",
                lambda: stranger.articles.GetArticle(article_service_pb2.GetArticleRequest(slug="returns-policy")),
            ),
        ]
        for reason, read in reads:
            with pytest.raises(DeskmeshError) as caught:
                await read()
            assert (caught.value.reason, caught.value.code) == (reason, NOT_FOUND)
        assert not (await stranger.tickets.ListTickets(ticket_service_pb2.ListTicketsRequest())).tickets
        assert not (await stranger.search.Search(search_service_pb2.SearchRequest(query="returns"))).hits


async def test_a_stale_etag_changes_nothing(stack: Stack) -> None:
    async with stack.client("agent") as agent:
        created = await agent.tickets.CreateTicket(
            ticket_service_pb2.CreateTicketRequest(request_id=request_id(), subject="Stale")
        )

        def update(priority: ticket_pb2.TicketPriority) -> ticket_service_pb2.UpdateTicketRequest:
            return ticket_service_pb2.UpdateTicketRequest(
                ticket_id=created.ticket.id,
                etag=created.ticket.etag,
                update_mask=FieldMask(paths=["priority"]),
                priority=priority,
            )

        await agent.tickets.UpdateTicket(update(ticket_pb2.TICKET_PRIORITY_HIGH))
        with pytest.raises(DeskmeshError) as caught:
            await agent.tickets.UpdateTicket(update(ticket_pb2.TICKET_PRIORITY_LOW))
        assert (caught.value.reason, caught.value.code) == ("STALE_ETAG", grpc.StatusCode.ABORTED)
        read = await agent.tickets.GetTicket(ticket_service_pb2.GetTicketRequest(ticket_id=created.ticket.id))
        assert read.ticket.priority == ticket_pb2.TICKET_PRIORITY_HIGH


async def test_a_request_id_has_one_effect(stack: Stack) -> None:
    async with stack.client("customer") as client:
        conversation = await client.start_conversation()
        first = message(conversation_id=conversation.id, text="Do gift cards expire?")
        sent = await client.orchestrator.SendMessage(first)
        assert (await client.orchestrator.SendMessage(first)).message.id == sent.message.id
        changed = message(conversation_id=conversation.id, text="Something else", request_id=first.request_id)
        with pytest.raises(DeskmeshError) as caught:
            await client.orchestrator.SendMessage(changed)
        assert (caught.value.reason, caught.value.code) == ("REQUEST_ID_REUSED", grpc.StatusCode.ALREADY_EXISTS)
        async for event in client.watch(conversation.id):
            if event.HasField("turn_finished") or event.HasField("turn_failed"):
                break
        listed = await client.conversations.ListMessages(
            conversation_service_pb2.ListMessagesRequest(conversation_id=conversation.id)
        )
    assert [m.author for m in listed.messages].count(message_pb2.AUTHOR_CUSTOMER) == 1


def unsigned(claims: dict[str, Any]) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


def forged(kind: str, real: str) -> str:
    """A token that must not be taken, made from one that holds."""
    header = jwt.get_unverified_header(real)
    claims = jwt.decode(real, options={"verify_signature": False})
    foreign = Ed25519PrivateKey.generate()
    match kind:
        case "garbage":
            return "not.a.token"
        case "alg none":
            return unsigned(claims)
        case "foreign key":
            return jwt.encode(claims, foreign, "EdDSA", {"kid": header["kid"]})
        case "unknown key":
            return jwt.encode(claims, foreign, "EdDSA", {"kid": "nobody"})
        case "changed role":
            head, _, signature = real.split(".")
            body = base64.urlsafe_b64encode(json.dumps(claims | {"roles": ["owner"]}).encode()).rstrip(b"=").decode()
            return f"{head}.{body}.{signature}"
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", ["garbage", "alg none", "foreign key", "unknown key", "changed role"])
async def test_a_forged_token_is_refused_at_the_edge(stack: Stack, kind: str) -> None:
    async with stack.client("customer") as client:
        token = forged(kind, await client.access_token())
    credentials = grpc.ssl_channel_credentials(stack.ca_file.read_bytes())
    async with grpc.aio.secure_channel(f"localhost:{stack.edge_port}", credentials) as channel:
        who_am_i: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/deskmesh.auth.v1.AuthService/WhoAmI"
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await who_am_i(b"", metadata=(("authorization", f"Bearer {token}"),), timeout=10)
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_a_missing_token_is_named(stack: Stack) -> None:
    async with stack.client() as client:
        with pytest.raises(DeskmeshError) as caught:
            await client.auth.WhoAmI(auth_service_pb2.WhoAmIRequest())
    assert caught.value.code == grpc.StatusCode.UNAUTHENTICATED
    assert caught.value.reason == "TOKEN_MISSING"


async def test_undecodable_bytes_are_refused(stack: Stack) -> None:
    async with stack.client("customer") as client:
        token = await client.access_token()
    credentials = grpc.ssl_channel_credentials(stack.ca_file.read_bytes())
    async with grpc.aio.secure_channel(f"localhost:{stack.edge_port}", credentials) as channel:
        send: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/deskmesh.orchestrator.v1.OrchestratorService/SendMessage"
        )
        # Field 3 is text: 0xff is no UTF-8; the second is cut off in the middle of a field.
        for payload in (b"\x1a\x01\xff", b"\x1a\x7f"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await send(payload, metadata=(("authorization", f"Bearer {token}"),), timeout=10)
            assert caught.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL)
            assert "Traceback" not in (caught.value.details() or "")


async def test_headers_that_name_another_person_are_dropped_at_the_edge(stack: Stack) -> None:
    async with stack.client("customer") as client:
        pretended = (
            ("deskmesh-acting-organization", "org_other"),
            ("deskmesh-acting-user", "usr_other"),
            ("deskmesh-acting-roles", "owner"),
        )
        who = await client.auth.WhoAmI(auth_service_pb2.WhoAmIRequest(), metadata=pretended)
    assert who.principal.user.email == stack.sign_in("customer").email


@pytest.mark.parametrize("service_account", ["tickets", None])
async def test_a_workload_that_may_not_call_is_refused(stack: Stack, service_account: str | None) -> None:
    """`tickets` holds a good certificate but is no caller of the embedder; without any certificate nobody gets in."""
    root = stack.ca_file.read_bytes()
    if service_account is None:
        credentials = grpc.ssl_channel_credentials(root)
    else:
        folder = stack.home / "pki" / service_account
        credentials = grpc.ssl_channel_credentials(
            root, (folder / "tls.key").read_bytes(), (folder / "tls.crt").read_bytes()
        )
    target = f"127.0.0.1:{stack.base_port + 10}"
    async with grpc.aio.secure_channel(
        target, credentials, [("grpc.ssl_target_name_override", "localhost")]
    ) as channel:
        stub = embedding_service_pb2_grpc.EmbeddingServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Embed(embedding_service_pb2.EmbedRequest(texts=["hello"]), timeout=10)
    refusals = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED)
    assert from_rpc_error(caught.value).code in refusals


async def test_an_import_reports_each_document(stack: Stack) -> None:
    slug = f"imported-{int(time.time() * 1000)}"
    good = f"---\ntitle: Imported\nslug: {slug}\ncategory: tests\nlocale: en\n---\n\n## One\n\nImports work.\n"
    documents = {
        "good.md": good.encode(),
        "latin1.md": "---\ntitle: Café\n---\n\nText.".encode("latin-1"),
        "untitled.md": b"Just text without front matter.",
        "empty.md": b"---\ntitle: Empty\n---\n",
        "broken.md": b"---\ntitle: [unclosed\n---\n\nText.",
    }
    request = ingest_service_pb2.ImportDocumentsRequest(
        documents=[ingest_service_pb2.Document(path=path, content=content) for path, content in documents.items()]
    )
    async with stack.client("owner") as client:
        frames = [frame async for frame in client.ingest.ImportDocuments(request)]
        articles = article_service_pb2.GetArticleRequest(slug=slug)
        assert (await client.articles.GetArticle(articles)).article.published.title == "Imported"
    results = {frame.result.path: frame.result for frame in frames if frame.HasField("result")}
    assert results["good.md"].outcome == ingest_service_pb2.DOCUMENT_OUTCOME_CREATED
    for path in ("latin1.md", "untitled.md", "empty.md", "broken.md"):
        assert results[path].outcome == ingest_service_pb2.DOCUMENT_OUTCOME_SKIPPED
        assert results[path].skipped_because
    assert frames[-1].summary.skipped == 4
