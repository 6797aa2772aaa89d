"""Conversations, messages and what describes them."""

from collections.abc import Iterable

from deskmesh.sessions.v1 import conversation_pb2, message_pb2
from services.sessions.domain import Author, Citation, Conversation, Message, Rating, Responder, State

STATES = {
    State.OPEN: conversation_pb2.CONVERSATION_STATE_OPEN,
    State.CLOSED: conversation_pb2.CONVERSATION_STATE_CLOSED,
    State.EXPIRED: conversation_pb2.CONVERSATION_STATE_EXPIRED,
}
RESPONDERS = {
    Responder.ASSISTANT: conversation_pb2.RESPONDER_ASSISTANT,
    Responder.HUMAN: conversation_pb2.RESPONDER_HUMAN,
}
AUTHORS = {
    Author.CUSTOMER: message_pb2.AUTHOR_CUSTOMER,
    Author.ASSISTANT: message_pb2.AUTHOR_ASSISTANT,
    Author.AGENT: message_pb2.AUTHOR_AGENT,
    Author.SYSTEM: message_pb2.AUTHOR_SYSTEM,
}
RATINGS = {
    None: message_pb2.RATING_UNSPECIFIED,
    Rating.UP: message_pb2.RATING_UP,
    Rating.DOWN: message_pb2.RATING_DOWN,
}

STATES_BY_VALUE = {value: state for state, value in STATES.items()}
RESPONDERS_BY_VALUE = {value: responder for responder, value in RESPONDERS.items()}
AUTHORS_BY_VALUE = {value: author for author, value in AUTHORS.items()}
RATINGS_BY_VALUE = {value: rating for rating, value in RATINGS.items()}


def conversation(of: Conversation) -> conversation_pb2.Conversation:
    """A conversation as the contract tells it."""
    message = conversation_pb2.Conversation(
        id=of.id,
        customer_id=of.customer_id,
        title=of.title,
        state=STATES[of.state],
        responder=RESPONDERS[of.responder],
        ticket_ids=of.ticket_ids,
        last_offset=of.last_offset,
    )
    message.idle_timeout.FromTimedelta(of.idle_timeout)
    message.created_at.FromDatetime(of.created_at)
    message.last_activity_at.FromDatetime(of.last_activity_at)
    if of.closed_at is not None:
        message.closed_at.FromDatetime(of.closed_at)
    return message


def message(of: Message) -> message_pb2.Message:
    """A message as the contract tells it."""
    told = message_pb2.Message(
        id=of.id,
        conversation_id=of.conversation_id,
        author=AUTHORS[of.author],
        user_id=of.user_id,
        text=of.text,
        citations=[citation(one) for one in of.citations],
        turn_id=of.turn_id,
        rating=RATINGS[of.rating],
        offset=of.offset,
    )
    told.created_at.FromDatetime(of.created_at)
    return told


def citation(of: Citation) -> message_pb2.Citation:
    """A citation as the contract tells it."""
    return message_pb2.Citation(
        article_id=of.article_id,
        title=of.title,
        passage=of.passage,
        url=of.url,
        passage_id=of.passage_id,
        article_version=of.article_version,
        heading=of.heading,
    )


def citations(told: Iterable[message_pb2.Citation]) -> tuple[Citation, ...]:
    """Citations as the domain holds them."""
    return tuple(
        Citation(
            article_id=one.article_id,
            title=one.title,
            passage=one.passage,
            url=one.url,
            passage_id=one.passage_id,
            article_version=one.article_version,
            heading=one.heading,
        )
        for one in told
    )
