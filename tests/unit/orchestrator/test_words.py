"""Words, their other names, and the kinds of answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orchestrator.answering.kinds import Kind, answers_kind, kind_of
from services.orchestrator.answering.lexicon import Rarity, translated, translations, words


def test_words_that_mean_something() -> None:
    assert words("How long does the delivery of my parcels take?") == words("deliveries parcel takes")
    assert words("the of and") == []


def test_rare_words_weigh_more() -> None:
    rarity = Rarity.of([words(text) for text in ("parcel lost", "parcel late", "parcel damaged")])
    asked = words("parcel lost")
    assert rarity.overlap(asked, words("a lost thing")) > rarity.overlap(asked, words("a parcel"))
    assert rarity.overlap(asked, asked) == pytest.approx(1.0)
    assert rarity.overlap([], asked) == 0.0


@given(st.text(max_size=60), st.text(max_size=60))
def test_overlap_is_a_share(one: str, other: str) -> None:
    assert 0.0 <= Rarity.of([words(one), words(other)]).overlap(words(one), words(other)) <= 1.0 + 1e-9


def test_customers_words_have_other_names() -> None:
    assert "cryptocurrency" in translations("do u take bitcoin")
    assert translated("Do you take bitcoin?").startswith("Do you take bitcoin? (")
    assert translated("Where is the invoice?") == "Where is the invoice?"


def test_only_whole_words_are_translated() -> None:
    assert "friend" not in translations("the ultimate material")


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("How long does delivery take?", Kind.DURATION),
        ("by when do I have to tell you", Kind.DURATION),
        ("What does it cost?", Kind.MONEY),
        ("do i owe you the rest", Kind.MONEY),
        ("When do you open?", Kind.TIME),
        ("How many cards can I use?", Kind.NUMBER),
        ("how long can my note be", Kind.NUMBER),
        ("can I wash it", Kind.PERMISSION),
        ("Which courier is it?", Kind.OPEN),
        ("What does the number look like?", Kind.OPEN),
    ],
)
def test_what_a_question_asks_for(question: str, kind: Kind) -> None:
    assert kind_of(question) is kind


@pytest.mark.parametrize(
    ("kind", "sentence", "fits"),
    [
        (Kind.DURATION, "It takes 3 to 5 working days.", True),
        (Kind.DURATION, "It costs £3.95.", False),
        (Kind.MONEY, "It costs £3.95.", True),
        (Kind.MONEY, "It takes 3 to 5 working days.", False),
        (Kind.PERMISSION, "Gift cards cannot be returned.", True),
        (Kind.OPEN, "Anything at all.", True),
    ],
)
def test_what_a_sentence_has(kind: Kind, sentence: str, fits: bool) -> None:
    assert answers_kind(kind, sentence) is fits
