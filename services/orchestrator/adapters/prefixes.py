"""The beginnings of prompts as numbers, by which the router sends prompts that begin alike to one replica's cache."""

import hashlib
from collections.abc import Sequence

# About 64 tokens of English. Whatever model serves, equal texts become equal tokens.
BLOCK_CHARACTERS = 256
MOST_BLOCKS = 256


def prefix_blocks(texts: Sequence[str]) -> list[int]:
    """A hash of 64 bits for each whole block of a prompt's messages, over everything up to the end of the block.

    At most 256; what is left of the last block counts for nothing.
    """
    whole = "\0".join(texts)
    running, found = hashlib.blake2b(digest_size=8), []
    for start in range(0, len(whole) - BLOCK_CHARACTERS + 1, BLOCK_CHARACTERS)[:MOST_BLOCKS]:
        running.update(whole[start : start + BLOCK_CHARACTERS].encode(errors="surrogatepass"))
        found.append(int.from_bytes(running.digest()))
    return found
