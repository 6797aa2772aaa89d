"""Messages and events between the sessions contract and the domain."""

from deskmesh.sessions.v1 import event_pb2, message_pb2
from services.orchestrator.domain import Citation, Message
from services.orchestrator.ports import (
    PassageCited,
    ProposalSettled,
    TextWritten,
    TicketProposed,
    TurnBegan,
    TurnBroken,
    TurnConcluded,
    TurnEvent,
)

_AUTHORS = {
    message_pb2.AUTHOR_CUSTOMER: "customer",
    message_pb2.AUTHOR_ASSISTANT: "assistant",
    message_pb2.AUTHOR_AGENT: "agent",
    message_pb2.AUTHOR_SYSTEM: "system",
}


def message_of(message: message_pb2.Message) -> Message:
    """A message as the domain sees it."""
    return Message(
        id=message.id,
        conversation_id=message.conversation_id,
        author=_AUTHORS.get(message.author, "system"),
        user_id=message.user_id,
        text=message.text,
        turn_id=message.turn_id,
        created_at=message.created_at.ToDatetime(),
        offset=message.offset,
    )


def citation_message(citation: Citation) -> message_pb2.Citation:
    """A citation on the wire."""
    return message_pb2.Citation(
        article_id=citation.article_id,
        title=citation.title,
        passage=citation.passage,
        url=citation.url,
        passage_id=citation.passage_id,
        article_version=citation.article_version,
        heading=citation.heading,
    )


def citation_of(citation: message_pb2.Citation) -> Citation:
    """A citation as the domain sees it."""
    return Citation(
        article_id=citation.article_id,
        title=citation.title,
        passage=citation.passage,
        url=citation.url,
        passage_id=citation.passage_id,
        article_version=citation.article_version,
        heading=citation.heading,
    )


def event_message(turn_id: str, event: TurnEvent) -> event_pb2.ConversationEvent:
    """An event of a turn on the wire."""
    message = event_pb2.ConversationEvent(turn_id=turn_id)
    match event:
        case TurnBegan(message_id):
            message.turn_started.message_id = message_id
        case TextWritten(text):
            message.answer_delta.text = text
        case PassageCited(number, citation):
            message.citation_added.number = number
            message.citation_added.citation.CopyFrom(citation_message(citation))
        case TicketProposed(proposal_id, subject):
            message.action_proposed.proposal_id = proposal_id
            message.action_proposed.ticket.subject = subject
        case ProposalSettled(proposal_id, accepted):
            message.proposal_resolved.proposal_id = proposal_id
            message.proposal_resolved.accepted = accepted
        case TurnConcluded(message_id, decision):
            message.turn_finished.message_id = message_id
            message.turn_finished.decision = decision
        case TurnBroken(reason, retryable, retry_after_seconds):
            message.turn_failed.reason = reason
            message.turn_failed.retryable = retryable
            message.turn_failed.retry_after_seconds = retry_after_seconds
    return message


def event_of(message: event_pb2.ConversationEvent) -> TurnEvent | None:
    """An event of a turn as the domain sees it; None for kinds that no turn writes."""
    match message.WhichOneof("event"):
        case "turn_started":
            return TurnBegan(message.turn_started.message_id)
        case "answer_delta":
            return TextWritten(message.answer_delta.text)
        case "citation_added":
            added = message.citation_added
            return PassageCited(added.number, citation_of(added.citation))
        case "turn_finished":
            return TurnConcluded(message.turn_finished.message_id, message.turn_finished.decision)
        case "turn_failed":
            failed = message.turn_failed
            return TurnBroken(failed.reason, failed.retryable, failed.retry_after_seconds)
        case _:
            return None
