"""Entries of the log and their wire form, and the frames of a stream."""

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache

from deskmesh.sessions.v1 import conversation_service_pb2, event_pb2
from services.common.errors import InvalidInput
from services.sessions.domain import (
    Closed,
    Conversation,
    Entry,
    Message,
    MessageAdded,
    MessageRated,
    ResponderChanged,
    StoredEvent,
    TicketLinked,
    TurnEvent,
)
from services.sessions.mappings import resources
from services.sessions.ports import Typing
from services.sessions.usecases.watch import CaughtUp, Ended, Frame, Heartbeat

# Kinds that the orchestrator may append; the others come from RPCs of their own.
TURN_KINDS = frozenset(
    {
        "turn_started",
        "answer_delta",
        "citation_added",
        "action_proposed",
        "proposal_resolved",
        "turn_finished",
        "turn_failed",
    }
)
# Streams of one conversation take the same event at about the same time; this many frames are built once for all.
SHARED_FRAMES = 1_024


def encode(entry: Entry) -> bytes:
    """The wire form of an entry, as it is kept and sent."""
    event = entry.event
    told = event_pb2.ConversationEvent(offset=entry.offset, turn_id=entry.turn_id)
    match event:
        case MessageAdded():
            told.message_added.message.CopyFrom(resources.message(event.message))
        case TurnEvent():
            told.MergeFromString(event.body)
        case TicketLinked():
            told.ticket_linked.ticket_id = event.ticket_id
            told.ticket_linked.ticket_number = event.ticket_number
            told.ticket_linked.subject = event.subject
        case ResponderChanged():
            told.responder_changed.responder = resources.RESPONDERS[event.responder]
        case MessageRated():
            told.message_rated.message_id = event.message_id
            told.message_rated.rating = resources.RATINGS[event.rating]
        case Closed():
            told.conversation_closed.expired = event.expired
    told.occurred_at.FromDatetime(entry.occurred_at)
    return told.SerializeToString()


def encode_conversation(conversation: Conversation) -> bytes:
    """The wire form of a conversation, as the outbox's events carry it."""
    return resources.conversation(conversation).SerializeToString()


def encode_message(message: Message) -> bytes:
    """The wire form of a message, as the outbox's events carry it."""
    return resources.message(message).SerializeToString()


def to_turn_events(told: Iterable[event_pb2.ConversationEvent]) -> list[tuple[str, TurnEvent]]:
    """Events of a turn, each with the turn's identifier. Raises InvalidInput for kinds with an RPC of their own."""
    events = []
    for index, one in enumerate(told):
        kind = one.WhichOneof("event") or ""
        if kind not in TURN_KINDS:
            raise InvalidInput(violations=[(f"events[{index}].{kind}", "has an RPC of its own")])
        if one.offset or one.HasField("occurred_at"):
            raise InvalidInput(violations=[(f"events[{index}]", "offset and occurred_at are set by the service")])
        body = event_pb2.ConversationEvent()
        body.CopyFrom(one)
        body.ClearField("turn_id")
        events.append((one.turn_id, TurnEvent(kind, body.SerializeToString())))
    return events


def frame(of: Frame) -> conversation_service_pb2.WatchResponse:
    """One frame of a stream."""
    match of:
        case StoredEvent():
            return _event_frame(of)
        case Typing():
            return conversation_service_pb2.WatchResponse(
                typing=conversation_service_pb2.Typing(
                    author=resources.AUTHORS[of.author], user_id=of.user_id, typing=of.typing
                )
            )
        case CaughtUp():
            return conversation_service_pb2.WatchResponse(
                caught_up=conversation_service_pb2.CaughtUp(last_offset=of.last_offset)
            )
        case Heartbeat():
            return _heartbeat(of.sent_at)
        case Ended():
            return conversation_service_pb2.WatchResponse(
                ended=conversation_service_pb2.WatchEnded(last_offset=of.last_offset)
            )


@lru_cache(maxsize=SHARED_FRAMES)
def _event_frame(event: StoredEvent) -> conversation_service_pb2.WatchResponse:
    return conversation_service_pb2.WatchResponse(event=event_pb2.ConversationEvent.FromString(event.payload))


def _heartbeat(sent_at: datetime) -> conversation_service_pb2.WatchResponse:
    response = conversation_service_pb2.WatchResponse()
    response.heartbeat.sent_at.FromDatetime(sent_at)
    return response
