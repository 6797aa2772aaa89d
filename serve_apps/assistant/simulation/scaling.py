"""An autoscaling policy in front of simulated replicas: a load that jumps, and who waits too long meanwhile."""

import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serve_apps.assistant.autoscaling import Bounds, Demand, Memory, decide
from serve_apps.assistant.simulation.replicas import GPU, Calendar, Replica, Request, Speed, answer_tokens

# What the policy is asked: the time, the replicas wanted so far, and what each running one reported.
Policy = Callable[[float, int, Sequence[Demand]], int]


@dataclass(frozen=True, slots=True)
class Step:
    """`rate` requests a second, `factor` times as many from `step_at` on; a new replica serves `start_seconds` after it
    was decided on. A first token later than `slo_seconds` is a miss, and so is a refusal because the queue is full."""

    rate: float = 8.0
    factor: float = 8.0
    step_at: float = 60.0
    seconds: float = 240.0
    start_seconds: float = 5.0
    slo_seconds: float = 2.0
    slots: int = 16
    queue: int = 64
    most: int = 16
    # How old what the policy sees is, and over how long it is averaged.
    report_seconds: float = 0.5
    look_back_seconds: float = 1.0
    tick_seconds: float = 0.1
    speed: Speed = GPU


@dataclass(frozen=True, slots=True)
class Outcome:
    """`decided_after`: seconds from the step to the first decision for more; `replica_seconds`: what was paid for;
    `first_token_p99`: of those that were not refused, in seconds."""

    requests: int
    misses: int
    decided_after: float
    replica_seconds: float
    most_replicas: int
    first_token_p99: float


class QueueDepth:
    """The project's own policy, with its memory."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._memory = Memory()

    def __call__(self, now: float, current: int, demands: Sequence[Demand]) -> int:
        """The replicas to have."""
        target, self._memory = decide(self._bounds, current, demands, self._memory, now)
        return target


class Simulation:
    """One run; replicas that are taken away let their requests end."""

    def __init__(self, policy: Policy, step: Step, seed: int = 1) -> None:
        self._policy = policy
        self._step = step
        self._draw = random.Random(seed)  # noqa: S311 - chance that can be repeated
        self._calendar = Calendar()
        self._replicas = [self._replica()]
        self._target = 1
        self._seen: list[tuple[float, list[Demand]]] = []
        self._reported: list[Demand] = []
        self._requests: list[Request] = []
        self._decided_at = 0.0
        self._replica_seconds = 0.0
        self._most = 1

    def run(self) -> Outcome:
        """Until every request has ended."""
        step, at = self._step, 0.0
        while at < step.seconds:
            rate = step.rate * (step.factor if at >= step.step_at else 1.0)
            at += self._draw.expovariate(rate)
            request = Request(at, "", (), prompt_tokens=400, answer_tokens=answer_tokens(self._draw))
            self._requests.append(request)
            self._calendar.add(at, request)
        ticks = int(step.seconds / step.tick_seconds)
        every = round(step.report_seconds / step.tick_seconds)
        for tick in range(ticks):
            self._calendar.add(tick * step.tick_seconds, "report" if tick % every == 0 else "tick")
        while (event := self._calendar.pop()) is not None:
            self._happen(*event)
        waits = [request.first_token - request.arrived for request in self._requests]
        answered = sorted(wait for wait in waits if math.isfinite(wait))
        return Outcome(
            requests=len(waits),
            misses=sum(wait > step.slo_seconds for wait in waits),
            decided_after=round(self._decided_at - step.step_at, 2) if self._decided_at else float("inf"),
            replica_seconds=round(self._replica_seconds),
            most_replicas=self._most,
            first_token_p99=round(answered[len(answered) * 99 // 100], 3),
        )

    def _replica(self) -> Replica:
        step = self._step
        return Replica("host", step.speed, slots=step.slots, queue=step.queue, cache_blocks=0)

    def _happen(self, at: float, what: object) -> None:
        match what:
            case Request():
                replica = min(self._replicas, key=lambda one: one.load)
                if replica.load >= replica.capacity:
                    what.first_token = math.inf
                    return
                ends = replica.take(what, at)
                if ends is not None:
                    self._calendar.add(ends, replica)
            case Replica():
                if following := what.end(at):
                    self._calendar.add(following[1], what)
            case "started":
                if len(self._replicas) < self._target:
                    self._replicas.append(self._replica())
            case _:
                self._tick(at, report=what == "report")

    def _tick(self, now: float, *, report: bool) -> None:
        step = self._step
        self._replica_seconds += step.tick_seconds * max(len(self._replicas), self._target)
        self._seen.append((now, [Demand(one.running, one.waiting, 0.0) for one in self._replicas]))
        self._seen = [(at, demands) for at, demands in self._seen if at > now - step.look_back_seconds]
        if report:
            self._reported = self._averaged()
        wanted = self._policy(now, self._target, self._reported)
        if wanted > self._target:
            if now >= step.step_at and not self._decided_at:
                self._decided_at = now
            for _ in range(wanted - self._target):
                self._calendar.add(now + step.start_seconds, "started")
        elif wanted < len(self._replicas):
            self._replicas.sort(key=lambda one: -one.load)
            del self._replicas[max(wanted, 1) :]
        self._target = wanted
        self._most = max(self._most, wanted)

    def _averaged(self) -> list[Demand]:
        """The mean over what was seen, for each of the replicas of now."""
        running, waiting = (
            statistics.fmean(sum(getattr(one, name) for one in demands) for _, demands in self._seen)
            for name in ("running", "waiting")
        )
        count = len(self._replicas)
        return [Demand(running / count, waiting / count, 0.0)] * count
