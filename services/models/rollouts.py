"""A rollout as a machine of states: where it goes next, by what was seen. Pure.

    starting ──▶ shadow ──▶ canary (10 %, 50 %, all) ──▶ promoted
        └───────────┴───────────┴──▶ rolled back

What serves is touched only by the step to `promoted`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from services.models.gates import Gate

DEFAULT_STEPS = (10, 50)
ALL = 100


class State(StrEnum):
    """Where a rollout stands."""

    STARTING = "starting"
    SHADOW = "shadow"
    CANARY = "canary"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"


UNDER_WAY = frozenset({State.STARTING, State.SHADOW, State.CANARY})


@dataclass(frozen=True, slots=True)
class Rollout:
    """A target's file on its way.

    In the shadow it answers the golden questions; once there are `gates` by these, it repeats turns of customers.
    `steps` are shares in percent; `step` counts those reached, and the one after the last is everybody. A `direct` one
    goes back to what has served before, and skips measuring. `tried_at` is when it got its first share; `version`
    counts changes.
    """

    id: str
    environment: str
    base: str
    file: str
    text: str
    actor: str
    reason: str
    created_at: datetime
    updated_at: datetime
    state: State = State.STARTING
    steps: tuple[int, ...] = DEFAULT_STEPS
    step: int = 0
    tenants: tuple[str, ...] = ()
    direct: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    gates: tuple[Gate, ...] = ()
    failure: str = ""
    tried_at: datetime | None = None
    version: int = 1

    @property
    def percent(self) -> int:
        """Share of the conversations that it serves."""
        if self.state is State.PROMOTED:
            return ALL
        return (*self.steps, ALL)[self.step] if self.state is State.CANARY else 0

    @property
    def repeats_turns(self) -> bool:
        """Whether turns of customers are repeated by it, which nobody is shown."""
        return self.state is State.SHADOW and bool(self.gates)

    @property
    def is_under_way(self) -> bool:
        """True until it is promoted or taken back."""
        return self.state in UNDER_WAY


@dataclass(frozen=True, slots=True)
class Sight:
    """What is seen of a rollout. `ready`: every new version has a replica; it has not been for `absent_seconds`.
    `failure`: why a new version cannot run. `gates`: what was measured in this state, empty while nothing was."""

    ready: bool = False
    absent_seconds: float = 0.0
    failure: str = ""
    gates: tuple[Gate, ...] = ()


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the states last, in seconds."""

    start_seconds: float = 420.0
    # For the golden questions in the shadow, and then for repeating turns of customers; 0 repeats none.
    shadow_seconds: float = 180.0
    repeat_seconds: float = 10.0
    # A share is kept so long before it is judged.
    step_seconds: float = 10.0
    # The last one so long that every conversation that goes on has come over; longer than routers remember its side.
    last_seconds: float = 35.0
    # A candidate without a replica for so long is lost.
    absence_seconds: float = 5.0
    # A share, or the shadow, is kept so much longer at most where too little was seen to judge by.
    hold_seconds: float = 3600.0


def advance(rollout: Rollout, sight: Sight, now: datetime, patience: Patience) -> Rollout:
    """The rollout after what was seen; itself when nothing changes."""
    if not rollout.is_under_way:
        return rollout
    if sight.failure:
        return roll_back(rollout, sight.failure, now)
    failed = next((gate for gate in sight.gates if not gate.passed), None)
    if failed is not None:
        return roll_back(replace(rollout, gates=_kept(rollout, sight)), f"{failed.name}: {failed.explanation}", now)
    moves = {State.STARTING: _starting, State.SHADOW: _shadow, State.CANARY: _canary}
    return moves[rollout.state](rollout, sight, now, patience)


def _starting(rollout: Rollout, sight: Sight, now: datetime, patience: Patience) -> Rollout:
    if sight.ready:
        return _moved(rollout, State.PROMOTED if rollout.direct else State.SHADOW, now)
    if _seconds(rollout, now) > patience.start_seconds:
        return roll_back(rollout, f"it was not ready within {patience.start_seconds:.0f} s", now)
    return rollout


def _shadow(rollout: Rollout, sight: Sight, now: datetime, patience: Patience) -> Rollout:
    if rollout.repeats_turns:
        judged, goes_on = _judged(rollout, sight, now, patience, patience.repeat_seconds)
        return _tried(judged, now) if goes_on else judged
    if sight.gates:
        measured = replace(rollout, gates=_kept(rollout, sight), updated_at=now)
        return measured if patience.repeat_seconds else _tried(measured, now)
    if _seconds(rollout, now) > patience.shadow_seconds:
        return roll_back(rollout, f"it was not measured within {patience.shadow_seconds:.0f} s", now)
    return rollout


def _tried(rollout: Rollout, now: datetime) -> Rollout:
    """The rollout with its first share."""
    return replace(_moved(rollout, State.CANARY, now), tried_at=now)


def _canary(rollout: Rollout, sight: Sight, now: datetime, patience: Patience) -> Rollout:
    last = rollout.step == len(rollout.steps)
    kept = patience.last_seconds if last else patience.step_seconds
    judged, goes_on = _judged(rollout, sight, now, patience, kept)
    if not goes_on:
        return judged
    if last:
        return _moved(judged, State.PROMOTED, now)
    return replace(judged, step=rollout.step + 1, updated_at=now)


def _judged(rollout: Rollout, sight: Sight, now: datetime, patience: Patience, kept: float) -> tuple[Rollout, bool]:
    """The rollout after what was seen of it where it is to stay for so many seconds, and whether it goes on."""
    passed = _seconds(rollout, now)
    if not sight.ready:
        lost = sight.absent_seconds > patience.absence_seconds
        return (roll_back(rollout, "it lost its replicas", now) if lost else rollout), False
    if passed < kept or not sight.gates:
        return rollout, False
    judged = replace(rollout, gates=_kept(rollout, sight))
    undecided = [gate for gate in sight.gates if gate.undecided]
    if undecided and passed > kept + patience.hold_seconds:
        return roll_back(judged, f"{undecided[0].name}: {undecided[0].explanation}, for {passed:.0f} s", now), False
    if undecided:
        # On record once, so that whoever looks finds what it waits for.
        return (rollout if {gate.name for gate in undecided} <= _undecided(rollout) else judged), False
    return judged, True


def _undecided(rollout: Rollout) -> set[str]:
    return {gate.name for gate in rollout.gates if gate.undecided}


def _seconds(rollout: Rollout, now: datetime) -> float:
    """Since it last moved."""
    return (now - rollout.updated_at).total_seconds()


def roll_back(rollout: Rollout, why: str, now: datetime) -> Rollout:
    """The rollout taken back."""
    return replace(rollout, state=State.ROLLED_BACK, failure=why, updated_at=now)


def _moved(rollout: Rollout, state: State, now: datetime) -> Rollout:
    return replace(rollout, state=state, updated_at=now)


def _kept(rollout: Rollout, sight: Sight) -> tuple[Gate, ...]:
    """The newest of each gate."""
    return tuple({gate.name: gate for gate in (*rollout.gates, *sight.gates)}.values())
