"""Stand-ins for the services that a turn calls, behind the same mTLS, identity and validation as the real ones.

They keep what they are told, answer from a few articles, and can be made to fail, to wait and to be slow.
"""

import asyncio
import hashlib
import re
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from google.protobuf.message import Message as ProtoMessage

from deskmesh.inference.v1 import (
    embedding_service_pb2,
    embedding_service_pb2_grpc,
    inference_service_pb2,
    inference_service_pb2_grpc,
    router_service_pb2,
    router_service_pb2_grpc,
)
from deskmesh.knowledge.v1 import article_pb2, search_service_pb2, search_service_pb2_grpc
from deskmesh.sessions.v1 import (
    conversation_pb2,
    conversation_service_pb2,
    conversation_service_pb2_grpc,
    event_pb2,
    message_pb2,
)
from deskmesh.tickets.v1 import ticket_pb2, ticket_service_pb2, ticket_service_pb2_grpc
from deskmesh.usage.v1 import (
    reservation_service_pb2,
    reservation_service_pb2_grpc,
    usage_service_pb2,
    usage_service_pb2_grpc,
)
from services.common.context import caller
from services.common.errors import DomainError
from services.common.server import Platform, ServicerRegistration
from services.orchestrator.errors import ConversationClosed, ConversationNotFound, ModelNotFound, ModelUnavailable

MODEL = "double"
LARGE = "larger"
REPLICA, SECOND_REPLICA, SHADOW_REPLICA = "127.0.0.1:40502", "127.0.0.1:40503", "127.0.0.1:40504"
DIMENSION = 384

ARTICLES = {
    "Returns policy": {
        "How long you have": "Items can be returned within 45 days of delivery. Shop purchases count from the receipt.",
        "Condition": "Returned items must be unworn and have their labels.",
    },
    "Standard delivery": {
        "Cost": "Standard delivery costs £3.95 per order. Orders worth £60 or more travel free of charge.",
        "Duration": "Standard delivery takes 3 to 5 working days after dispatch.",
    },
    "Gift cards": {"Validity": "A gift card is valid for 36 months from the day of purchase."},
}


class Faults:
    """What a double does instead of answering: by method name, an error to raise, or an event to wait for first."""

    def __init__(self) -> None:
        self.errors: dict[str, DomainError] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.entered: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.cancelled: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def meet(self, method: str) -> None:
        """Called at the start of every method."""
        self.entered[method].set()
        if gate := self.gates.get(method):
            try:
                await gate.wait()
            except asyncio.CancelledError:
                self.cancelled[method].set()
                raise
        if error := self.errors.get(method):
            raise error


@dataclass
class Conversation:
    """A conversation with its log."""

    proto: conversation_pb2.Conversation
    customer_id: str
    messages: list[message_pb2.Message] = field(default_factory=list)
    events: list[event_pb2.ConversationEvent] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)


