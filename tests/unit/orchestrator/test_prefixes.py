"""What the router is told of a prompt's beginning."""

from hypothesis import given
from hypothesis import strategies as st

from services.orchestrator.adapters.prefixes import BLOCK_CHARACTERS, MOST_BLOCKS, prefix_blocks

TEXT = st.text(max_size=4 * BLOCK_CHARACTERS)


@given(TEXT, TEXT, TEXT)
def test_prompts_share_blocks_exactly_as_far_as_they_begin_alike(common: str, one: str, other: str) -> None:
    first, second = prefix_blocks([common + one]), prefix_blocks([common + other])
    same = sum(a == b for a, b in zip(first, second, strict=False))
    assert first[:same] == second[:same]
    alike = next(
        (at for at, (a, b) in enumerate(zip(common + one, common + other, strict=False)) if a != b),
        min(len(common + one), len(common + other)),
    )
    assert same == alike // BLOCK_CHARACTERS


def test_messages_are_kept_apart_and_only_so_much_is_said() -> None:
    text = "word " * BLOCK_CHARACTERS
    assert prefix_blocks([text, text]) != prefix_blocks([text + text, ""])
    assert len(prefix_blocks(["x" * BLOCK_CHARACTERS * (MOST_BLOCKS + 5)])) == MOST_BLOCKS
    assert prefix_blocks(["short"]) == []
    assert all(0 <= block < 2**64 for block in prefix_blocks([text]))
