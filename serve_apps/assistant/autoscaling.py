"""How many replicas a model needs, from what waits and runs in them; a pure function, and its binding to Ray Serve.

Serve's own policy looks at requests per replica averaged over 30 s. Here the queue decides: it grows within seconds
when replicas are too few, and says nothing when they merely work.
"""

import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serve_apps.assistant.board import HeadStore
from serve_apps.assistant.scaling_log import NAMESPACE, Decision, ScalingLog
from serve_apps.assistant.wishes import NAMESPACE as WISHES
from serve_apps.assistant.wishes import Wishes

# Above this share a replica preempts and recomputes: it is full, however few requests fill it.
KV_FULL = 0.9
# A replica is taken away only when the others would stay below this share of their target.
DOWNSCALE_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits and pace; see AutoscalingBounds."""

    min_replicas: int
    max_replicas: int
    target_running: int
    upscale_delay_seconds: float
    downscale_delay_seconds: float


@dataclass(frozen=True, slots=True)
class Demand:
    """What one replica reported."""

    running: float
    waiting: float
    kv_cache_usage: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Since when more or fewer replicas have been wanted, in seconds on the caller's clock; None: they are not."""

    up_since: float | None = None
    down_since: float | None = None


def wanted(bounds: Bounds, current: int, demands: Sequence[Demand]) -> int:
    """Replicas that would hold the demand at `target_running` each, within the bounds; no hysteresis."""
    if not demands:
        return _clamp(current, bounds)
    total = sum(_finite(one.running) + _finite(one.waiting) for one in demands)
    up = math.ceil(total / bounds.target_running)
    if any(_finite(one.kv_cache_usage) >= KV_FULL and _finite(one.waiting) > 0 for one in demands):
        up = max(up, current + 1)
    if up >= current:
        return _clamp(up, bounds)
    down = math.ceil(total / (bounds.target_running * DOWNSCALE_SHARE))
    return _clamp(min(current, down), bounds)


def decide(
    bounds: Bounds, current: int, demands: Sequence[Demand], memory: Memory, now: float, held: int = 0
) -> tuple[int, Memory]:
    """The number of replicas to have now, and what to remember. Never raises; always within the bounds.

    More are granted once they have been wanted for `upscale_delay_seconds` without a break, fewer for
    `downscale_delay_seconds`, one at a time. Where there is none, `held` requests start as many as they need at once.
    """
    if current == 0 and held > 0:
        return _clamp(math.ceil(held / bounds.target_running), bounds), Memory()
    within = _clamp(current, bounds)
    if within != current:
        return within, Memory()
    target = wanted(bounds, current, demands)
    if target > current:
        since = now if memory.up_since is None else memory.up_since
        if now - since >= bounds.upscale_delay_seconds:
            return target, Memory()
        return current, Memory(up_since=since)
    if target < current:
        since = now if memory.down_since is None else memory.down_since
        gone = now - since >= bounds.downscale_delay_seconds
        return (current - 1, Memory()) if gone else (current, Memory(down_since=since))
    return current, Memory()


def _clamp(number: int, bounds: Bounds) -> int:
    return max(bounds.min_replicas, min(bounds.max_replicas, number))


def _finite(number: float) -> float:
    return number if math.isfinite(number) and number > 0 else 0.0


def metrics(running: int, waiting: int, kv_cache_usage: float) -> dict[str, float]:
    """What a replica's `record_autoscaling_stats` returns for `policy`."""
    return {"running": float(running), "waiting": float(waiting), "kv_cache_usage": kv_cache_usage}


class QueueDepthPolicy:
    """Ray Serve's policy object, made once a deployment from `policy_kwargs`.

    A policy that raises would stop the scaling of every application, so this one cannot. Each change is written to the
    log of decisions, with what it was decided by.
    """

    def __init__(
        self,
        model: str,
        target_running: int,
        upscale_delay_seconds: float,
        downscale_delay_seconds: float,
        log: ScalingLog | None = None,
        wishes: Wishes | None = None,
    ) -> None:
        self._model = model
        self._log = log or ScalingLog(HeadStore(NAMESPACE))
        self._wishes = wishes or Wishes(HeadStore(WISHES))
        self._target_running = target_running
        self._upscale_delay = upscale_delay_seconds
        self._downscale_delay = downscale_delay_seconds

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """The number of replicas to have, and the state Serve hands back the next time."""
        bounds = Bounds(
            context.capacity_adjusted_min_replicas,
            context.capacity_adjusted_max_replicas,
            self._target_running,
            self._upscale_delay,
            self._downscale_delay,
        )
        state = context.policy_state or {}
        memory = Memory(state.get("up_since"), state.get("down_since"))
        demands = _demands(context.aggregated_metrics or {})
        current, now = context.target_num_replicas, context.current_time or 0.0
        held = self._held() if current == 0 else 0
        target, next_memory = decide(bounds, current, demands, memory, now, held)
        if target != current:
            since = memory.up_since if target > current else memory.down_since
            self._tell(current, target, demands, now - (now if since is None else since), held)
        return target, {"up_since": next_memory.up_since, "down_since": next_memory.down_since}

    def _held(self) -> int:
        # The store's head may be away for a moment; who waits goes on waiting.
        with contextlib.suppress(Exception):
            return self._wishes.held(self._model)
        return 0

    def _tell(self, current: int, target: int, demands: Sequence[Demand], wanted_for: float, held: int) -> None:
        running, waiting = (sum(_finite(getattr(one, name)) for one in demands) for name in ("running", "waiting"))
        waiting += held
        decision = Decision(
            time.time(),
            self._model,
            current,
            target,
            running,
            waiting,
            max((_finite(one.kv_cache_usage) for one in demands), default=0.0),
            round(wanted_for, 3),
            explain(current, target, running + waiting, self._target_running),
        )
        # The store's head may be away for a moment; the number of replicas must not depend on it.
        with contextlib.suppress(Exception):
            self._log.add(decision)


def explain(current: int, target: int, requests: float, target_running: int) -> str:
    """Why, in a few words."""
    if current == 0:
        return f"{requests:.0f} requests are held for a replica"
    if target > current:
        if requests > current * target_running:
            return f"{requests:.0f} requests are more than {current} × {target_running}"
        return "a cache is full while requests wait, or the bounds have changed"
    return f"{requests:.0f} requests leave {current} × {target_running} idle, or the bounds have changed"


def _demands(aggregated: Mapping[str, Mapping[Any, float]]) -> list[Demand]:
    running, waiting, kv = (aggregated.get(name) or {} for name in ("running", "waiting", "kv_cache_usage"))
    return [Demand(running[key], waiting.get(key, 0.0), kv.get(key, 0.0)) for key in running]