class SessionsDouble(conversation_service_pb2_grpc.ConversationServiceServicer):
    """Conversations in memory."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.conversations: dict[str, Conversation] = {}
        self._answered: dict[str, tuple[bytes, Any]] = {}

    def start(self, conversation_id: str, customer_id: str) -> Conversation:
        """Begin a conversation."""
        proto = conversation_pb2.Conversation(
            id=conversation_id,
            customer_id=customer_id,
            state=conversation_pb2.CONVERSATION_STATE_OPEN,
            responder=conversation_pb2.RESPONDER_ASSISTANT,
        )
        self.conversations[conversation_id] = Conversation(proto, customer_id)
        return self.conversations[conversation_id]

    def _find(self, conversation_id: str) -> Conversation:
        found = self.conversations.get(conversation_id)
        if found is None or found.customer_id != caller().user_id:
            raise ConversationNotFound(resource_name=conversation_id)
        return found

    def _repeated(self, request: Any) -> Any:
        known = self._answered.get(request.request_id)
        if known is None:
            return None
        assert known[0] == request.SerializeToString(deterministic=True), "a request_id came with other content"
        return known[1]

    def _remember(self, request: Any, response: Any) -> Any:
        self._answered[request.request_id] = (request.SerializeToString(deterministic=True), response)
        return response

    async def _log(self, conversation: Conversation, event: event_pb2.ConversationEvent) -> int:
        async with conversation.changed:
            event.offset = len(conversation.events) + 1
            conversation.events.append(event)
            conversation.changed.notify_all()
            return event.offset

    async def GetConversation(self, request: Any, context: Any) -> Any:
        await self.faults.meet("GetConversation")
        return conversation_service_pb2.GetConversationResponse(conversation=self._find(request.conversation_id).proto)

    async def AppendMessage(self, request: Any, context: Any) -> Any:
        await self.faults.meet("AppendMessage")
        if known := self._repeated(request):
            return known
        conversation = self._find(request.conversation_id)
        if conversation.proto.state != conversation_pb2.CONVERSATION_STATE_OPEN:
            raise ConversationClosed
        message = message_pb2.Message(
            id=f"msg_{len(conversation.messages) + 1}",
            conversation_id=request.conversation_id,
            author=request.author,
            user_id=caller().user_id,
            text=request.text,
            citations=request.citations,
            turn_id=request.turn_id,
        )
        event = event_pb2.ConversationEvent(turn_id=request.turn_id)
        event.message_added.message.CopyFrom(message)
        message.offset = await self._log(conversation, event)
        conversation.messages.append(message)
        return self._remember(request, conversation_service_pb2.AppendMessageResponse(message=message))

    async def AppendEvents(self, request: Any, context: Any) -> Any:
        await self.faults.meet("AppendEvents")
        if known := self._repeated(request):
            return known
        conversation = self._find(request.conversation_id)
        last = 0
        for event in request.events:
            copy = event_pb2.ConversationEvent()
            copy.CopyFrom(event)
            last = await self._log(conversation, copy)
        return self._remember(request, conversation_service_pb2.AppendEventsResponse(last_offset=last))

    async def GetContext(self, request: Any, context: Any) -> Any:
        await self.faults.meet("GetContext")
        return conversation_service_pb2.GetContextResponse(messages=self._find(request.conversation_id).messages)

    async def ListMessages(self, request: Any, context: Any) -> Any:
        await self.faults.meet("ListMessages")
        return conversation_service_pb2.ListMessagesResponse(messages=self._find(request.conversation_id).messages)

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self.faults.meet("Watch")
        conversation = self._find(request.conversation_id)
        offset = request.from_offset
        while True:
            async with conversation.changed:
                while len(conversation.events) <= offset:
                    await conversation.changed.wait()
                fresh = conversation.events[offset:]
            for event in fresh:
                yield conversation_service_pb2.WatchResponse(event=event)
            offset += len(fresh)

    async def SetTyping(self, request: Any, context: Any) -> Any:
        await self.faults.meet("SetTyping")
        return conversation_service_pb2.SetTypingResponse()

    async def SetResponder(self, request: Any, context: Any) -> Any:
        await self.faults.meet("SetResponder")
        conversation = self._find(request.conversation_id)
        conversation.proto.responder = request.responder
        return conversation_service_pb2.SetResponderResponse(conversation=conversation.proto)

    async def LinkTicket(self, request: Any, context: Any) -> Any:
        await self.faults.meet("LinkTicket")
        conversation = self._find(request.conversation_id)
        if request.ticket_id not in conversation.proto.ticket_ids:
            conversation.proto.ticket_ids.append(request.ticket_id)
        return conversation_service_pb2.LinkTicketResponse()


class TicketsDouble(ticket_service_pb2_grpc.TicketServiceServicer):
    """Tickets in memory."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.tickets: dict[str, ticket_pb2.Ticket] = {}

    async def CreateTicket(self, request: Any, context: Any) -> Any:
        await self.faults.meet("CreateTicket")
        if request.request_id not in self.tickets:
            number = len(self.tickets) + 1
            self.tickets[request.request_id] = ticket_pb2.Ticket(
                id=f"tkt_{number}",
                number=number,
                subject=request.subject,
                description=request.description,
                requester_id=caller().user_id,
                conversation_id=request.conversation_id,
                kind=request.kind,
                status=ticket_pb2.TICKET_STATUS_NEW,
            )
        return ticket_service_pb2.CreateTicketResponse(ticket=self.tickets[request.request_id])

    async def ListTickets(self, request: Any, context: Any) -> Any:
        await self.faults.meet("ListTickets")
        assert request.order == ticket_service_pb2.TICKET_ORDER_DUE_ASC
        found = [
            ticket
            for ticket in self.tickets.values()
            if ticket.conversation_id == request.conversation_id and ticket.status in request.statuses
        ]
        found.sort(key=lambda ticket: ticket.due_at.ToNanoseconds() if ticket.HasField("due_at") else 2**63)
        return ticket_service_pb2.ListTicketsResponse(tickets=found[: request.page_size])


