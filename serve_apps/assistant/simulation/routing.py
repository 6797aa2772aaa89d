"""The real `routing.choose` in front of simulated replicas, with reports as old as they are in life."""

import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from serve_apps.assistant.config import ModelConfig
from serve_apps.assistant.engine_config import SimulatedEngineConfig
from serve_apps.assistant.errors import ModelOverloaded
from serve_apps.assistant.prefixes import PrefixMemory
from serve_apps.assistant.routing import Query, ReplicaState, choose
from serve_apps.assistant.routing_config import PrefixAffinity, RouterConfig
from serve_apps.assistant.simulation.replicas import BLOCK_TOKENS, GPU, Calendar, Replica, Request, Speed, answer_tokens

# Between two turns of a conversation.
LONGEST_PAUSE_SECONDS = 6.0
MODEL = ModelConfig(
    name="simulated-model",
    application="llm",
    context_length=100_000,
    engine=SimulatedEngineConfig(kind="simulated"),
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What comes in: `rate` requests a second in all for `seconds`; conversations share the beginning of their prompts
    with others of the same tenant, and each turn's prompt begins with the one before."""

    replicas: int = 1000
    rate: float = 3000.0
    seconds: float = 20.0
    slots: int = 32
    queue: int = 64
    cache_blocks: int = 4096
    tenants: int = 500
    shared_tokens: int = 768
    own_tokens: int = 128
    turns: int = 4
    report_seconds: float = 0.5
    # The router knows every load at every moment, as if it asked replicas before each decision and that took no time.
    exact: bool = False
    # Share of the replicas that vanish halfway, as when a few nodes go.
    lost_share: float = 0.0
    speed: Speed = GPU

    def at_load(self, load: float) -> "Scenario":
        """As many requests as make the replicas compute that share of what they can while caches find nothing."""
        tokens = self.shared_tokens + self.own_tokens * (self.turns + 1) / 2
        return replace(self, rate=load * self.replicas * self.speed.prefill_tokens_per_second / tokens)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it; times in seconds.

    `lost`: begun at a replica that vanished before the end. `imbalance`: the fullest load over the mean one,
    its median over the run.
    """

    came: int
    served: int
    refused: int
    lost: int
    first_token_p50: float
    first_token_p99: float
    first_token_mean: float
    hit_share: float
    imbalance: float
    decision_microseconds: float


class Simulation:
    """One run. Equal seeds give equal outcomes, but for the time that decisions take."""

    def __init__(self, config: RouterConfig, scenario: Scenario, seed: int = 1) -> None:
        self._config = config
        self._scenario = scenario
        self._draw = random.Random(seed)  # noqa: S311 - chance that can be repeated
        self._replicas = {name: self._replica(name) for name in (f"host:{port}" for port in range(scenario.replicas))}
        policies = [one for one in config.replica_policies if isinstance(one, PrefixAffinity)]
        self._memory = PrefixMemory(policies[0].remembered_blocks) if policies else None
        self._states: list[ReplicaState] = []
        self._places: dict[str, int] = {}
        self._calendar = Calendar()
        self._served: list[Request] = []
        self._came = 0
        self._refused = 0
        self._lost = 0
        self._imbalances: list[float] = []
        self._decisions: list[float] = []

    def run(self) -> Outcome:
        """Until every request has ended."""
        scenario = self._scenario
        for at, conversation, blocks, tokens in self._arrivals():
            request = Request(at, conversation, blocks, tokens, answer_tokens(self._draw))
            self._calendar.add(at, request)
            self._came += 1
        reports = int(scenario.seconds / scenario.report_seconds)
        for number in range(reports):
            self._calendar.add(number * scenario.report_seconds, "report")
        if scenario.lost_share:
            self._calendar.add(scenario.seconds / 2, "loss")
        self._report()
        while (event := self._calendar.pop()) is not None:
            self._happen(*event)
        first = sorted(request.first_token - request.arrived for request in self._served) or [0.0]
        prompts = sum(request.prompt_tokens for request in self._served) or 1
        return Outcome(
            came=self._came,
            served=len(self._served),
            refused=self._refused,
            lost=self._lost,
            first_token_p50=round(first[len(first) // 2], 4),
            first_token_p99=round(first[len(first) * 99 // 100], 4),
            first_token_mean=round(statistics.fmean(first), 4),
            hit_share=round(sum(request.cached_tokens for request in self._served) / prompts, 4),
            imbalance=round(statistics.median(self._imbalances or [0.0]), 3),
            decision_microseconds=round(statistics.median(self._decisions or [0.0]) * 1e6, 1),
        )

    def _replica(self, name: str) -> Replica:
        scenario = self._scenario
        return Replica(
            name, scenario.speed, slots=scenario.slots, queue=scenario.queue, cache_blocks=scenario.cache_blocks
        )

    def _arrivals(self) -> Iterator[tuple[float, str, tuple[int, ...], int]]:
        """Conversations begin as a Poisson process; their turns follow with pauses of some seconds.

        They began long enough before the run that its rate is the same from its first second on.
        """
        scenario, draw, number = self._scenario, self._draw, 0
        at = -(scenario.turns - 1) * LONGEST_PAUSE_SECONDS
        shared_blocks, own_blocks = scenario.shared_tokens // BLOCK_TOKENS, scenario.own_tokens // BLOCK_TOKENS
        while True:
            at += draw.expovariate(scenario.rate / scenario.turns)
            if at > scenario.seconds:
                return
            number += 1
            tenant = draw.randrange(scenario.tenants)
            blocks = [hash((tenant, block)) for block in range(shared_blocks)]
            turn_at = at
            for turn in range(scenario.turns):
                blocks = blocks + [hash((tenant, number, turn, block)) for block in range(own_blocks)]
                tokens = scenario.shared_tokens + (turn + 1) * scenario.own_tokens
                if 0 <= turn_at <= scenario.seconds:
                    yield turn_at, f"conversation-{number}", tuple(blocks), tokens
                turn_at += draw.uniform(1.0, LONGEST_PAUSE_SECONDS)

    def _happen(self, at: float, what: object) -> None:
        match what:
            case Request():
                self._arrive(what, at)
            case Replica():
                if what.alive:
                    if following := what.end(at):
                        self._calendar.add(following[1], what)
                    if self._scenario.exact:
                        self._know(what)
            case "loss":
                names = sorted(self._replicas)
                for name in self._draw.sample(names, round(len(names) * self._scenario.lost_share)):
                    gone = self._replicas.pop(name)
                    gone.alive = False
                    self._lost += gone.load
                self._report()
            case _:
                self._report()

    def _arrive(self, request: Request, now: float) -> None:
        query = Query(affinity_key=request.conversation, prompt_tokens=request.prompt_tokens, completion_tokens=1000)
        began = time.perf_counter()
        if self._memory is not None:
            query = replace(query, prefix_blocks=request.blocks, known_blocks=self._memory.known(request.blocks))
        try:
            choice = choose(self._config, (MODEL,), {MODEL.name: self._states}, query, self._draw)
        except ModelOverloaded:
            self._refused += 1
            return
        self._decisions.append(time.perf_counter() - began)
        name = choice.replica
        place = self._places[name]
        self._states[place] = replace(self._states[place], load=self._states[place].load + 1)
        replica = self._replicas[name]
        if replica.load >= replica.capacity:
            # The report was too old: the replica itself refuses.
            self._refused += 1
            return
        if self._memory is not None:
            self._memory.note(name, request.blocks)
        request.replica = name
        self._served.append(request)
        ends = replica.take(request, now)
        if ends is not None:
            self._calendar.add(ends, replica)

    def _know(self, replica: Replica) -> None:
        place = self._places[replica.name]
        self._states[place] = replace(self._states[place], load=replica.load)

    def _report(self) -> None:
        self._states = [ReplicaState(one.name, one.load, one.capacity) for one in self._replicas.values()]
        self._places = {state.replica: place for place, state in enumerate(self._states)}
        if self._memory is not None:
            self._memory.keep(self._replicas.keys())
        loads = [state.load for state in self._states]
        if mean := statistics.fmean(loads):
            self._imbalances.append(max(loads) / mean)
