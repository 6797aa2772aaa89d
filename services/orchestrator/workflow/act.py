"""Tickets: offered, opened after the customer's word, or opened at once for a handoff."""

from services.orchestrator.answering import texts
from services.orchestrator.answering.intents import ticket_subject
from services.orchestrator.domain import (
    Decision,
    Message,
    Outcome,
    Proposal,
    ProposalReply,
    ProposalState,
    Turn,
    derived_id,
)
from services.orchestrator.ports import OpenedTicket
from services.orchestrator.workflow.gather import Background
from services.orchestrator.workflow.record import Recorder
from services.orchestrator.workflow.services import Services

TRANSCRIPT_MESSAGES = 200
_SPEAKERS = {"customer": "Customer", "assistant": "Assistant", "agent": "Agent", "system": "System"}


def offer(turn: Turn, background: Background, template: str) -> Outcome:
    """A proposal to open a ticket, in these words; nothing is opened before the customer says so."""
    subject = ticket_subject(turn.text, background.earlier)
    proposal = Proposal(
        # The same for every worker that takes the turn up.
        id=f"prp_{turn.id.partition('_')[2]}",
        conversation_id=turn.conversation_id,
        turn_id=turn.id,
        ticket_subject=subject,
        state=ProposalState.OPEN,
        created_at=turn.created_at,
    )
    return Outcome(Decision.TICKET, template.format(subject=subject), proposal=proposal)


async def carry_out(turn: Turn, proposal: Proposal, services: Services, record: Recorder) -> Outcome:
    """Open the ticket that the customer said yes to."""
    ticket = await _open(turn, proposal.ticket_subject, proposal.id, services, record, handoff=False)
    return Outcome(
        Decision.TICKET,
        texts.OPENED.format(number=ticket.number, subject=ticket.subject),
        resolved=ProposalReply(proposal.id, accepted=True),
        ticket_id=ticket.id,
    )


def decline(proposal: Proposal) -> Outcome:
    """The customer said no."""
    return Outcome(Decision.TICKET, texts.DECLINED, resolved=ProposalReply(proposal.id, accepted=False))


async def hand_off(turn: Turn, background: Background, services: Services, record: Recorder) -> Outcome:
    """Open a ticket at once; who answers from now on changes when the outcome is told."""
    subject = ticket_subject(turn.text, background.earlier)
    ticket = await _open(turn, subject, turn.id, services, record, handoff=True)
    return Outcome(Decision.HANDOFF, texts.HANDOFF.format(number=ticket.number), ticket_id=ticket.id)


async def _open(
    turn: Turn, subject: str, purpose: str, services: Services, record: Recorder, *, handoff: bool
) -> OpenedTicket:
    async with record.step("ticket") as notes:
        messages = await services.sessions.messages(turn.conversation_id, TRANSCRIPT_MESSAGES)
        ticket = await services.tickets.open(
            derived_id(purpose, "ticket"), turn.conversation_id, subject, transcript(messages), handoff=handoff
        )
        await services.sessions.link_ticket(turn.conversation_id, ticket)
        notes.details["ticket"] = ticket.id
        return ticket


def transcript(messages: list[Message]) -> str:
    """The conversation as text, a message a paragraph."""
    return "\n\n".join(f"{_SPEAKERS.get(message.author, message.author)}: {message.text}" for message in messages)
