"""YAML files whose mistakes are named with file, line and field."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

WHOLE = "(whole file)"
Model = TypeVar("Model", bound=BaseModel)


class ConfigError(Exception):
    """The file cannot be used: one line a problem, each with the file, the line, the field and what is wrong."""


def load(file: Path, model: type[Model]) -> Model:
    """Read a file as this model. Raises ConfigError."""
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from error
    return parse(text, model, str(file))


def parse(text: str, model: type[Model], name: str) -> Model:
    """Read a text as this model; `name` stands for the file in errors. Raises ConfigError."""
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        raise ConfigError(f"{where}: is not YAML: {getattr(error, 'problem', None) or error}") from error
    if twice := [f"{name}:{line}: {field}: stands here twice" for line, field in _repeated(root)]:
        raise ConfigError("\n".join(twice))
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ConfigError("\n".join(_line(name, root, *one) for one in _problems(error))) from error


def _problems(error: ValidationError) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """Location and message of each problem, without those that only follow from others: a list whose items are wrong
    is also said to be too short."""
    locations = [one["loc"] for one in error.errors()]
    for one in error.errors():
        location = one["loc"]
        inside = any(len(other) > len(location) and other[: len(location)] == location for other in locations)
        if not (one["type"] == "too_short" and inside):
            yield location, one["msg"]


def _line(name: str, root: yaml.Node | None, location: Sequence[int | str], message: str) -> str:
    line, path = _find(root, location)
    return f"{name}:{line}: {path or WHOLE}: {message.removeprefix('Value error, ')}"


def _find(root: yaml.Node | None, location: Sequence[int | str]) -> tuple[int, str]:
    """The line of the innermost node on the way to a field, and the field as a person would write it.

    Some steps are not in the file: the name of a union's member, and the field itself when it is missing.
    """
    node, line, path = root, (root.start_mark.line + 1 if root else 1), ""
    for position, step in enumerate(location):
        if isinstance(step, int) and isinstance(node, yaml.SequenceNode) and step < len(node.value):
            node = node.value[step]
            line, path = node.start_mark.line + 1, f"{path}[{step}]"
            continue
        found = _entry(node, step)
        if found is not None:
            key, node = found
            line, path = key.start_mark.line + 1, f"{path}.{step}".lstrip(".")
        elif position == len(location) - 1 and not _is_kind(node, step):
            path = f"{path}.{step}".lstrip(".")
    return line, path


def _entry(node: yaml.Node | None, name: int | str) -> tuple[yaml.Node, yaml.Node] | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next(((key, value) for key, value in node.value if key.value == name), None)


def _is_kind(node: yaml.Node | None, step: int | str) -> bool:
    found = _entry(node, "kind")
    return found is not None and found[1].value == step


def _repeated(node: yaml.Node | None, path: str = "") -> Iterator[tuple[int, str]]:
    """Keys that a mapping has twice; YAML's reader would silently keep the last."""
    match node:
        case yaml.MappingNode():
            seen: set[Any] = set()
            for key, value in node.value:
                field = f"{path}.{key.value}".lstrip(".")
                if key.value in seen:
                    yield key.start_mark.line + 1, field
                seen.add(key.value)
                yield from _repeated(value, field)
        case yaml.SequenceNode():
            for index, value in enumerate(node.value):
                yield from _repeated(value, f"{path}[{index}]")
