"""Passages become sentences that can be quoted alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orchestrator.answering.sentences import split_passage, split_text, take_sentences
from tests.unit.orchestrator.passages import passage


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("It costs £3.95. It takes 3 days.", ["It costs £3.95.", "It takes 3 days."]),
        ("Ask e.g. Mr. Smith. He knows.", ["Ask e.g. Mr. Smith.", "He knows."]),
        ('Press "Return." Then wait!', ['Press "Return."', "Then wait!"]),
        ("Is it free? £60 makes it so.", ["Is it free?", "£60 makes it so."]),
        ("The hours are 9.30 to 17.00 daily", ["The hours are 9.30 to 17.00 daily"]),
        ("  \n ", []),
    ],
)
def test_prose(text: str, sentences: list[str]) -> None:
    assert split_text(text) == sentences


def test_lists_and_tables_keep_their_lines() -> None:
    text = "Bring:\n- Your card.\n- The order number.\n\nKeswick: Sunday 10:00 to 16:00; Monday closed."
    found = split_passage(passage("one", text))
    assert [one.text for one in found] == [
        "Bring:",
        "Your card.",
        "The order number.",
        "Keswick: Sunday 10:00 to 16:00; Monday closed.",
    ]
    assert [one.position for one in found] == [0, 1, 2, 3]
    assert [one.paragraph for one in found] == [0, 1, 2, 3]


def test_a_sentence_is_whole_when_the_next_has_begun() -> None:
    assert take_sentences("It costs £3.") == ([], "It costs £3.")
    assert take_sentences("It costs £3. It ") == (["It costs £3."], "It ")


@given(st.text(alphabet="Ab1 .!?\"'\n£", max_size=80))
def test_nothing_is_lost_or_made_up(text: str) -> None:
    assert "".join("".join(split_text(text)).split()) == "".join(text.split())


@given(st.text(alphabet="Ab1 .!?", max_size=80), st.integers(0, 80))
def test_pieces_come_to_the_same_as_the_whole(text: str, cut: int) -> None:
    first, rest = take_sentences(text[:cut])
    second, rest = take_sentences(rest + text[cut:])
    assert [*first, *second, *filter(None, [rest.strip()])] == split_text(text)
