"""Requests to commands and results to responses."""

from datetime import datetime

from deskmesh.sessions.v1 import conversation_service_pb2 as pb
from services.common import pagination
from services.common.context import Caller, IdempotencyKey
from services.common.pagination import InvalidPageToken
from services.sessions.domain import Conversation, Message, TicketLinked
from services.sessions.mappings import resources
from services.sessions.mappings.events import to_turn_events
from services.sessions.ports import ConversationCursor
from services.sessions.usecases import context, conversations, messages
from services.sessions.usecases.watch import Watch

DEFAULT_PAGE_SIZE = 50


def to_create(request: pb.CreateConversationRequest, caller: Caller, key: IdempotencyKey) -> conversations.Create:
    """Begin a conversation."""
    timeout = request.idle_timeout.ToTimedelta() if request.HasField("idle_timeout") else None
    return conversations.Create(caller, key, request.title, timeout)


def to_get(request: pb.GetConversationRequest, caller: Caller) -> conversations.ByCaller:
    """Read a conversation."""
    return conversations.ByCaller(caller, request.conversation_id)


def to_close(request: pb.CloseConversationRequest, caller: Caller) -> conversations.ByCaller:
    """Close a conversation."""
    return conversations.ByCaller(caller, request.conversation_id)


def to_list(request: pb.ListConversationsRequest, caller: Caller) -> conversations.ListPage:
    """List conversations. Raises InvalidPageToken."""
    after = None
    if request.page_token:
        cursor = pagination.decode(request.page_token, _conversation_filters(request, caller))
        at, last_id = cursor.get("at"), cursor.get("id")
        if not isinstance(at, str) or not isinstance(last_id, str):
            raise InvalidPageToken
        try:
            after = ConversationCursor(datetime.fromisoformat(at), last_id)
        except ValueError:
            raise InvalidPageToken from None
    return conversations.ListPage(
        caller, resources.STATES_BY_VALUE.get(request.state), after, request.page_size or DEFAULT_PAGE_SIZE
    )


def list_response(
    request: pb.ListConversationsRequest,
    caller: Caller,
    page: tuple[list[Conversation], ConversationCursor | None],
) -> pb.ListConversationsResponse:
    """A page of conversations."""
    found, following = page
    token = ""
    if following is not None:
        cursor = {"at": following.last_activity_at.isoformat(), "id": following.conversation_id}
        token = pagination.encode(cursor, _conversation_filters(request, caller))
    return pb.ListConversationsResponse(
        conversations=[resources.conversation(one) for one in found], next_page_token=token
    )


def to_append(request: pb.AppendMessageRequest, caller: Caller, key: IdempotencyKey) -> messages.Append:
    """Add a message."""
    return messages.Append(
        caller,
        key,
        request.conversation_id,
        request.text,
        resources.AUTHORS_BY_VALUE[request.author],
        resources.citations(request.citations),
        request.turn_id,
    )


def to_append_events(request: pb.AppendEventsRequest, caller: Caller, key: IdempotencyKey) -> messages.AppendTurnEvents:
    """Add events of a turn. Raises InvalidInput."""
    return messages.AppendTurnEvents(caller, key, request.conversation_id, to_turn_events(request.events))


def to_list_messages(request: pb.ListMessagesRequest, caller: Caller) -> messages.ListPage:
    """List messages. Raises InvalidPageToken."""
    after = 0
    if request.page_token:
        offset = pagination.decode(request.page_token, _message_filters(request)).get("offset")
        if not isinstance(offset, int) or isinstance(offset, bool) or not 0 <= offset < 1 << 62:
            raise InvalidPageToken
        after = offset
    return messages.ListPage(caller, request.conversation_id, after, request.page_size or DEFAULT_PAGE_SIZE)


def list_messages_response(request: pb.ListMessagesRequest, page: messages.Page) -> pb.ListMessagesResponse:
    """A page of messages."""
    response = pb.ListMessagesResponse(messages=[resources.message(one) for one in page.messages])
    if page.next_offset is not None:
        response.next_page_token = pagination.encode({"offset": page.next_offset}, _message_filters(request))
    if page.watch_from is not None:
        response.last_offset = page.watch_from
    return response


def to_context(request: pb.GetContextRequest, caller: Caller) -> context.GetContext:
    """Read the newest messages that fit."""
    return context.GetContext(caller, request.conversation_id, request.model, request.max_tokens)


def context_response(found: context.Context) -> pb.GetContextResponse:
    """The newest messages that fit."""
    return pb.GetContextResponse(
        messages=[resources.message(one) for one in found.messages],
        tokens=found.tokens,
        truncated=found.truncated,
    )


def to_watch(request: pb.WatchRequest, caller: Caller) -> Watch:
    """Stream events."""
    return Watch(caller, request.conversation_id, request.from_offset)


def to_typing(request: pb.SetTypingRequest, caller: Caller) -> messages.SetTyping:
    """Tell who types."""
    author = resources.AUTHORS_BY_VALUE.get(request.author)
    return messages.SetTyping(caller, request.conversation_id, request.typing, author)


def to_rate(request: pb.RateMessageRequest, caller: Caller) -> messages.Rate:
    """Rate an answer."""
    return messages.Rate(caller, request.message_id, resources.RATINGS_BY_VALUE[request.rating])


def to_responder(request: pb.SetResponderRequest, caller: Caller) -> conversations.SetResponder:
    """Set who answers."""
    return conversations.SetResponder(caller, request.conversation_id, resources.RESPONDERS_BY_VALUE[request.responder])


def to_link(request: pb.LinkTicketRequest, caller: Caller) -> conversations.LinkTicket:
    """Link a ticket."""
    ticket = TicketLinked(request.ticket_id, request.ticket_number, request.subject)
    return conversations.LinkTicket(caller, request.conversation_id, ticket)


def append_response(message: Message) -> pb.AppendMessageResponse:
    """The message that was added."""
    return pb.AppendMessageResponse(message=resources.message(message))


def _conversation_filters(request: pb.ListConversationsRequest, caller: Caller) -> pagination.Filters:
    return {
        "list": "conversations",
        "state": request.state,
        "organization": caller.organization_id,
        "user": caller.user_id,
    }


def _message_filters(request: pb.ListMessagesRequest) -> pagination.Filters:
    return {"list": "messages", "conversation": request.conversation_id}
