"""What programs print becomes JSON lines with the same fields, whoever wrote them."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from laptop import loglines
from laptop.logpipe import LONGEST_LINE_BYTES, LogPipe

NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
OURS = '{"time": "t", "level": "ERROR", "process": "auth", "message": "m", "trace_id": "0af7"}'


def entry(line: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(loglines.as_json("ray", line, NOW) or "")
    return found


@pytest.mark.parametrize(
    ("line", "level", "message"),
    [
        ("2026-11-22 00:54:09.211 UTC [28817] LOG:  ready", "INFO", "ready"),
        ("2026-11-22 00:54:09.211 UTC [9] deskmesh_auth@deskmesh ERROR:  no table", "ERROR", "no table"),
        ("2026-11-22 00:54:09.211 UTC [9] FATAL:  the end", "CRITICAL", "the end"),
        ("28819:M 22 Nov 2026 00:54:09.186 # Memory overcommit", "WARNING", "Memory overcommit"),
        ("28819:M 22 Nov 2026 00:54:09.186 * Ready", "INFO", "Ready"),
        ("WARNING 2026-11-22 01:14:19,622 controller 29206 -- Slow.", "WARNING", "controller 29206 -- Slow."),
        ("2026-11-22 00:54:27,959\tWARNING (agent) a.py:78 -- No.", "WARNING", "(agent) a.py:78 -- No."),
        ("[2026-11-22 01:14:22,996 E 29084 29108] (raylet) a.cc:87: Exited", "ERROR", "(raylet) a.cc:87: Exited"),
        ("E0000 00:00:1732241234.123456    1234 a.cc:123] failed", "ERROR", "1234 a.cc:123] failed"),
        ("(EngineCore pid=12) INFO 11-22 00:55:16 [core.py:77] Up", "INFO", "[core.py:77] Up"),
        ("Traceback (most recent call last):", "INFO", "Traceback (most recent call last):"),
        ("\x1b[33m(raylet)\x1b[0m Task failed.", "INFO", "(raylet) Task failed."),
        ("{'a': 'dict'}", "INFO", "{'a': 'dict'}"),
        ("{broken", "INFO", "{broken"),
        ("[1, 2]", "INFO", "[1, 2]"),
    ],
)
def test_a_plain_line_gets_a_level_and_keeps_its_message(line: str, level: str, message: str) -> None:
    assert entry(line) == {
        "time": "2026-01-02T03:04:05.678+00:00",
        "level": level,
        "process": "ray",
        "message": message,
    }


def test_a_line_that_has_the_fields_passes_as_it_is() -> None:
    assert loglines.as_json("auth", OURS + "\n", NOW) == OURS


def test_what_a_json_line_lacks_is_added_and_levels_have_one_spelling() -> None:
    found = entry('{"time": "t", "level": "warning", "message": "m", "flags": "-"}')
    assert found == {"time": "t", "level": "WARNING", "process": "ray", "message": "m", "flags": "-"}
    assert entry('{"a": 1}') == {"time": loglines._utc(NOW), "level": "INFO", "process": "ray", "message": "", "a": 1}


@pytest.mark.parametrize("line", ["", "\n", "  \r\n", "\x1b[0m\n"])
def test_an_empty_line_is_none(line: str) -> None:
    assert loglines.as_json("ray", line, NOW) is None


def test_people_read_the_exception_on_lines_of_its_own() -> None:
    text = loglines.legible(
        {"time": "2026-01-02T03:04:05.678+00:00", "level": "ERROR", "message": "m", "exception": "E"}
    )
    assert text.splitlines()[-1] == "E"
    assert loglines.legible(loglines.entry_of("web", "old plain text"), alone=True).strip() == "old plain text"


def test_a_pipe_copies_whole_lines_until_every_writer_is_gone(tmp_path: Path) -> None:
    log = tmp_path / "p.log"
    pipe = LogPipe("p", log)
    other = os.dup(pipe.writer)
    os.write(pipe.writer, b"first\nsec")
    pipe.handed_over()
    os.write(other, b"ond \xff\n" + b"x" * (LONGEST_LINE_BYTES + 1) + b"\nlast without an end")
    os.close(other)
    pipe.finish(10)
    messages = [json.loads(line)["message"] for line in log.read_text().splitlines()]
    assert messages[:2] == ["first", "second \ufffd"]
    assert [len(message) for message in messages[2:4]] == [LONGEST_LINE_BYTES, 1]
    assert messages[4] == "last without an end"
