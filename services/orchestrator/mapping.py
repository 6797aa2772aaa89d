"""Between the orchestrator's contract and its domain."""

from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from deskmesh.inference.v1 import chat_pb2
from deskmesh.orchestrator.v1 import orchestrator_service_pb2 as pb
from deskmesh.orchestrator.v1 import turn_pb2
from deskmesh.sessions.v1 import message_pb2
from services.common.context import Caller, IdempotencyKey
from services.common.spending import Usage
from services.orchestrator.domain import (
    Citation,
    Decision,
    Message,
    ProposalReply,
    ProposalState,
    Step,
    Turn,
    TurnState,
)
from services.orchestrator.ports import PassageCited, TextWritten
from services.orchestrator.usecases import SendMessage, Sent, TurnFrame

_STATES = {
    TurnState.QUEUED: turn_pb2.TURN_STATE_QUEUED,
    TurnState.RUNNING: turn_pb2.TURN_STATE_RUNNING,
    TurnState.FINISHED: turn_pb2.TURN_STATE_FINISHED,
    TurnState.FAILED: turn_pb2.TURN_STATE_FAILED,
    TurnState.CANCELLED: turn_pb2.TURN_STATE_CANCELLED,
}
_DECISIONS = {
    Decision.ANSWER: turn_pb2.DECISION_ANSWER,
    Decision.CLARIFY: turn_pb2.DECISION_CLARIFY,
    Decision.TICKET: turn_pb2.DECISION_TICKET,
    Decision.HANDOFF: turn_pb2.DECISION_HANDOFF,
}
_AUTHORS = {
    "customer": message_pb2.AUTHOR_CUSTOMER,
    "assistant": message_pb2.AUTHOR_ASSISTANT,
    "agent": message_pb2.AUTHOR_AGENT,
    "system": message_pb2.AUTHOR_SYSTEM,
}


def to_send(
    request: pb.SendMessageRequest | pb.RunTurnRequest, caller: Caller, idempotency: IdempotencyKey
) -> SendMessage:
    """The command in a request."""
    reply = request.proposal_reply
    return SendMessage(
        caller=caller,
        idempotency=idempotency,
        conversation_id=request.conversation_id,
        text=request.text,
        reply=ProposalReply(reply.proposal_id, reply.accepted) if request.HasField("proposal_reply") else None,
    )


def send_response(sent: Sent) -> pb.SendMessageResponse:
    """The answer to SendMessage."""
    return pb.SendMessageResponse(
        message=_message(sent.message), turn=turn_message(sent.turn) if sent.turn is not None else None
    )


def run_started(sent: Sent) -> pb.RunTurnResponse:
    """The first frame."""
    started = pb.RunTurnStarted(turn_id=sent.turn.id if sent.turn else "", message_id=sent.message.id)
    return pb.RunTurnResponse(started=started)


def run_frame(frame: TurnFrame) -> pb.RunTurnResponse:
    """A piece or a citation."""
    match frame:
        case TextWritten(text):
            return pb.RunTurnResponse(delta=pb.RunTurnDelta(text=text))
        case PassageCited(number, citation):
            return pb.RunTurnResponse(citation=pb.RunTurnCitation(number=number, citation=_citation(citation)))


def run_finished(turn: Turn | None) -> pb.RunTurnResponse:
    """The last frame."""
    return pb.RunTurnResponse(finished=pb.RunTurnFinished(turn=turn_message(turn) if turn is not None else None))


def turn_message(turn: Turn) -> turn_pb2.Turn:
    """A turn on the wire. What it came to is shown only when it has ended well."""
    message = turn_pb2.Turn(
        id=turn.id,
        conversation_id=turn.conversation_id,
        message_id=turn.message_id,
        state=_STATES[turn.state],
        steps=[_step(step) for step in turn.steps],
        trace_id=turn.trace_id,
        error_reason=turn.error_reason,
        created_at=_timestamp(turn.created_at),
        ended_at=_timestamp(turn.ended_at) if turn.ended_at else None,
        total=_duration(turn.total) if turn.total is not None else None,
    )
    outcome = turn.outcome
    if outcome is None or turn.state is not TurnState.FINISHED:
        return message
    message.decision = _DECISIONS[outcome.decision]
    message.answer = outcome.text
    message.citations.extend(_citation(citation) for citation in outcome.citations)
    message.ticket_id = outcome.ticket_id
    message.model = outcome.model
    message.usage.CopyFrom(_usage(outcome.usage))
    if outcome.first_token is not None:
        message.first_token.CopyFrom(_duration(outcome.first_token))
    if outcome.proposal is not None and outcome.proposal.state is ProposalState.OPEN:
        message.proposal.id = outcome.proposal.id
        message.proposal.ticket_subject = outcome.proposal.ticket_subject
    return message


def _step(step: Step) -> turn_pb2.TurnStep:
    return turn_pb2.TurnStep(
        name=step.name,
        started_after=_duration(step.started_after),
        elapsed=_duration(step.elapsed),
        model=step.model,
        usage=_usage(step.usage) if step.usage is not None else None,
        versions=dict(step.versions),
        details=dict(step.details),
        error_reason=step.error_reason,
    )


def _usage(usage: Usage) -> chat_pb2.Usage:
    return chat_pb2.Usage(
        prompt_tokens=usage.prompt_tokens,
        cached_prompt_tokens=usage.cached_prompt_tokens,
        completion_tokens=usage.completion_tokens,
    )


def _citation(citation: Citation) -> message_pb2.Citation:
    return message_pb2.Citation(
        article_id=citation.article_id,
        title=citation.title,
        passage=citation.passage,
        url=citation.url,
        passage_id=citation.passage_id,
        article_version=citation.article_version,
        heading=citation.heading,
    )


def _message(message: Message) -> message_pb2.Message:
    return message_pb2.Message(
        id=message.id,
        conversation_id=message.conversation_id,
        author=_AUTHORS[message.author],
        user_id=message.user_id,
        text=message.text,
        turn_id=message.turn_id,
        created_at=_timestamp(message.created_at),
        offset=message.offset,
    )


def _timestamp(at: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration
