"""Outcomes as JSON documents of the database."""

from typing import Any

from services.common.spending import Usage
from services.orchestrator.domain import Citation, Decision, Outcome, Proposal, ProposalReply, ProposalState

Document = dict[str, Any]


def outcome_document(outcome: Outcome) -> Document:
    """An outcome without its proposal, which has a table of its own; the proposal's identifier stays."""
    return {
        "decision": outcome.decision.value,
        "text": outcome.text,
        "citations": [
            {
                "article_id": citation.article_id,
                "title": citation.title,
                "passage": citation.passage,
                "url": citation.url,
                "passage_id": citation.passage_id,
                "article_version": citation.article_version,
                "heading": citation.heading,
            }
            for citation in outcome.citations
        ],
        "proposal_id": outcome.proposal.id if outcome.proposal else "",
        "resolved": [outcome.resolved.proposal_id, outcome.resolved.accepted] if outcome.resolved else None,
        "ticket_id": outcome.ticket_id,
        "model": outcome.model,
        "usage": [outcome.usage.prompt_tokens, outcome.usage.cached_prompt_tokens, outcome.usage.completion_tokens],
        "first_token": outcome.first_token,
    }


def outcome_of(document: Document, proposal: Proposal | None) -> Outcome:
    """The outcome that a document stands for."""
    resolved = document["resolved"]
    return Outcome(
        decision=Decision(document["decision"]),
        text=document["text"],
        citations=tuple(Citation(**citation) for citation in document["citations"]),
        proposal=proposal,
        resolved=ProposalReply(*resolved) if resolved else None,
        ticket_id=document["ticket_id"],
        model=document["model"],
        usage=Usage(*document["usage"]),
        first_token=document["first_token"],
    )


def proposal_of(row: Any) -> Proposal:
    """The proposal in a row."""
    return Proposal(
        id=row.id,
        conversation_id=row.conversation_id,
        turn_id=row.turn_id,
        ticket_subject=row.ticket_subject,
        state=ProposalState(row.state),
        created_at=row.created_at,
    )
