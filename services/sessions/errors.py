"""What can go wrong with conversations, as callers are told."""

from services.common.errors import (
    Exhausted,
    InvalidInput,
    NotFound,
    OutOfRange,
    PermissionDenied,
    PreconditionFailed,
    Unavailable,
)


class ConversationNotFound(NotFound):
    """There is none, or it is another person's or tenant's."""

    reason = "CONVERSATION_NOT_FOUND"
    message = "There is no such conversation."
    resource_type = "conversation"


class ConversationClosed(PreconditionFailed):
    """Nothing can be written any more."""

    reason = "CONVERSATION_CLOSED"
    message = "The conversation is closed; start a new one."


class MessageNotFound(NotFound):
    """There is none, or it stands in a conversation this caller may not know of."""

    reason = "MESSAGE_NOT_FOUND"
    message = "There is no such message."
    resource_type = "message"


class AuthorNotAllowed(InvalidInput):
    """The caller cannot write as this author."""

    def __init__(self, description: str) -> None:
        super().__init__(violations=[("author", description)])


class NotAnAnswer(InvalidInput):
    """Only what the assistant wrote is rated."""

    def __init__(self) -> None:
        super().__init__(violations=[("message_id", "only an answer of the assistant can be rated")])


class NotTheCustomer(PermissionDenied):
    """Agents may read a conversation without speaking for its customer."""

    message = "Only the customer of the conversation may do this."


class OffsetOutOfRange(OutOfRange):
    """The reader claims to have seen more than there is."""

    reason = "OFFSET_OUT_OF_RANGE"
    message = "The offset lies beyond the end of the conversation."

    def __init__(self, last_offset: int) -> None:
        super().__init__(metadata={"last_offset": str(last_offset)})


class WatcherTooSlow(Exhausted):
    """The reader let too much pile up; it loses nothing by resuming."""

    reason = "WATCHER_TOO_SLOW"
    message = "The reader fell too far behind; resume from the last offset it saw."

    def __init__(self) -> None:
        super().__init__(retry_after_seconds=1)


class TooManyWatchers(Exhausted):
    """This process holds as many streams as it may."""

    reason = "TOO_MANY_WATCHERS"
    message = "Too many open streams; try again."

    def __init__(self) -> None:
        super().__init__(retry_after_seconds=5)


class TokenizerUnavailable(Unavailable):
    """The model's tokenizer does not answer."""

    message = "The model's tokenizer does not answer; try again."

    def __init__(self) -> None:
        super().__init__(retry_after_seconds=2)
