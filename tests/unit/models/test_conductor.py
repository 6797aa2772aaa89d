"""The conductor ended at any moment: the next one goes on from the record, and the routers hear of where it ended."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.models.conductor import Conductor
from services.models.gates import Answer
from services.models.golden import QUESTIONS, Golden
from services.models.limits import Limits
from services.models.live import Call, Seen
from services.models.ports import Check, Running, RunningVersion
from services.models.rollouts import Patience, Rollout, State

PATIENCE = Patience(
    start_seconds=100, shadow_seconds=50, repeat_seconds=3, step_seconds=3, last_seconds=3, absence_seconds=5
)
BEGAN = datetime(2026, 3, 1, tzinfo=UTC)


class Killed(Exception):
    """The process ended here."""


class Records:
    """Rollouts as the database has them, and a transaction over them."""

    def __init__(self) -> None:
        self.kept: dict[str, Rollout] = {}
        self._changed: dict[str, Rollout] = {}
        self.rollouts = self

    async def __aenter__(self) -> "Records":
        self._changed = dict(self.kept)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, one: object, trace: TracebackType | None) -> None:
        self._changed = {}

    async def commit(self) -> None:
        self.kept = self._changed

    async def add(self, rollout: Rollout) -> None:
        self._changed[rollout.id] = rollout

    async def save(self, rollout: Rollout) -> bool:
        if self._changed[rollout.id].version != rollout.version:
            return False
        self._changed[rollout.id] = replace(rollout, version=rollout.version + 1)
        return True

    async def under_way(self) -> Rollout | None:
        return next((one for one in self._changed.values() if one.is_under_way), None)

    async def promoted(self, base: str, limit: int) -> list[Rollout]:
        found = [one for one in self._changed.values() if one.base == base and one.state is State.PROMOTED]
        return sorted(found, key=lambda one: one.updated_at, reverse=True)[:limit]


@dataclass
class Site:
    """What runs: the old version, and the new one as soon as it is aimed at. `kill` names the call that ends the
    conductor's process, once."""

    stable: str = "old"
    candidate: str = ""
    percent: int = 0
    repeated: int = 0
    new: RunningVersion = field(
        default_factory=lambda: RunningVersion("m", "new", replicas=["b"], price=2.0, prompt_price=1.0)
    )
    grounded: bool = True
    # Whether replicas have taken up what changes in them.
    in_place: bool = True
    # How the next answers of the new version fail, and how many questions it was asked.
    failing: list[Answer] = field(default_factory=list)
    asked: int = 0
    kill: str = ""

    def _called(self, name: str) -> None:
        if self.kill == name:
            self.kill = ""
            raise Killed

    async def check(self, file: str, text: str) -> Check:
        raise AssertionError((file, text))

    async def running(self) -> Running:
        self._called("running")
        found = [RunningVersion("m", self.stable, replicas=["a"])]
        found += [self.new] if self.candidate else []
        return Running("base", self.stable, {"m": self.stable}, found, self.candidate, self.in_place)

    async def aim(
        self, base: str, stable: str, candidate: Rollout | None, shadow_percent: int, as_of: datetime
    ) -> None:
        assert (base, as_of >= BEGAN) == ("base", True)
        self._called("aim")
        self.stable = stable
        self.candidate = candidate.text if candidate is not None else ""
        self.percent = candidate.percent if candidate is not None else 0
        self.repeated = shadow_percent
        self._called("aimed")

    async def ask(self, model: str, replica: str, golden: Golden) -> Answer:
        assert (model, len(golden.sentences)) == ("m", 3)
        self._called("ask")
        self.asked += replica == "b"
        if replica == "b" and self.failing:
            return self.failing.pop(0)
        return Answer("", 0.1, 10.0, grounded=self.grounded or replica == "a", likelihood=-1.0)


@dataclass
class Traffic:
    """Customers' turns, by the versions that took part in them."""

    calls: list[Call] = field(default_factory=list)
    ratings: dict[str, bool] = field(default_factory=dict)
    since_when: datetime | None = None

    def add(self, version: str, count: int, **fields: Any) -> None:
        for _ in range(count):
            turn = f"turn-{len(self.calls)}"
            values = {"first_token_seconds": 0.5, "tokens_per_second": 20.0, "grounded": True} | fields
            self.calls.append(Call(turn, "word", "m", version, **values))

    def repeat(self, version: str, count: int, **fields: Any) -> None:
        """The first turns once more, in the shadow; what was repeated before is forgotten."""
        self.calls = [call for call in self.calls if not call.shadow]
        again: dict[str, Any] = {"version": version, "shadow": True} | fields
        self.calls += [replace(call, **again) for call in self.calls[:count]]

    async def since(self, moment: datetime) -> Seen:
        self.since_when = moment
        return Seen(self.calls, self.ratings)


