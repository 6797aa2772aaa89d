"""What processes announce to each other survives the way through Redis."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sessions.adapters.notices import decode, encode
from services.sessions.domain import Author, StoredEvent
from services.sessions.ports import Appended, Typing


@given(payloads=st.lists(st.binary(), min_size=1, max_size=5), first=st.integers(1, 10**12), closes=st.booleans())
def test_entries_come_back_as_they_were(payloads: list[bytes], first: int, *, closes: bool) -> None:
    events = tuple(
        StoredEvent("cnv_1", offset, payload, closes=closes) for offset, payload in enumerate(payloads, first)
    )
    back = decode(encode(Appended(events)))
    assert isinstance(back, Appended)
    assert [(one.conversation_id, one.offset, one.payload, one.closes) for one in back.events] == [
        (one.conversation_id, one.offset, one.payload, one.closes) for one in events
    ]


@pytest.mark.parametrize("on", [True, False])
def test_typing_comes_back_as_it_was(*, on: bool) -> None:
    typing = Typing("cnv_1", Author.AGENT, "usr_1", typing=on)
    assert decode(encode(typing)) == typing


@pytest.mark.parametrize(
    "message",
    [b"", b"[]", b"{}", b"\xff\xfe", b"null", b'{"conversation": "c", "first": 1, "sizes": [2, 2], "closes": []}\nabc'],
)
def test_nonsense_is_an_error(message: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        decode(message)