class KnowledgeDouble(search_service_pb2_grpc.SearchServiceServicer):
    """Finds passages of ARTICLES by their words."""

    def __init__(self) -> None:
        self.faults = Faults()

    async def Search(self, request: Any, context: Any) -> Any:
        await self.faults.meet("Search")
        query = embedding(request.query)
        hits = []
        for title, sections in ARTICLES.items():
            slug = title.lower().replace(" ", "-")
            for position, (heading, text) in enumerate(sections.items()):
                passage = article_pb2.Passage(
                    id=f"psg_{slug}_{position}",
                    article_id=f"art_{slug}",
                    article_slug=slug,
                    article_title=title,
                    article_version=1,
                    heading=heading,
                    text=text,
                    position=position,
                    url=f"/help/{slug}",
                )
                similarity = float(query @ embedding(f"{title} {heading} {text}"))
                hits.append(search_service_pb2.SearchHit(passage=passage, score=similarity, similarity=similarity))
        hits.sort(key=lambda hit: -hit.similarity)
        return search_service_pb2.SearchResponse(hits=hits[: request.limit])


class InferenceDouble(
    embedding_service_pb2_grpc.EmbeddingServiceServicer,
    inference_service_pb2_grpc.InferenceServiceServicer,
    router_service_pb2_grpc.RouterServiceServicer,
):
    """Embeds by words, scores by shared words, writes what it is told to."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.capabilities = [router_service_pb2.CAPABILITY_CHAT]
        self.writes: list[str] = []
        self.routed: list[router_service_pb2.RouteRequest] = []
        # By model, its version.
        self.versions: dict[str, str] = {}
        # At which requests wait before they are routed.
        self.place = 0
        # What the router's answers to requests for words say besides.
        self.routing = router_service_pb2.RouteResponse()
        # Of 100 turns so many are repeated for the version in the shadow, until it leaves that.
        self.shadow_percent = 0
        self.shadow_version = "v-shadow"
        self.shadow_left = asyncio.Event()
        self.shadows = 0
        # By replica, what calls meet there besides.
        self.at_replica: dict[str, Faults] = defaultdict(Faults)
        # By model, what it writes and how likely its tokens are, where that differs.
        self.writes_of: dict[str, tuple[list[str], float]] = {}
        self.headers: list[dict[str, str]] = []
        # Of every call of a model.
        self.priorities: list[int] = []
        self.prompts: list[str] = []

    async def Embed(self, request: Any, context: Any) -> Any:
        await self.faults.meet("Embed")
        of = search_embedding if request.model else embedding
        vectors = [embedding_service_pb2.Embedding(values=of(text).tolist()) for text in request.texts]
        return embedding_service_pb2.EmbedResponse(
            embeddings=vectors, model=request.model or "words", dimension=len(vectors[0].values)
        )

    async def Route(self, request: Any, context: Any) -> Any:
        self.routed.append(request)
        await self.faults.meet("Route")
        abilities = [*self.capabilities, router_service_pb2.CAPABILITY_SCORE]
        if not set(request.capabilities) <= set(abilities):
            raise ModelNotFound
        name = LARGE if request.escalate_from or request.model == LARGE else MODEL
        profile = router_service_pb2.ModelProfile(name=name, capabilities=abilities, context_length=2048)
        second = request.hedge_of or request.avoid_replicas
        answer = router_service_pb2.RouteResponse(
            model=profile,
            replica=SECOND_REPLICA if second else REPLICA,
            reason="only one",
            version=self.versions.get(name, ""),
            shadow_percent=self.shadow_percent,
        )
        if router_service_pb2.CAPABILITY_FREE_WORDING in request.capabilities and not request.escalate_from:
            answer.MergeFrom(self.routing)
        return answer

    async def RouteQueued(self, request: Any, context: Any) -> AsyncIterator[Any]:
        if place := self.place:
            waiting = router_service_pb2.Waiting(place=place, waiting=place)
            yield router_service_pb2.RouteQueuedResponse(waiting=waiting)
        routed = await self.Route(request.route, context)
        if place:
            routed.routing.place = place
            routed.routing.waited.FromMilliseconds(250)
        yield router_service_pb2.RouteQueuedResponse(routed=routed)

    async def RouteShadow(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.shadows += 1
        await self.faults.meet("RouteShadow")
        if self.shadow_left.is_set():
            raise ModelUnavailable
        yield router_service_pb2.RouteShadowResponse(replica=SHADOW_REPLICA, version=self.shadow_version)
        await self.shadow_left.wait()

    async def Score(self, request: Any, context: Any) -> Any:
        headers = {key: str(value) for key, value in context.invocation_metadata()}
        self.headers.append(headers)
        self.priorities.append(request.priority)
        await self.faults.meet("Score")
        await self.at_replica[headers.get("x-deskmesh-replica", "")].meet("Score")
        scores = []
        for item in request.items:
            shared = words_of(item.context) & words_of(item.target)
            score = -4.0 + len(shared) / (1 + len(words_of(item.target)))
            scores.append(inference_service_pb2.ItemScore(mean_log_probability=score, target_tokens=5))
        response = inference_service_pb2.ScoreResponse(scores=scores)
        response.usage.prompt_tokens = 10 * len(scores)
        return response

    async def CountTokens(self, request: Any, context: Any) -> Any:
        await self.faults.meet("CountTokens")
        counts = [len(text.split()) for text in request.texts]
        return inference_service_pb2.CountTokensResponse(counts=counts, model=MODEL, context_length=2048)

    async def Chat(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self.faults.meet("Chat")
        headers = {key: str(value) for key, value in context.invocation_metadata()}
        await self.at_replica[headers.get("x-deskmesh-replica", "")].meet("Chat")
        self.prompts.append(request.messages[-1].content)
        self.priorities.append(request.priority)
        yield inference_service_pb2.ChatResponse(started=inference_service_pb2.ChatStarted(model=request.model))
        writes, likelihood = self.writes_of.get(request.model, (self.writes, -0.1))
        for text in writes:
            await self.faults.meet("ChatDelta")
            delta = inference_service_pb2.ChatDelta(text=text, tokens=1)
            if request.HasField("log_probabilities"):
                delta.log_probabilities.add(token=text, log_probability=likelihood)
            yield inference_service_pb2.ChatResponse(delta=delta)
        finished = inference_service_pb2.ChatFinished(reason=inference_service_pb2.FINISH_REASON_STOP)
        finished.usage.prompt_tokens, finished.usage.completion_tokens = 100, len(writes)
        yield inference_service_pb2.ChatResponse(finished=finished)


class UsageDouble(reservation_service_pb2_grpc.ReservationServiceServicer, usage_service_pb2_grpc.UsageServiceServicer):
    """A ledger without budgets, unless told what to grant: a token costs a micro."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.grants = 0
        self.entries: dict[str, Any] = {}
        self.open: dict[str, Any] = {}
        self.settled: list[str] = []

    async def Reserve(self, request: Any, context: Any) -> Any:
        await self.faults.meet("Reserve")
        self.open[request.reservation_id] = request
        price = reservation_service_pb2.ModelPrice(
            prompt_micros_per_million=1_000_000,
            cached_prompt_micros_per_million=1_000_000,
            completion_micros_per_million=1_000_000,
        )
        return reservation_service_pb2.ReserveResponse(granted_micros=self.grants, limited=self.grants > 0, price=price)

    async def ExtendReservation(self, request: Any, context: Any) -> Any:
        await self.faults.meet("ExtendReservation")
        return reservation_service_pb2.ExtendReservationResponse(granted_micros=request.wanted_micros)

    async def SettleReservation(self, request: Any, context: Any) -> Any:
        await self.faults.meet("SettleReservation")
        self.open.pop(request.reservation_id, None)
        self.settled.append(request.reservation_id)
        self.entries |= {entry.id: entry for entry in request.entries}
        return reservation_service_pb2.SettleReservationResponse()

    async def RecordUsage(self, request: Any, context: Any) -> Any:
        await self.faults.meet("RecordUsage")
        known = len(self.entries)
        self.entries |= {entry.id: entry for entry in request.entries}
        return usage_service_pb2.RecordUsageResponse(added=len(self.entries) - known)