class House:
    """A rollout that has begun, and conductors one after the other."""

    def __init__(self, **limits: Any) -> None:
        self.limits, self.traffic = Limits(**limits), Traffic()
        self.records, self.site, self.now = Records(), Site(), BEGAN
        old = Rollout("dep_0", "dev", "base", "old.yaml", "old", "usr", "", BEGAN, BEGAN, state=State.PROMOTED)
        new = Rollout("dep_1", "dev", "base", "new.yaml", "new", "usr", "", BEGAN, BEGAN, versions={"m": "new"})
        self.records.kept = {one.id: one for one in (old, new)}
        self.conductor = self._started()

    @property
    def rollout(self) -> Rollout:
        return self.records.kept["dep_1"]

    async def look(self, kill: str = "") -> None:
        """A second later, a look; with `kill` the process ends at that call, if it comes to it, and another starts."""
        self.now += timedelta(seconds=1)
        self.site.kill = kill
        try:
            await self.conductor.step()
        except Killed:
            self.conductor = self._started()
        self.site.kill = ""

    async def until_repeating(self) -> None:
        """Look until the routers are told to have turns repeated."""
        while not self.site.repeated:
            await self.look()

    async def until_tried(self) -> None:
        """Look until it serves its first share."""
        while self.rollout.state is not State.CANARY:
            await self.look()

    def _started(self) -> Conductor:
        work: Callable[[], Any] = lambda: self.records  # noqa: E731 - with its type
        return Conductor(
            work,
            self.site,
            self.traffic,
            lambda: self.now,
            environment="dev",
            seconds=0,
            idle_seconds=1,
            patience=PATIENCE,
            limits=self.limits,
        )


DEATHS = st.lists(st.sampled_from(["", "", "running", "ask", "aim", "aimed"]), max_size=25)


@given(DEATHS, st.booleans())
async def test_whenever_it_dies_nothing_stays_half(deaths: list[str], good: bool) -> None:
    house = House()
    house.site.grounded = good
    for kill in deaths:
        await house.look(kill)
        assert house.site.stable == "old" or house.rollout.state is State.PROMOTED
        assert good or not house.site.percent, "nobody was served by what was never measured"
        assert good or not house.site.repeated
    for _ in range(20):
        await house.look()
    assert house.rollout.state is (State.PROMOTED if good else State.ROLLED_BACK)
    assert (house.site.stable, house.site.candidate) == ("new" if good else "old", "")


async def test_replicas_lost_while_it_was_away_are_lost_but_a_blink_is_not() -> None:
    house = House()
    await house.until_tried()
    there = house.site.new
    house.site.new = replace(there, replicas=())
    await house.look("aim")
    for _ in range(4):
        await house.look()
    assert house.rollout.state is State.CANARY
    house.site.new = there
    await house.look()
    assert house.rollout.is_under_way
    house.site.new = replace(there, replicas=())
    for _ in range(7):
        await house.look()
    assert (house.rollout.state, house.rollout.failure) == (State.ROLLED_BACK, "it lost its replicas")
    assert (house.site.stable, house.site.candidate) == ("old", "")


async def test_one_that_falls_asleep_while_it_is_tried_is_not_lost() -> None:
    house = House()
    await house.until_tried()
    house.site.new = replace(house.site.new, replicas=(), asleep=True)
    for _ in range(15):
        await house.look()
    assert house.rollout.state is State.PROMOTED


async def test_one_that_sleeps_cannot_be_measured() -> None:
    house = House()
    house.site.new = replace(house.site.new, replicas=(), asleep=True)
    for _ in range(55):
        await house.look()
    assert (house.rollout.state, house.rollout.failure) == (State.ROLLED_BACK, "it was not measured within 50 s")


def adapters_only() -> House:
    """A rollout that has no version of its own."""
    house = House()
    house.records.kept["dep_1"] = replace(house.rollout, direct=True, versions={"m": "old"})
    return house


async def test_what_changes_in_running_replicas_is_promoted_once_they_have_it_and_not_before() -> None:
    house = adapters_only()
    house.site.in_place = False
    for _ in range(4):
        await house.look()
    assert (house.rollout.state, house.site.candidate) == (State.STARTING, "new")
    house.site.in_place = True
    await house.look()
    assert (house.rollout.state, house.site.stable, house.site.asked) == (State.PROMOTED, "new", 0)


async def test_what_was_in_place_before_it_was_aimed_at_says_nothing_of_it() -> None:
    house = adapters_only()
    await house.look("aim")
    assert house.rollout.state is State.STARTING


async def test_what_a_replica_refuses_is_taken_back() -> None:
    house = adapters_only()
    house.site.in_place = False
    house.site.new = RunningVersion("", "", failure="adapter large: its rank is 64")
    for _ in range(3):
        await house.look()
    assert (house.rollout.state, house.rollout.failure) == (State.ROLLED_BACK, "adapter large: its rank is 64")
    assert (house.site.stable, house.site.candidate) == ("old", "")


