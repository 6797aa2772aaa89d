"""Small first: a cascade of two models against either of them alone, on the same number of accelerators.

What the models know and how sure they are is assumed, see `Questions`. Who is asked, and who is asked next, is decided
by the router's own code; an answer holds by the orchestrator's rule: its first sentence is borne out and no guess.
"""

import random
from collections import Counter
from dataclasses import dataclass, field, replace

from serve_apps.assistant.config import Cost, ModelConfig
from serve_apps.assistant.engine_config import SimulatedEngineConfig
from serve_apps.assistant.errors import ModelNotFound, ModelOverloaded, ModelUnavailable
from serve_apps.assistant.routing import Query, ReplicaState, choose
from serve_apps.assistant.routing_config import CascadeConfig, RouterConfig
from serve_apps.assistant.simulation.replicas import GPU, Calendar, Replica, Request, Speed, answer_tokens

SMALL, LARGE = "simulated-small", "simulated-large"
# A replica of the large model takes so many accelerators.
LARGE_ACCELERATORS = 4
LARGE_SPEED = Speed(prefill_tokens_per_second=3500.0, token_seconds=0.025, batch_share=0.03)
PROMPT_TOKENS = 1000
# A sentence is checked before it goes out: the first one is what the customer waits for.
SENTENCE_TOKENS = 20
REPORT_SECONDS = 0.5
MODELS = (
    ModelConfig(
        name=SMALL,
        application="small",
        context_length=8000,
        quality=4,
        cost=Cost(input_per_million=0.05, output_per_million=0.2),
        engine=SimulatedEngineConfig(kind="simulated"),
    ),
    ModelConfig(
        name=LARGE,
        application="large",
        context_length=8000,
        quality=8,
        cost=Cost(input_per_million=0.5, output_per_million=2.0),
        engine=SimulatedEngineConfig(kind="simulated"),
    ),
)


@dataclass(frozen=True, slots=True)
class Questions:
    """`rate` a second for `seconds`. A model answers a question well if it is among the share that it `knows`, the
    easiest first. The mean log probability of a good answer is drawn around `sure`, that of a bad one around `unsure`
    (mean, deviation); the check against the passages finds `caught` of the bad ones."""

    rate: float = 1000.0
    seconds: float = 8.0
    small_knows: float = 0.75
    large_knows: float = 0.92
    sure: tuple[float, float] = (-0.6, 0.25)
    unsure: tuple[float, float] = (-1.3, 0.4)
    caught: float = 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """Shares of the questions that came: `good` and `bad` answers went out, `quoted` are those where none held and the
    passages spoke for themselves, `refused` found no room; `escalated` were asked of both. Seconds to the first
    sentence. `cost`: of what the large model alone would have cost."""

    came: int
    good: float
    bad: float
    quoted: float
    refused: float
    escalated: float
    first_sentence_p50: float
    first_sentence_p99: float
    cost: float


@dataclass(slots=True, eq=False)
class _Question:
    came_at: float
    hardness: float
    answer_tokens: int


@dataclass(slots=True, eq=False)
class _Attempt(Request):
    """One model's answer to a question; one that does not hold ends after its first sentence."""

    question: _Question = field(default_factory=lambda: _Question(0.0, 0.0, 1))
    model: ModelConfig = MODELS[0]
    good: bool = False
    holds: bool = False
    may_escalate: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _End:
    attempt: _Attempt
    replica: Replica


