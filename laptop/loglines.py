"""Every line of every log as one JSON object with the same field names, and such a line for people to read.

Our own processes and Envoy write JSON already; Postgres, Valkey, Ray, vLLM and whatever a library prints do not.
"""

import json
import re
from datetime import UTC, datetime
from typing import Any

REQUIRED = frozenset({"time", "level", "process", "message"})
DEFAULT_LEVEL = "INFO"

_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

# How programs begin their lines: what stands before the message, and the level in it.
_SHAPES = tuple(
    re.compile(shape)
    for shape in (
        # Postgres: 2026-11-22 00:54:09.211 UTC [28817] user@database LOG:  message
        r"\d{4}-\d\d-\d\d [\d:.]+ \w+ \[\d+\] (?:\S+ )?(?P<level>[A-Z]+\d?):  (?P<message>.*)",
        # Valkey: 28819:M 22 Nov 2026 00:54:09.186 # message
        r"\d+:[A-Z] \d+ \w{3} \d{4} [\d:.]+ (?P<level>[.\-*#]) (?P<message>.*)",
        # Ray Serve: INFO 2026-11-22 00:54:32,713 controller 29206 -- message
        r"(?P<level>[A-Z]+) \d{4}-\d\d-\d\d [\d:,]+ (?P<message>.*)",
        # Ray's Python parts: 2026-11-22 00:54:27,959<tab>WARNING (dashboard_agent) file.py:78 -- message
        r"\d{4}-\d\d-\d\d [\d:,]+\s(?P<level>[A-Z]+) (?P<message>.*)",
        # Ray's C++ parts: [2026-11-22 01:14:22,996 E 29084 29108] (raylet) file.cc:87: message
        r"\[\d{4}-\d\d-\d\d [\d:,]+ (?P<level>[DIWEF]) [\d ]+\] (?P<message>.*)",
        # gRPC's and PyTorch's core: E0000 00:00:1732241234.123 1234 file.cc:123] message
        r"\[?(?P<level>[IWEF])\d{4} [\d:.]+ +(?P<message>.*)",
        # vLLM: (EngineCore pid=123) INFO 11-22 00:55:16 [core.py:77] message
        r"(?:\(.*?\) )?(?P<level>[A-Z]+) \d\d-\d\d [\d:]+ (?P<message>.*)",
    )
)
_LEVELS = {
    **dict.fromkeys((".", "-", "D", "DEBUG", *(f"DEBUG{number}" for number in range(1, 6))), "DEBUG"),
    **dict.fromkeys(("W", "WARNING", "WARN", "#"), "WARNING"),
    **dict.fromkeys(("E", "ERROR"), "ERROR"),
    **dict.fromkeys(("F", "FATAL", "PANIC", "CRITICAL"), "CRITICAL"),
}
_OURS = frozenset({DEFAULT_LEVEL, *_LEVELS.values()})
# Shown first and in this order; the rest of a line's fields follows.
_HEAD = ("time", "level", "process", "message")
_COLUMN = 16


def as_json(process: str, line: str, now: datetime) -> str | None:
    """The line as a JSON object with at least the required fields; None for an empty line.

    `now` is when the line was read. It is the time of a line without a JSON one: those programs write local time
    without its zone, some without the year.
    """
    text = _ESCAPES.sub("", line).strip("\r\n")
    if not text.strip():
        return None
    entry = _parsed(text)
    if entry is not None and entry.keys() >= REQUIRED and entry["level"] in _OURS:
        return text
    if entry is None:
        level, text = _split(text)
        entry = {"level": level, "message": text}
    found = {"time": _utc(now), "level": "", "process": process, "message": ""} | entry
    return json.dumps(found | {"level": _level(found["level"])}, ensure_ascii=False, default=str)


def entry_of(process: str, line: str) -> dict[str, Any]:
    """A line of a log as its fields; a line that is no JSON object stands as its message."""
    return _parsed(line) or {"time": "", "level": "", "process": process, "message": line}


def legible(entry: dict[str, Any], *, alone: bool = False) -> str:
    """An entry as a line for people: time, level, process (unless `alone`), message, then the other fields."""
    time = str(entry.get("time", "")).replace("T", " ")[:23]
    parts = [f"{time:<23}", f"{entry.get('level', ''):<8}"]
    if not alone:
        parts.append(f"{entry.get('process', ''):<{_COLUMN}}")
    parts.append(str(entry.get("message", "")))
    exception = entry.get("exception")
    parts += [f"{key}={_short(value)}" for key, value in entry.items() if key not in (*_HEAD, "exception")]
    return " ".join(parts) + (f"\n{exception}" if exception else "")


def _parsed(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        entry = json.loads(text)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _split(text: str) -> tuple[str, str]:
    """Level and message of a plain line; all of it is the message when no shape fits."""
    for shape in _SHAPES:
        if found := shape.match(text):
            return found["level"], found["message"]
    return DEFAULT_LEVEL, text


def _level(name: object) -> str:
    """The word for it that our own processes use."""
    return _LEVELS.get(str(name).upper(), DEFAULT_LEVEL)


def _utc(now: datetime) -> str:
    return now.astimezone(UTC).isoformat(timespec="milliseconds")


def _short(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