def words_of(text: str) -> set[str]:
    """Words in lower case, without the commonest."""
    common = {"the", "a", "of", "to", "is", "do", "does", "for", "what", "how", "i", "it", "my", "from"}
    return set(re.findall(r"[a-z0-9£]+", text.lower())) - common


def embedding(text: str) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """A vector of length one in which shared words make texts near."""
    vector = np.full(DIMENSION, 1e-3, dtype=np.float32)
    for word in words_of(text):
        vector[int.from_bytes(hashlib.sha256(word.encode()).digest()[:4]) % DIMENSION] += 1.0
    return vector / np.float32(np.linalg.norm(vector))


def search_embedding(text: str) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """The same as a model for search sees it: even texts that share nothing have a cosine of a half."""
    return np.append(embedding(text), 1.0).astype(np.float32) / np.float32(2**0.5)


@dataclass
class Doubles:
    """All of them."""

    sessions: SessionsDouble = field(default_factory=SessionsDouble)
    tickets: TicketsDouble = field(default_factory=TicketsDouble)
    knowledge: KnowledgeDouble = field(default_factory=KnowledgeDouble)
    inference: InferenceDouble = field(default_factory=InferenceDouble)
    usage: UsageDouble = field(default_factory=UsageDouble)

    async def wire_sessions(self, stack: AsyncExitStack, platform: Platform[Any]) -> list[ServicerRegistration]:
        add = conversation_service_pb2_grpc.add_ConversationServiceServicer_to_server
        return [ServicerRegistration(add, self.sessions)]

    async def wire_tickets(self, stack: AsyncExitStack, platform: Platform[Any]) -> list[ServicerRegistration]:
        return [ServicerRegistration(ticket_service_pb2_grpc.add_TicketServiceServicer_to_server, self.tickets)]

    async def wire_knowledge(self, stack: AsyncExitStack, platform: Platform[Any]) -> list[ServicerRegistration]:
        return [ServicerRegistration(search_service_pb2_grpc.add_SearchServiceServicer_to_server, self.knowledge)]

    async def wire_usage(self, stack: AsyncExitStack, platform: Platform[Any]) -> list[ServicerRegistration]:
        return [
            ServicerRegistration(reservation_service_pb2_grpc.add_ReservationServiceServicer_to_server, self.usage),
            ServicerRegistration(usage_service_pb2_grpc.add_UsageServiceServicer_to_server, self.usage),
        ]

    async def wire_inference(self, stack: AsyncExitStack, platform: Platform[Any]) -> list[ServicerRegistration]:
        return [
            ServicerRegistration(embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server, self.inference),
            ServicerRegistration(inference_service_pb2_grpc.add_InferenceServiceServicer_to_server, self.inference),
            ServicerRegistration(router_service_pb2_grpc.add_RouterServiceServicer_to_server, self.inference),
        ]


def plain(message: ProtoMessage) -> str:
    """A message as text, for messages of assertions."""
    return str(message).replace("\n", " ")