class Simulation:
    """One run: the large model has `large_share` of the accelerators. With 0 or 1 one model is alone, else both are a
    cascade. Equal seeds give equal outcomes."""

    def __init__(self, accelerators: int, large_share: float, questions: Questions, seed: int = 1) -> None:
        large = round(accelerators * large_share / LARGE_ACCELERATORS)
        counts = {SMALL: accelerators - large * LARGE_ACCELERATORS, LARGE: large}
        self._questions = questions
        self._draw = random.Random(seed)  # noqa: S311 - chance that can be repeated
        self._models = tuple(model for model in MODELS if counts[model.name] > 0)
        cascade = CascadeConfig(models=(SMALL, LARGE)) if len(self._models) > 1 else None
        self._config = RouterConfig(cascade=cascade)
        self._replicas = {
            model.name: [self._replica(model.name, number) for number in range(counts[model.name])]
            for model in self._models
        }
        self._by_name = {replica.name: replica for own in self._replicas.values() for replica in own}
        self._states: dict[str, list[ReplicaState]] = {}
        self._places: dict[str, int] = {}
        self._calendar = Calendar()
        self._fates: Counter[str] = Counter()
        self._waits: list[float] = []
        self._cost = 0.0

    def run(self) -> Outcome:
        """Until every question has come to something."""
        questions, at, came, full_price = self._questions, 0.0, 0, 0.0
        while (at := at + self._draw.expovariate(questions.rate)) < questions.seconds:
            question = _Question(at, self._draw.random(), answer_tokens(self._draw))
            self._calendar.add(at, question)
            came += 1
            full_price += MODELS[1].cost.of(PROMPT_TOKENS, question.answer_tokens)
        for number in range(int(questions.seconds / REPORT_SECONDS)):
            self._calendar.add(number * REPORT_SECONDS, "report")
        self._report()
        while (event := self._calendar.pop()) is not None:
            self._happen(*event)
        waits = sorted(self._waits) or [0.0]
        share = {name: round(self._fates[name] / max(came, 1), 4) for name in self._fates}
        return Outcome(
            came=came,
            good=share.get("good", 0.0),
            bad=share.get("bad", 0.0),
            quoted=share.get("quoted", 0.0),
            refused=share.get("refused", 0.0),
            escalated=share.get("escalated", 0.0),
            first_sentence_p50=round(waits[len(waits) // 2], 3),
            first_sentence_p99=round(waits[len(waits) * 99 // 100], 3),
            cost=round(self._cost / full_price, 3) if full_price else 0.0,
        )

    def _replica(self, model: str, number: int) -> Replica:
        speed = GPU if model == SMALL else LARGE_SPEED
        return Replica(f"{model}:{number}", speed, slots=32, queue=64, cache_blocks=0)

    def _happen(self, at: float, what: object) -> None:
        match what:
            case _Question():
                self._ask(what, at)
            case _End(attempt, replica):
                if (following := replica.end(at)) and isinstance(following[0], _Attempt):
                    self._begun(following[0], replica, following[1])
                self._ended(attempt, at)
            case _:
                self._report()

    def _ask(self, question: _Question, now: float, escalate_from: str = "") -> None:
        query = Query(prompt_tokens=PROMPT_TOKENS, completion_tokens=200, escalate_from=escalate_from)
        try:
            choice = choose(self._config, self._models, self._states, query, self._draw)
        except (ModelOverloaded, ModelUnavailable, ModelNotFound):
            self._nobody(question, now, asked_before=bool(escalate_from))
            return
        states, place = self._states[choice.model.name], self._places[choice.replica]
        states[place] = replace(states[place], load=states[place].load + 1)
        replica = self._by_name[choice.replica]
        if replica.load >= replica.capacity:
            # The report was too old: the replica itself refuses.
            self._nobody(question, now, asked_before=bool(escalate_from))
            return
        attempt = self._attempt(question, choice.model, choice.escalate_below, now)
        ends = replica.take(attempt, now)
        if ends is not None:
            self._begun(attempt, replica, ends)

    def _attempt(self, question: _Question, model: ModelConfig, escalate_below: float | None, now: float) -> _Attempt:
        questions, draw = self._questions, self._draw
        good = question.hardness < (questions.small_knows if model.name == SMALL else questions.large_knows)
        unfounded = not good and draw.random() < questions.caught
        likelihood = draw.gauss(*(questions.sure if good else questions.unsure))
        holds = not unfounded and (escalate_below is None or likelihood >= escalate_below)
        tokens = question.answer_tokens if holds else min(question.answer_tokens, SENTENCE_TOKENS)
        self._cost += model.cost.of(PROMPT_TOKENS, tokens)
        return _Attempt(
            now, "", (), PROMPT_TOKENS, tokens, "", 0.0, 0, question, model, good, holds, escalate_below is not None
        )

    def _begun(self, attempt: _Attempt, replica: Replica, ends: float) -> None:
        self._calendar.add(ends, _End(attempt, replica))
        if attempt.holds:
            sentence = min(SENTENCE_TOKENS, attempt.answer_tokens) / attempt.answer_tokens
            whole = attempt.first_token + (ends - attempt.first_token) * sentence
            self._waits.append(whole - attempt.question.came_at)

    def _ended(self, attempt: _Attempt, now: float) -> None:
        if attempt.holds:
            self._fates["good" if attempt.good else "bad"] += 1
        elif attempt.may_escalate:
            self._fates["escalated"] += 1
            self._ask(attempt.question, now, attempt.model.name)
        else:
            self._nobody(attempt.question, now, asked_before=True)

    def _nobody(self, question: _Question, now: float, *, asked_before: bool) -> None:
        """No answer holds: the passages are quoted at once; or none was tried, because there is no room."""
        if asked_before:
            self._waits.append(now - question.came_at)
        self._fates["quoted" if asked_before else "refused"] += 1

    def _report(self) -> None:
        self._states = {
            name: [ReplicaState(one.name, one.load, one.capacity) for one in own]
            for name, own in self._replicas.items()
        }
        self._places = {state.replica: place for own in self._states.values() for place, state in enumerate(own)}
