"""Compares two ways of doing the same thing, fairly, on a machine whose speed drifts.

The sides alternate in one run (A B A B …). A pair yields the ratio of its two rates; the result is the median of the
ratios and their spread. Results are printed and written to `benchmarks/results/<name>.json`.
"""

import json
import os
import platform
import statistics
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS_FOLDER = Path(__file__).resolve().parent / "results"
MINIMUM_PAIRS = 5

Measure = Callable[[], Awaitable[float]]


@dataclass(frozen=True)
class Result:
    """What a benchmark found. `value` and `baseline` are in `unit`; `ratio` is what the target asks for."""

    name: str
    value: float
    unit: str
    baseline: float
    ratio: float
    n: int
    # Smallest and largest ratio of a pair.
    spread: tuple[float, float]
    machine: dict[str, Any]
    details: dict[str, Any] = field(default_factory=dict)
    measured_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "python": platform.python_version(),
        "system": platform.system(),
        "load_average": os.getloadavg()[0],
    }


async def alternate(measured: Measure, baseline: Measure, *, pairs: int = MINIMUM_PAIRS) -> list[tuple[float, float]]:
    """Measure both sides `pairs` times in turns; each returns a rate. The first pair only warms up and is left out."""
    found: list[tuple[float, float]] = []
    for turn in range(pairs + 1):
        # Whoever goes first changes, so that a drift within a pair favours neither.
        if turn % 2:
            second = await baseline()
            first = await measured()
        else:
            first = await measured()
            second = await baseline()
        if turn:
            found.append((first, second))
    return found


def compare(name: str, unit: str, pairs: Sequence[tuple[float, float]], **details: Any) -> Result:
    """The result of pairs of (measured, baseline) rates. Raises ValueError for fewer than five."""
    if len(pairs) < MINIMUM_PAIRS:
        raise ValueError(f"{MINIMUM_PAIRS} pairs are needed, {len(pairs)} came")
    ratios = sorted(measured / baseline for measured, baseline in pairs)
    return Result(
        name=name,
        value=round(statistics.median(measured for measured, _ in pairs), 4),
        unit=unit,
        baseline=round(statistics.median(baseline for _, baseline in pairs), 4),
        ratio=round(statistics.median(ratios), 4),
        n=len(pairs),
        spread=(round(ratios[0], 4), round(ratios[-1], 4)),
        machine=machine(),
        details=details,
    )


def report(result: Result) -> None:
    """Print the result as JSON and keep it in the results folder."""
    text = json.dumps(asdict(result), indent=2)
    RESULTS_FOLDER.mkdir(exist_ok=True)
    (RESULTS_FOLDER / f"{result.name}.json").write_text(text + "\n")
    print(text)


def cpu_seconds(pid: int) -> float:
    """CPU seconds a process has used, with all its threads that live but without its children.

    In nanoseconds from the scheduler: the counters of `/proc/PID/stat` move in steps of 10 ms, which is a tenth of what
    a measurement may last.
    """
    nanoseconds = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):
            nanoseconds += int((thread / "schedstat").read_text().split()[0])
    return nanoseconds / 1e9


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
