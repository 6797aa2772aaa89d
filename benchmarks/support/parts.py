"""Where processor time goes: that of the measuring process and of everything below it, part by part."""

from contextlib import suppress

import psutil

# What stands in a process's name or command line; the first that fits counts.
PARTS = (
    ("EngineCore", "engine"),
    ("VLLM::", "engine"),
    ("ServeReplica:llm", "replica"),
    ("ServeReplica:router", "router"),
    ("envoy", "envoy"),
)
REST = "rest of Ray"
CALLER = "caller"


def cpu_by_part() -> dict[str, float]:
    """CPU seconds so far, in steps of 10 ms."""
    own = psutil.Process()
    used = {CALLER: _seconds(own)}
    for process in own.children(recursive=True):
        with suppress(psutil.Error):
            said = " ".join([process.name(), *process.cmdline()])
            part = next((part for mark, part in PARTS if mark in said), REST)
            used[part] = used.get(part, 0.0) + _seconds(process)
    return used


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
