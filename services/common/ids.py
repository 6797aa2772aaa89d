"""Identifiers that sort by the time they were made: a prefix, an underscore and a ULID in lower case."""

import os
import threading
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32
RANDOM_BITS = 80
LENGTH = 26


class _Sequence:
    """ULIDs that grow strictly within a process, also within one millisecond."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def next(self) -> int:
        value = (time.time_ns() // 1_000_000) << RANDOM_BITS | int.from_bytes(os.urandom(RANDOM_BITS // 8))
        with self._lock:
            self._last = value if value > self._last else self._last + 1
            return self._last


_sequence = _Sequence()


def new_id(prefix: str) -> str:
    """A new identifier such as "usr_01jd3v9x4m8c2k7q5r6t8w9y0z"; 80 random bits a millisecond."""
    value = _sequence.next()
    digits = [ALPHABET[(value >> shift) & 31] for shift in range(5 * (LENGTH - 1), -1, -5)]
    return f"{prefix}_{''.join(digits)}"
