"""Amounts as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deskmesh_client.money import LARGEST_MICROS, amount_of, micros_of


@given(st.integers(0, LARGEST_MICROS))
def test_an_amount_survives_being_written(micros: int) -> None:
    assert micros_of(amount_of(micros)) == micros


@pytest.mark.parametrize(
    ("micros", "text"), [(12_500_000, "12.50"), (15, "0.000015"), (0, "0.00"), (-1_234_567, "-1.234567")]
)
def test_amounts_are_written_with_as_many_places_as_it_takes(micros: int, text: str) -> None:
    assert amount_of(micros) == text


@pytest.mark.parametrize("text", ["", "ten", "-1", "nan", "inf", "1e30", "0.0000001", "1000000000.000001"])
def test_amounts_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"amount|between|places"):
        micros_of(text)
