"""What a new version is judged by: its replicas' errors, customers' turns, and how these rate answers. Pure.

While it serves, a turn counts for each version of a model that took part in it. Both versions are looked at since the
new one got its first share: the same minutes' customers, on the same machines. In the shadow it repeats turns that the
old one had, and each of these counts for both.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from statistics import median

from services.models.gates import Gate
from services.models.limits import Limits, TooFew

# Steps of a turn that call models, and what the time until these begin to answer is called.
_BEGINNINGS = {"word": "first token of turns", "score": "ranking of turns"}


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a version of a model in a turn of a customer.

    `step` is "score" or "word"; `error` is empty unless it failed. `first_token_seconds` is None when nothing came,
    `tokens_per_second` 0 when one token did, `grounded` None when it cannot be said. `tenant` is the organization.
    In the `shadow` it was repeated, and nobody was shown what came of it; only then its tokens are known.
    """

    turn_id: str
    step: str
    model: str
    version: str
    error: str = ""
    first_token_seconds: float | None = None
    tokens_per_second: float = 0.0
    grounded: bool | None = None
    tenant: str = ""
    shadow: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """Turns that ended since a moment. `ratings` say by turn whether its answer helped."""

    calls: Sequence[Call] = ()
    ratings: Mapping[str, bool] = field(default_factory=dict)

    def of(self, model: str, version: str, named: Collection[str] = ()) -> "Side":
        """What was seen of a version; `named` are tenants that the new one serves whole."""
        turns = self._turns(model, version)
        drawn = {turn: calls for turn, calls in turns.items() if calls[0].tenant not in named}
        rated = [self.ratings[turn] for turn in drawn if turn in self.ratings]
        return Side(list(turns.values()), list(drawn.values()), rated)

    def repeated(self, model: str, new: str, old: str) -> tuple["Side", "Side"]:
        """What the new version did in the shadow, and what the old one had done in the same turns."""
        tried, known = self._turns(model, new, shadow=True), self._turns(model, old)
        both = [turn for turn in tried if turn in known]
        sides = ([turns[turn] for turn in both] for turns in (tried, known))
        first, second = (Side(turns, turns, ()) for turns in sides)
        return first, second

    def shadow_tokens(self, model: str, version: str) -> tuple[int, int]:
        """Tokens of prompts and tokens written by all that a version did in the shadow."""
        calls = [call for calls in self._turns(model, version, shadow=True).values() for call in calls]
        return sum(call.prompt_tokens for call in calls), sum(call.completion_tokens for call in calls)

    def _turns(self, model: str, version: str, *, shadow: bool = False) -> dict[str, list[Call]]:
        """The calls of a version, turn by turn."""
        turns: dict[str, list[Call]] = {}
        for call in self.calls:
            if (call.model, call.version, call.shadow) == (model, version, shadow):
                turns.setdefault(call.turn_id, []).append(call)
        return turns


@dataclass(frozen=True, slots=True)
class Side:
    """A version's calls, turn by turn, and whether those of its answers helped that were rated.

    `drawn` are the turns whose version was drawn by lot, as were those of the `ratings`: only these can say what is
    answered well, as tenants have other help centres and other customers.
    """

    turns: Sequence[Sequence[Call]]
    drawn: Sequence[Sequence[Call]]
    ratings: Sequence[bool]

    @property
    def failed(self) -> list[bool]:
        """Of every turn whether a call failed."""
        return [any(call.error for call in turn) for turn in self.turns]

    @property
    def ungrounded(self) -> list[bool]:
        """Of every drawn turn that can say so whether what came of a call rests on nothing."""
        said = ([call.grounded for call in turn if call.grounded is not None] for turn in self.drawn)
        return [not all(grounded) for grounded in said if grounded]

    def beginnings(self, step: str) -> list[float]:
        """Seconds until calls of a step began to answer."""
        calls = (call for turn in self.turns for call in turn if call.step == step)
        return [call.first_token_seconds for call in calls if call.first_token_seconds is not None]

    @property
    def paces(self) -> list[float]:
        """Tokens a second of each answer that was worded to its end; 0 of those of one token, or of none."""
        worded = (call for turn in self.turns for call in turn if call.step == "word" and not call.error)
        return [call.tokens_per_second for call in worded]


def judge_replicas(answered: int, broken: int, limits: Limits) -> tuple[Gate, ...]:
    """The gate by what replicas say of themselves; counts since they began."""
    share = broken / max(answered + broken, 1)
    said = f"{broken} of {answered + broken} requests failed"
    return (Gate("live errors", share <= limits.live_error_share, share, limits.live_error_share, said),)


