"""What a new version is judged by before it serves anybody. Pure: measurements in, gates out.

Limits come from what serves now, measured at the same time and on the same machine; where nothing serves to compare
with, a measurement passes and says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median

from services.models.limits import Limits


@dataclass(frozen=True, slots=True)
class Gate:
    """A measurement, its limit, and whether it is within. One that is `undecided` waits for more to be seen."""

    name: str
    passed: bool
    value: float
    limit: float
    explanation: str
    undecided: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A golden question as one version answered it.

    `error` is empty when it did, and `busy` says that the failure may be the machine's: too slow, full, not reached.
    `tokens_per_second` is 0 when it wrote but one; `grounded` when it ranked the sentence first that holds the answer.
    `likelihood` is the log probability of that sentence as its answer in a chat, by character, so that tokens of any
    length compare; None when it cannot say.
    """

    error: str = ""
    first_token_seconds: float = 0.0
    tokens_per_second: float = 0.0
    grounded: bool = False
    likelihood: float | None = None
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """A version's answers, and its price of a million tokens written."""

    answers: Sequence[Answer]
    price: float = 0.0


def judge(candidate: Measured, stable: Measured | None, limits: Limits) -> tuple[Gate, ...]:
    """The gates before anybody is served."""
    errors = [one.error for one in candidate.answers if one.error]
    share = len(errors) / max(len(candidate.answers), 1)
    said = f"{len(errors)} of {len(candidate.answers)} golden questions failed" + (f": {errors[0]}" if errors else "")
    good = [one for one in candidate.answers if not one.error]
    # Whatever may be the machine's fault has been asked again: what is left is the candidate's.
    gates = [Gate("errors", bool(good) and not errors, share, 0.0, said)]
    if not good:
        return tuple(gates)
    old = [one for one in stable.answers if not one.error] if stable is not None else []
    gates.append(_first_token(good, old, limits))
    gates.append(_pace(good, old, limits))
    gates.append(_grounded(good, old, limits))
    gates.append(_template(good, old, limits))
    gates.append(_cost(candidate, stable, limits))
    return tuple(gates)


def _first_token(new: Sequence[Answer], old: Sequence[Answer], limits: Limits) -> Gate:
    value = median(one.first_token_seconds for one in new)
    if not old:
        said = f"{value:.2f} s; nothing to compare"
        return Gate("first token", passed=True, value=value, limit=0.0, explanation=said)
    base = median(one.first_token_seconds for one in old)
    limit = base * limits.first_token_factor + limits.first_token_slack_seconds
    return Gate("first token", value <= limit, value, limit, f"{value:.2f} s, at most {limit:.2f} s; now {base:.2f} s")


def _pace(new: Sequence[Answer], old: Sequence[Answer], limits: Limits) -> Gate:
    # An answer of one token has no pace; but where what serves has one, all answers cannot be of one token.
    paces, known = ([one.tokens_per_second for one in side if one.tokens_per_second] for side in (new, old))
    value = median(paces) if paces else 0.0
    if not known:
        return Gate("tokens/s", passed=True, value=value, limit=0.0, explanation=f"{value:.1f}; nothing to compare")
    base = median(known)
    limit = base * limits.pace_factor
    return Gate("tokens/s", value >= limit, value, limit, f"{value:.1f}, at least {limit:.1f}; now {base:.1f}")


def _grounded(new: Sequence[Answer], old: Sequence[Answer], limits: Limits) -> Gate:
    value = sum(one.grounded for one in new) / len(new)
    if not old:
        return Gate("grounded", passed=True, value=value, limit=0.0, explanation=f"{value:.0%}; nothing to compare")
    base = sum(one.grounded for one in old) / len(old)
    limit = max(base - limits.grounded_slack, 0.0)
    return Gate("grounded", value >= limit, value, limit, f"{value:.0%}, at least {limit:.0%}; now {base:.0%}")


def _template(new: Sequence[Answer], old: Sequence[Answer], limits: Limits) -> Gate:
    """Whether it understands what it is asked through its own template: the right answer is likely then."""
    said, known = ([one.likelihood for one in side if one.likelihood is not None] for side in (new, old))
    if not (said and known):
        value = mean(said) if said else 0.0
        return Gate("template", passed=True, value=value, limit=0.0, explanation="nothing to compare")
    value, base = mean(said), mean(known)
    limit = base * limits.likelihood_factor
    words = f"right answers have a log probability of {value:.3f} a character, at least {limit:.3f}; now {base:.3f}"
    return Gate("template", value >= limit, value, limit, words)


def _cost(new: Measured, old: Measured | None, limits: Limits) -> Gate:
    if old is None or not old.price:
        said = f"{new.price:g} a million tokens; nothing to compare"
        return Gate("cost", passed=True, value=new.price, limit=0.0, explanation=said)
    limit = old.price * limits.cost_factor
    said = f"{new.price:g} a million tokens, at most {limit:g}; now {old.price:g}"
    return Gate("cost", new.price <= limit, new.price, limit, said)
