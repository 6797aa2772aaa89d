"""Finds the spans of one trace and puts them in order."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from laptop.trace_collector import CURRENT

Record = dict[str, Any]


@dataclass
class Node:
    """A span and what it caused, by time."""

    span: Record
    children: list["Node"] = field(default_factory=list)

    def as_json(self) -> Record:
        """The span with its children inside."""
        return {**self.span, "children": [child.as_json() for child in self.children]}


def find(folder: Path, trace_id: str) -> list[Record]:
    """The spans whose trace ID begins with `trace_id`, by start. Empty if there is none."""
    wanted = f'"trace_id":"{trace_id.lower()}'
    found = [json.loads(line) for line in _lines(folder) if wanted in line]
    return sorted(
        (span for span in found if span["trace_id"].startswith(trace_id.lower())), key=lambda s: s["start_ns"]
    )


def tree(spans: list[Record]) -> list[Node]:
    """The spans as trees; one whose parent is not among them is a root."""
    nodes = {span["span_id"]: Node(span) for span in spans}
    children: dict[str, list[Node]] = defaultdict(list)
    for node in nodes.values():
        parent = node.span["parent_id"]
        children[parent if parent in nodes else ""].append(node)
    for span_id, node in nodes.items():
        node.children = children[span_id]
    return children[""]


def _lines(folder: Path) -> Iterator[str]:
    for file in sorted(folder.glob(f"{CURRENT}*"), reverse=True):
        with file.open(encoding="utf-8") as stream:
            yield from stream