BUSY = Answer(error="DEADLINE_EXCEEDED: late", busy=True)


@pytest.mark.parametrize(
    ("failing", "asked", "passes"),
    [
        ([BUSY, BUSY], len(QUESTIONS) + 2, True),
        ([BUSY, BUSY, BUSY], 3, False),
        ([Answer(error="INTERNAL: template")], len(QUESTIONS), False),
        ([replace(BUSY, error="MODEL_OVERLOADED: full")] * 2, len(QUESTIONS) + 2, True),
    ],
    ids=["late twice", "late for good", "its own fault", "full twice"],
)
async def test_what_may_be_the_machines_fault_is_asked_again_and_nothing_else(
    failing: list[Answer], asked: int, passes: bool
) -> None:
    house = House()
    house.site.failing = list(failing)
    for _ in range(6):
        await house.look()
    assert house.site.asked == asked
    assert house.rollout.state is (State.CANARY if passes else State.ROLLED_BACK)
    assert passes or house.rollout.failure.startswith("errors: 1 of ")


async def test_without_customers_it_goes_on_as_fast_and_says_that_nothing_was_compared() -> None:
    house = House()
    await house.until_tried()
    began = house.now
    while house.rollout.is_under_way:
        await house.look()
    assert (house.now - began).total_seconds() == 3 * PATIENCE.step_seconds
    said = {gate.name: gate.explanation for gate in house.rollout.gates}
    assert said["turns"].startswith("not enough turns to compare, 0 of it and 0 of what serves, 10 of each are needed")
    assert said["feedback"].startswith("not enough ratings to compare")
    assert house.traffic.since_when == began


async def test_turns_are_repeated_in_the_shadow_alone_and_take_it_back_when_they_are_worse() -> None:
    house = House(shadow_percent=40)
    await house.until_repeating()
    began = house.now
    assert (house.rollout.state, house.site.repeated, house.site.percent) == (State.SHADOW, 40, 0)
    house.traffic.add("old", 12)
    house.traffic.repeat("new", 9, first_token_seconds=9.0, prompt_tokens=1_000_000, completion_tokens=500_000)
    await house.look()
    assert house.rollout.state is State.SHADOW
    assert house.traffic.since_when == began
    house.traffic.repeat("new", 10, first_token_seconds=9.0, prompt_tokens=1_000_000, completion_tokens=500_000)
    await house.look()
    assert house.rollout.failure == "first token of turns in the shadow: 9.00 s, at most 2.50 s; now 0.50 s"
    said = {gate.name: gate.explanation for gate in house.rollout.gates}
    assert said["turns in the shadow"] == "10 turns of it compared with 10 of what serves"
    cost = "20 for 10000000 tokens of prompts and 5000000 written; no customer pays for it"
    assert said["cost of the shadow"] == cost
    await house.look()
    assert (house.site.candidate, house.site.repeated) == ("", 0)


async def test_a_quiet_platform_is_not_kept_in_the_shadow_and_its_end_is_the_end_of_repeating() -> None:
    house = House()
    await house.until_repeating()
    began, asked = house.now, house.site.asked
    while house.rollout.state is State.SHADOW:
        assert house.site.repeated == 25
        await house.look()
    assert (house.now - began).total_seconds() == PATIENCE.repeat_seconds
    assert (house.site.repeated, house.site.percent, house.site.asked) == (0, 10, asked)
    said = {gate.name: gate.explanation for gate in house.rollout.gates}
    few = "not enough turns to compare, 0 of it and 0 of what serves, 10 of each are needed: it goes on without"
    assert said["turns in the shadow"] == few


async def test_turns_that_are_worse_take_it_back() -> None:
    house = House()
    await house.until_tried()
    house.traffic.add("old", 10)
    house.traffic.add("new", 10, first_token_seconds=9.0)
    await house.look()
    assert house.rollout.state is State.ROLLED_BACK
    assert house.rollout.failure == "first token of turns: 9.00 s, at most 2.50 s; now 0.50 s"


async def test_customers_who_like_it_less_take_it_back() -> None:
    house = House()
    await house.until_tried()
    house.traffic.add("old", 12)
    house.traffic.add("new", 12)
    house.traffic.ratings = {f"turn-{number}": number < 12 for number in range(24)}
    await house.look()
    assert house.rollout.failure.startswith("feedback: 12 of 12 did not help, at most ")


async def test_where_the_rule_is_to_wait_it_waits_for_turns() -> None:
    house = House(few_turns="hold", least_turns=5)
    await house.until_tried()
    for _ in range(20):
        await house.look()
    assert (house.rollout.state, house.rollout.percent) == (State.CANARY, 10)
    assert [gate.name for gate in house.rollout.gates if gate.undecided] == ["turns"]
    house.traffic.add("old", 5)
    house.traffic.add("new", 5)
    await house.look()
    assert house.rollout.percent == 50
