"""Texts as vectors, by their words."""

import hashlib
import re
from typing import Any

import numpy as np

DIMENSION = 384


def words_of(text: str) -> set[str]:
    """Words in lower case, without the commonest."""
    common = {"the", "a", "of", "to", "is", "do", "does", "for", "what", "how", "i", "it", "my", "from"}
    return set(re.findall(r"[a-z0-9£]+", text.lower())) - common


def embedding(text: str) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """A vector of length one in which shared words make texts near."""
    vector = np.full(DIMENSION, 1e-3, dtype=np.float32)
    for word in words_of(text):
        vector[int.from_bytes(hashlib.sha256(word.encode()).digest()[:4]) % DIMENSION] += 1.0
    return vector / np.float32(np.linalg.norm(vector))


def search_embedding(text: str) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """The same as a model for search sees it: even texts that share nothing have a cosine of a half."""
    return np.append(embedding(text), 1.0).astype(np.float32) / np.float32(2**0.5)
