"""Several processes' metrics as one document in Prometheus' text format: each sample says which process it is of."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

LABEL = "process"

_COMMENT = re.compile(r"# (?P<kind>HELP|TYPE) (?P<name>\S+) ?(?P<text>.*)")
_SAMPLE = re.compile(r"(?P<name>[^\s{]+)(?:\{(?P<labels>.*)\})?\s(?P<value>\S.*)")
_PROCESS = re.compile(rf'(?:^|,){LABEL}="(?P<name>[^"]*)"')


@dataclass
class _Family:
    """The samples of one name; help and type as the first process gave them, for a document may say them once."""

    comments: dict[str, str] = field(default_factory=dict)
    samples: list[str] = field(default_factory=list)


def merge(documents: Iterable[tuple[str, str]], *, only: str = "") -> str:
    """One document of several, each a process's name and its text; with `only`, the samples of that process alone.

    A sample that has the label already keeps it: the supervisor speaks for the stores.
    """
    families: dict[str, _Family] = {}
    for process, text in documents:
        _add(families, process, text, only)
    lines: list[str] = []
    for name, family in families.items():
        if family.samples:
            lines += [f"# {kind} {name} {text}" for kind, text in family.comments.items()]
            lines += family.samples
    return "".join(f"{line}\n" for line in lines)


def _add(families: dict[str, _Family], process: str, text: str, only: str) -> None:
    current = ""
    for line in text.splitlines():
        if comment := _COMMENT.fullmatch(line):
            current = comment["name"]
            families.setdefault(current, _Family()).comments.setdefault(comment["kind"], comment["text"])
        elif not line.startswith("#") and (sample := _SAMPLE.fullmatch(line)):
            labels, named = sample["labels"] or "", process
            if found := _PROCESS.search(labels):
                named = found["name"]
            else:
                labels = f'{LABEL}="{process}"' + (f",{labels}" if labels else "")
            if not only or named == only:
                # The samples of a histogram have names of their own, and stand under the family's.
                name = current if current and sample["name"].startswith(current) else sample["name"]
                family = families.setdefault(name, _Family())
                family.samples.append(f"{sample['name']}{{{labels}}} {sample['value']}")