def judge_turns(new: Side, old: Side, limits: Limits) -> tuple[Gate, ...]:
    """The gates by the turns of customers."""
    few = _few("turns", len(new.turns), len(old.turns), limits.least_turns, limits.few_turns)
    if min(len(new.turns), len(old.turns)) < limits.least_turns:
        return (few,)
    gates = [
        few,
        _share("failed turns", "failed", new.failed, old.failed, limits.failed_slack, limits),
        _grounded(new.ungrounded, old.ungrounded, limits),
        *(_beginning(name, new.beginnings(step), old.beginnings(step), limits) for step, name in _BEGINNINGS.items()),
        _pace(new.paces, old.paces, limits),
    ]
    return tuple(gate for gate in gates if gate is not None)


def judge_shadow(new: Side, old: Side, limits: Limits) -> tuple[Gate, ...]:
    """The gates by turns of customers that were repeated in the shadow: those of turns, by limits of their own."""
    few = {"least_turns": limits.least_shadow_turns, "few_turns": limits.few_shadow_turns}
    judged = judge_turns(new, old, limits.model_copy(update=few))
    return tuple(replace(gate, name=f"{gate.name} in the shadow") for gate in judged)


def shadow_cost(prompt_tokens: int, completion_tokens: int, prompt_price: float, completion_price: float) -> Gate:
    """What repeating cost, which no customer pays; prices of a million tokens. It never fails."""
    cost = (prompt_tokens * prompt_price + completion_tokens * completion_price) / 1e6
    said = f"{cost:g} for {prompt_tokens} tokens of prompts and {completion_tokens} written; no customer pays for it"
    return Gate("cost of the shadow", passed=True, value=cost, limit=0.0, explanation=said)


def judge_ratings(new: Side, old: Side, limits: Limits) -> tuple[Gate, ...]:
    """The gate by what customers think of the answers."""
    if min(len(new.ratings), len(old.ratings)) < limits.least_ratings:
        return (_few("feedback", len(new.ratings), len(old.ratings), limits.least_ratings, limits.few_ratings),)
    worse, known = ([not helped for helped in side.ratings] for side in (new, old))
    return (_share("feedback", "did not help", worse, known, limits.feedback_slack, limits),)


def _few(name: str, new: int, old: int, least: int, rule: TooFew) -> Gate:
    """Whether there is enough to compare."""
    things = "ratings" if name == "feedback" else name
    if min(new, old) >= least:
        said = f"{new} {things} of it compared with {old} of what serves"
        return Gate(name, passed=True, value=new, limit=least, explanation=said)
    then = "it is kept where it is" if rule is TooFew.HOLD else "it goes on without"
    said = f"not enough {things} to compare, {new} of it and {old} of what serves, {least} of each are needed: {then}"
    return Gate(name, passed=True, value=new, limit=least, explanation=said, undecided=rule is TooFew.HOLD)


def _grounded(new: Sequence[bool], old: Sequence[bool], limits: Limits) -> Gate | None:
    if min(len(new), len(old)) < limits.least_turns:
        return None
    return _share("grounded turns", "rest on nothing", new, old, limits.grounded_slack, limits)


def _share(name: str, words: str, new: Sequence[bool], old: Sequence[bool], slack: float, limits: Limits) -> Gate:
    """Whether what is bad is more of all than today, by more than is allowed and more than chance does."""
    value, base = sum(new) / len(new), sum(old) / len(old)
    both = (sum(new) + sum(old)) / (len(new) + len(old))
    chance = limits.standard_errors * sqrt(both * (1 - both) * (1 / len(new) + 1 / len(old)))
    limit = min(base + max(slack, chance), 1.0)
    said = f"{sum(new)} of {len(new)} {words}, at most {limit:.0%}; now {sum(old)} of {len(old)}"
    return Gate(name, value <= limit, value, limit, said)


def _beginning(name: str, new: Sequence[float], old: Sequence[float], limits: Limits) -> Gate | None:
    if min(len(new), len(old)) < limits.least_turns:
        return None
    value, base = median(new), median(old)
    limit = base * limits.first_token_factor + limits.first_token_slack_seconds
    return Gate(name, value <= limit, value, limit, f"{value:.2f} s, at most {limit:.2f} s; now {base:.2f} s")


def _pace(new: Sequence[float], old: Sequence[float], limits: Limits) -> Gate | None:
    if min(len(new), len(old)) < limits.least_turns:
        return None
    known = [pace for pace in old if pace]
    # An answer of one token has no pace; but where what serves has one, all answers cannot be of one token.
    value, base = median([pace for pace in new if pace] or [0.0]), median(known or [0.0])
    limit = base * limits.pace_factor
    said = f"{value:.1f}, at least {limit:.1f}; now {base:.1f}"
    return Gate("tokens/s of turns", value >= limit, value, limit, said)
