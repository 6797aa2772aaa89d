"""Asks the router for a model, with all that it can use to choose one."""

from services.common.errors import Unavailable
from services.orchestrator.domain import Turn
from services.orchestrator.errors import ModelNotFound, ModelOverloaded
from services.orchestrator.ports import Ability, Need, Prompt, Route
from services.orchestrator.workflow.rank import SCORE_SECONDS, SENTENCE_TOKENS
from services.orchestrator.workflow.record import Recorder
from services.orchestrator.workflow.services import Services

CHARACTERS_A_TOKEN = 4


async def choose_ranker(turn: Turn, question: str, priority: int, services: Services, record: Recorder) -> Route | None:
    """The model that says which sentences answer; None when there is none, so that the turn does without.

    Raises ModelOverloaded.
    """
    need = Need(
        organization_id=turn.customer.organization_id,
        conversation_id=turn.conversation_id,
        ability=Ability.RANK,
        prompt_tokens=SENTENCE_TOKENS + len(question) // CHARACTERS_A_TOKEN,
        completion_tokens=1,
        within_seconds=min(SCORE_SECONDS, services.turn_seconds - record.seconds),
        maximum_cost=services.maximum_cost,
        may_wait=True,
        priority=priority,
    )
    return await _choose("route", need, services, record)


async def choose_writer(
    turn: Turn, prompt: Prompt, priority: int, services: Services, record: Recorder, *, above: str = ""
) -> Route | None:
    """The model that words the answer freely, where the prompt's beginning is cached if possible.

    `above`: the model whose answer was not good enough. None when none may or none has room: then passages are quoted.
    """
    need = Need(
        organization_id=turn.customer.organization_id,
        conversation_id=turn.conversation_id,
        ability=Ability.WORD,
        prompt=prompt,
        prompt_tokens=estimated_tokens(prompt),
        completion_tokens=prompt.maximum_tokens,
        # Half of what is left: after that there must be time to quote instead.
        within_seconds=(services.turn_seconds - record.seconds) / 2,
        maximum_cost=services.maximum_cost,
        escalate_from=above,
        may_wait=True,
        priority=priority,
    )
    try:
        return await _choose("route_wording", need, services, record)
    except ModelOverloaded:
        return None


def estimated_tokens(prompt: Prompt) -> int:
    """Tokens of a prompt, until a model counts them itself."""
    return (len(prompt.system) + len(prompt.user)) // CHARACTERS_A_TOKEN


async def _choose(step: str, need: Need, services: Services, record: Recorder) -> Route | None:
    async with record.step(step) as notes:
        try:
            route = await services.models.route(need)
        except ModelNotFound:
            # No failure: the target has no model that may.
            notes.details["reason"] = "no model fits"
            return None
        except Unavailable as error:
            notes.error_reason = error.reason
            return None
        notes.model = route.model
        notes.details["reason"] = route.reason
        notes.details["replica"] = route.replica
        if route.place:
            notes.details["waited"] = f"{route.waited_seconds:.3f} s from place {route.place}"
        return route
