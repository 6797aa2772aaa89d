"""What a turn shows of models, from its steps and what it came to."""

import pytest

from services.orchestrator.domain import Call, Citation, Decision, Outcome, Step
from services.orchestrator.workflow.figures import figures, has_answered

CITED = (Citation("art_1", "Returns", "Within 30 days.", "/help/returns", "psg_1", 1, "How long"),)
ANSWERED = Outcome(Decision.ANSWER, "Within 30 days. [1]", CITED)


def step(name: str, error: str = "", call: Call | None = None) -> Step:
    return Step(name, 0.0, 1.0, model="m", error_reason=error, call=call or Call("v1", 0.5))


@pytest.mark.parametrize(
    ("outcome", "grounded"),
    [
        (ANSWERED, True),
        (Outcome(Decision.ANSWER, "Hello!"), False),
        (Outcome(Decision.CLARIFY, "Is it this?", CITED), False),
        (None, None),
    ],
    ids=["cited", "said freely", "asked back", "failed"],
)
def test_ranked_sentences_are_grounded_when_the_turn_answered_from_them(
    outcome: Outcome | None, grounded: bool | None
) -> None:
    (found,) = figures([step("score")], answered=has_answered(outcome))
    assert found.call.grounded is grounded


def test_what_was_worded_says_itself_whether_it_is_grounded() -> None:
    (found,) = figures([step("word", call=Call("v1", 0.5, 20.0, grounded=False))], answered=True)
    assert (found.step, found.model, found.call) == ("word", "m", Call("v1", 0.5, 20.0, grounded=False))


@pytest.mark.parametrize(
    ("reason", "told"),
    [("MODEL_UNAVAILABLE", "MODEL_UNAVAILABLE"), ("CANCELLED", "CANCELLED"), ("BUDGET_EXCEEDED", "")],
)
def test_a_failure_is_told_unless_it_is_the_budgets(reason: str, told: str) -> None:
    (found,) = figures([step("score", error=reason)], answered=True)
    assert (found.error_reason, found.call.grounded) == (told, None)


def test_steps_without_a_model_or_a_known_version_say_nothing() -> None:
    assert figures([Step("judge", 0.0, 0.1), step("score", call=Call(""))], answered=True) == ()
