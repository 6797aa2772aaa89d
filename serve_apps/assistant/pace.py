"""How fast a replica has lately been, for the router's guess at when an answer will be whole."""

WEIGHT = 0.1


class Pace:
    """Moving averages over answers: seconds to the first token, waiting included, and for each one after it."""

    def __init__(self) -> None:
        self.first_token_seconds = 0.0
        self.token_seconds = 0.0

    def answered(self, first_token_seconds: float, whole_seconds: float, tokens: int) -> None:
        """An answer of so many tokens came to its end."""
        self.first_token_seconds = _moved(self.first_token_seconds, first_token_seconds)
        if tokens > 1:
            self.token_seconds = _moved(self.token_seconds, (whole_seconds - first_token_seconds) / (tokens - 1))


def _moved(average: float, value: float) -> float:
    return average + WEIGHT * (value - average) if average else value
