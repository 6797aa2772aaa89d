"""No sentence goes out that its passage does not say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orchestrator.answering.grounding import is_grounded, is_quoted, numbers

PASSAGE = (
    "Standard delivery costs £3.95 per order and takes 3 to 5 working days. Orders worth £60 or more travel free of "
    "charge. Harrow Post carries every parcel, but never on Sundays."
)


@pytest.mark.parametrize(
    "sentence",
    [
        "Standard delivery costs £3.95 per order and takes 3 to 5 working days.",
        "Delivery takes three to five working days.",
        "Orders of £60 or more travel free.",
        "Parcels are carried by Harrow Post.",
    ],
)
def test_what_the_passage_says(sentence: str) -> None:
    assert is_grounded(sentence, [PASSAGE])


@pytest.mark.parametrize(
    "sentence",
    [
        "Standard delivery costs £4.95 per order.",
        "Delivery takes 24 hours.",
        "Parcels are carried by Royal Mail every day.",
        "You can pay in instalments without interest.",
        "See https://example.com for delivery costs.",
        "Delivery costs <script>alert(1)</script>",
        "",
        "!!!",
    ],
)
def test_what_it_does_not_say(sentence: str) -> None:
    assert not is_grounded(sentence, [PASSAGE])


def test_a_denial_needs_a_denial() -> None:
    assert not is_grounded("Orders do not travel free of charge.", ["Orders travel free of charge."])


def test_facts_of_two_passages_are_not_mixed() -> None:
    assert not is_grounded("Express costs £3.95 per order.", ["Express costs £7.95 per order.", PASSAGE])


def test_numbers_have_one_way_of_writing() -> None:
    assert numbers("£1,500 or 12 %, three times") == {"£1500", "12%", "3"}


@given(st.integers(0, 10_000))
def test_a_number_that_is_not_there_is_never_let_through(number: int) -> None:
    sentence = f"Standard delivery takes {number} working days."
    assert is_grounded(sentence, [PASSAGE]) == (str(number) in {"3", "5"})


@given(st.integers(0, len(PASSAGE)), st.integers(1, 60), st.sampled_from([" ", "  ", "\n"]))
def test_quotations_are_verbatim_but_for_white_space(start: int, length: int, space: str) -> None:
    piece = PASSAGE[start : start + length]
    assert is_quoted(piece.replace(" ", space), [PASSAGE]) == bool(piece.strip())
    assert not is_quoted(f"{piece} and more of it", [PASSAGE])
