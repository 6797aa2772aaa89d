"""P11: memory of the whole idle stack, as the sum of the proportional set sizes of all its processes."""

import time
from pathlib import Path

import psutil

from benchmarks.harness import Result, machine, report
from benchmarks.stack import deskmesh, deskmesh_json, state_folder

TARGET_GIB = 5.0
SETTLE_SECONDS = 20
SAMPLES = 5
GIB = 1 << 30


def proportional_set_size(process: psutil.Process) -> int:
    """Bytes, shared pages divided by the number of processes that share them; 0 for one that just ended."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0


def sizes(home: Path) -> dict[str, int]:
    """Bytes of each supervised process with all its descendants, and of the supervisor."""
    found: dict[str, int] = {}
    seen: set[int] = set()
    for entry in deskmesh_json(home, "status")["processes"]:
        if not entry["pid"]:
            continue
        process = psutil.Process(entry["pid"])
        family = [process, *process.children(recursive=True)]
        seen.update(member.pid for member in family)
        found[entry["name"]] = sum(proportional_set_size(member) for member in family)
    rest = [process for process in psutil.process_iter() if process.pid not in seen and _home_of(process) == str(home)]
    found["supervisor and strays"] = sum(proportional_set_size(process) for process in rest)
    return found


def _home_of(process: psutil.Process) -> str:
    try:
        return process.environ().get("DESKMESH_HOME", "")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""


def main() -> None:
    with state_folder() as home:
        deskmesh(home, "up")
        deskmesh(home, "chat", "--once", "Do gift cards expire?")
        time.sleep(SETTLE_SECONDS)
        samples = []
        for _ in range(SAMPLES):
            samples.append(sizes(home))
            time.sleep(2)
    totals = sorted(sum(sample.values()) / GIB for sample in samples)
    median = totals[len(totals) // 2]
    report(
        Result(
            name="P11_idle_memory",
            value=round(median, 2),
            unit="GiB",
            baseline=TARGET_GIB,
            ratio=round(median / TARGET_GIB, 3),
            n=len(totals),
            spread=(round(totals[0] / TARGET_GIB, 3), round(totals[-1] / TARGET_GIB, 3)),
            machine=machine(),
            details={
                "baseline_is": "the target, 5 GiB",
                "mib_by_process": {name: round(size / (1 << 20)) for name, size in sorted(samples[-1].items())},
            },
        )
    )


if __name__ == "__main__":
    main()
