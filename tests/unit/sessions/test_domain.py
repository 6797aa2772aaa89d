"""What a conversation allows, and what it tells of what happened."""

from datetime import UTC, datetime, timedelta

import pytest

from services.sessions.domain import (
    Author,
    Closed,
    Conversation,
    Message,
    MessageAdded,
    MessageRated,
    Rating,
    Responder,
    ResponderChanged,
    State,
    TicketLinked,
    TurnEvent,
    title_of,
)
from services.sessions.errors import AuthorNotAllowed, ConversationClosed, NotAnAnswer

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)


def conversation(title: str = "") -> Conversation:
    return Conversation.begin(
        conversation_id="cnv_1",
        organization_id="org_1",
        customer_id="usr_customer",
        title=title,
        idle_timeout=timedelta(minutes=10),
        at=NOW,
    )


def say(to: Conversation, author: Author, text: str = "Hello there", *, user_id: str = "usr_customer") -> Message:
    return to.add_message(message_id="msg_1", author=author, user_id=user_id, text=text, at=LATER)


def kinds(of: Conversation) -> list[str]:
    return [entry.event.kind for entry in of.entries]


def test_offsets_count_from_one_without_gaps() -> None:
    talk = conversation()
    say(talk, Author.CUSTOMER)
    talk.add_turn_events(
        [("trn_1", TurnEvent("turn_started", b"")), ("trn_1", TurnEvent("turn_finished", b""))], at=NOW
    )
    talk.close(at=NOW)
    assert [entry.offset for entry in talk.entries] == [1, 2, 3, 4]
    assert talk.last_offset == 4


def test_a_message_carries_the_offset_of_its_entry() -> None:
    talk = conversation()
    message = say(talk, Author.CUSTOMER)
    assert message.offset == 1
    assert talk.entries[0].event == MessageAdded(message)


def test_the_first_message_gives_the_title() -> None:
    talk = conversation()
    say(talk, Author.CUSTOMER, "Where is\nmy parcel?")
    say(talk, Author.CUSTOMER, "Anybody?")
    assert talk.title == "Where is my parcel?"


def test_a_given_title_stays() -> None:
    talk = conversation("Delivery")
    say(talk, Author.CUSTOMER)
    assert talk.title == "Delivery"


def test_a_long_title_is_cut_at_a_word() -> None:
    title = title_of("word " * 40)
    assert len(title) <= 80
    assert title.endswith("word…")


def test_a_title_without_words_is_cut_anywhere() -> None:
    assert title_of("x" * 200) == "x" * 79 + "…"


def test_writing_keeps_a_conversation_alive() -> None:
    talk = conversation()
    assert talk.expires_at == NOW + timedelta(minutes=10)
    say(talk, Author.CUSTOMER)
    assert (talk.last_activity_at, talk.expires_at) == (LATER, LATER + timedelta(minutes=10))


def test_a_turn_keeps_it_alive_though_nobody_wrote() -> None:
    talk = conversation()
    talk.add_turn_events([("trn_1", TurnEvent("answer_delta", b""))], at=LATER)
    assert (talk.last_activity_at, talk.expires_at) == (NOW, LATER + timedelta(minutes=10))


def test_an_agent_who_writes_takes_over() -> None:
    talk = conversation()
    say(talk, Author.AGENT, user_id="usr_agent")
    say(talk, Author.AGENT, user_id="usr_agent")
    assert talk.responder is Responder.HUMAN
    assert kinds(talk) == ["message_added", "responder_changed", "message_added"]


def test_only_people_are_named() -> None:
    talk = conversation()
    assert say(talk, Author.ASSISTANT).user_id == ""
    assert say(talk, Author.SYSTEM).user_id == ""
    assert say(talk, Author.CUSTOMER).user_id == "usr_customer"


def test_nobody_else_speaks_for_the_customer() -> None:
    talk = conversation()
    with pytest.raises(AuthorNotAllowed):
        say(talk, Author.CUSTOMER, user_id="usr_agent")
    assert talk.entries == []


def test_a_closed_conversation_takes_nothing_more() -> None:
    talk = conversation()
    assert talk.close(at=LATER)
    with pytest.raises(ConversationClosed):
        say(talk, Author.CUSTOMER)
    with pytest.raises(ConversationClosed):
        talk.add_turn_events([("trn_1", TurnEvent("answer_delta", b""))], at=LATER)
    with pytest.raises(ConversationClosed):
        talk.answer_by(Responder.HUMAN, at=LATER)
    assert not talk.close(at=LATER + timedelta(hours=1))
    assert (talk.state, talk.closed_at, kinds(talk)) == (State.CLOSED, LATER, ["conversation_closed"])


def test_expiry_is_told_apart_from_closing() -> None:
    talk = conversation()
    talk.close(at=LATER, expired=True)
    assert talk.state is State.EXPIRED
    assert talk.entries[0].event == Closed(expired=True)


def test_the_same_responder_is_no_news() -> None:
    talk = conversation()
    talk.answer_by(Responder.ASSISTANT, at=LATER)
    assert talk.entries == []
    talk.answer_by(Responder.HUMAN, at=LATER)
    assert talk.entries[0].event == ResponderChanged(Responder.HUMAN)


def test_a_ticket_is_linked_once_also_after_closing() -> None:
    talk = conversation()
    talk.close(at=NOW)
    ticket = TicketLinked("tkt_1", 7, "Broken zip")
    talk.link_ticket(ticket, at=LATER)
    talk.link_ticket(ticket, at=LATER)
    assert talk.ticket_ids == ("tkt_1",)
    assert kinds(talk) == ["conversation_closed", "ticket_linked"]


def test_a_rating_is_told_when_it_changes() -> None:
    talk = conversation()
    answer = say(talk, Author.ASSISTANT)
    assert talk.rate(answer, Rating.UP, at=LATER)
    assert not talk.rate(answer, Rating.UP, at=LATER)
    assert talk.rate(answer, None, at=LATER)
    assert [entry.event for entry in talk.entries[1:]] == [
        MessageRated("msg_1", Rating.UP),
        MessageRated("msg_1", None),
    ]


def test_only_answers_are_rated() -> None:
    talk = conversation()
    with pytest.raises(NotAnAnswer):
        talk.rate(say(talk, Author.CUSTOMER), Rating.UP, at=LATER)
