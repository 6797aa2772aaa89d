"""What a turn shows of the models that took part in it."""

from collections.abc import Sequence
from dataclasses import replace

from services.common.spending import BudgetExceeded, Usage
from services.orchestrator.domain import CallFigures, Decision, Outcome, Step

RANKING = "score"


def has_answered(outcome: Outcome | None) -> bool | None:
    """Whether a turn answered from passages; None when it failed."""
    return None if outcome is None else outcome.decision is Decision.ANSWER and bool(outcome.citations)


def figures(steps: Sequence[Step], *, answered: bool | None) -> tuple[CallFigures, ...]:
    """The calls of models whose version is known; `answered` is None when the turn failed.

    Ranked sentences are grounded when the turn answered and cited: then one of them was sure enough to be the answer.
    """
    found = []
    for step in steps:
        call = step.call
        if call is None or not call.version:
            continue
        if step.name == RANKING and not step.error_reason:
            call = replace(call, grounded=answered)
        # Where the budget ended it is not the model that failed.
        error = "" if step.error_reason == BudgetExceeded.reason else step.error_reason
        found.append(CallFigures(step.name, step.model, call, error, step.usage or Usage()))
    return tuple(found)
