"""What can go wrong with tickets, as callers are told."""

from services.common.errors import Conflict, InvalidInput, NotFound, PreconditionFailed


class TicketNotFound(NotFound):
    """There is none, or it is another person's or tenant's."""

    reason = "TICKET_NOT_FOUND"
    message = "There is no such ticket."
    resource_type = "ticket"


class TransitionNotAllowed(PreconditionFailed):
    """The status machine knows no such way; `from` and `to` are names of `TicketStatus`."""

    reason = "TICKET_TRANSITION_NOT_ALLOWED"
    message = "The ticket cannot go from this status to that one."

    def __init__(self, from_status: str, to_status: str) -> None:
        super().__init__(metadata={"from": from_status, "to": to_status})


class TicketClosed(PreconditionFailed):
    """Nothing changes a closed ticket any more."""

    reason = "TICKET_TRANSITION_NOT_ALLOWED"
    message = "The ticket is closed for good; open a new one."

    def __init__(self, from_status: str, to_status: str) -> None:
        super().__init__(metadata={"from": from_status, "to": to_status})


class StaleEtag(Conflict):
    """Somebody else changed the ticket since it was read."""

    message = "The ticket changed since it was read; read it again."


class AssigneeNotAgent(InvalidInput):
    """Tickets are given only to agents of the organization."""

    reason = "ASSIGNEE_NOT_AGENT"
    message = "The assignee is not an agent of this organization."

    def __init__(self) -> None:
        super().__init__(violations=[("assignee_id", "is not an agent of this organization")])


class RequesterNotFound(NotFound):
    """A ticket can only be opened for a member of the organization."""

    reason = "USER_NOT_FOUND"
    message = "There is no such person in this organization."
    resource_type = "user"


class ConversationNotFound(NotFound):
    """There is none, or the caller may not know of it."""

    reason = "CONVERSATION_NOT_FOUND"
    message = "There is no such conversation."
    resource_type = "conversation"
