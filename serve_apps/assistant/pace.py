"""How fast a replica has lately been, for the router's guess at when an answer will be whole."""

from collections import deque

WEIGHT = 0.1
# Answers that the slow tail is taken from; fewer than the least say nothing.
WINDOW = 200
LEAST = 20


class Pace:
    """Moving averages over answers: seconds to the first token, waiting included, and for each one after it."""

    def __init__(self) -> None:
        self._first_tokens: deque[float] = deque(maxlen=WINDOW)
        self.first_token_seconds = 0.0
        self.token_seconds = 0.0
        # Requests answered, and failed by the model's own fault.
        self.answers = 0
        self.broken = 0

    def answered(self, first_token_seconds: float, whole_seconds: float, tokens: int) -> None:
        """An answer of so many tokens came to its end."""
        self._first_tokens.append(first_token_seconds)
        self.first_token_seconds = _moved(self.first_token_seconds, first_token_seconds)
        if tokens > 1:
            self.token_seconds = _moved(self.token_seconds, (whole_seconds - first_token_seconds) / (tokens - 1))

    @property
    def slow_first_token_seconds(self) -> float:
        """Within which 95 of 100 of the last answers had their first token; 0 when there were too few."""
        if len(self._first_tokens) < LEAST:
            return 0.0
        return sorted(self._first_tokens)[len(self._first_tokens) * 95 // 100]


def _moved(average: float, value: float) -> float:
    return average + WEIGHT * (value - average) if average else value
