"""Schemas that strangers write, and values held against them: nobody else is asked, and it takes bounded time.

JSON Schema can name documents elsewhere, which the library would fetch; refer to itself so that a small schema has no
end, or ages to it; and hold patterns that take ages. All of that is refused here.
"""

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import regex  # type: ignore[import-untyped]
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import CannotDetermineSpecification, Unresolvable

# What a value is held against: keywords of the schema, counted again for each part of the value they meet.
MOST_STEPS = 20_000
PATTERN_SECONDS = 0.1
SHOWN_CHARACTERS = 300
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
# The library follows its patterns in places where no time can be set.
NOT_POSSIBLE = "patternProperties"

Schema = dict[str, Any]
Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]


class BadSchema(ValueError):
    """What was given is no schema, or none that is taken; the message says why."""


class TooMuchWork(Exception):
    """To tell whether the value fits would take longer than anybody may ask for."""


def read(text: str) -> Schema:
    """The schema of an object in a JSON text. Raises BadSchema."""
    try:
        schema = json.loads(text)
        Draft202012Validator.check_schema(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
        _refuse(schema)
    except SchemaError as error:
        raise BadSchema(f"is no JSON schema: {error.message}"[:SHOWN_CHARACTERS]) from None
    except BadSchema:
        raise
    except ValueError:
        raise BadSchema("is not JSON") from None
    except RecursionError:
        raise BadSchema("is nested too deep") from None
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise BadSchema("is not the schema of an object")
    return schema


def problem(schema: Schema, value: object) -> str:
    """What is wrong with a value, in words; empty when it fits. Raises TooMuchWork."""
    kind = validators.extend(Draft202012Validator, _bounded())
    try:
        kind(schema, registry=Registry()).validate(value)
    except ValidationError as error:
        field = ".".join(map(str, error.absolute_path)) or "arguments"
        return f"{field}: {error.message}"[:SHOWN_CHARACTERS]
    except (RecursionError, Unresolvable, CannotDetermineSpecification):
        raise TooMuchWork from None
    return ""


def _bounded() -> Mapping[str, Keyword]:
    """The keywords, with a count and a clock for all of them together."""
    steps, patterns_end = itertools.count(), time.monotonic() + PATTERN_SECONDS

    def counted(keyword: Keyword) -> Keyword:
        def check(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[ValidationError] | None:
            if next(steps) >= MOST_STEPS:
                raise TooMuchWork
            return keyword(validator, wanted, value, schema)

        return check

    def pattern(validator: Any, wanted: str, value: Any, _schema: Any) -> Iterator[ValidationError]:
        if not validator.is_type(value, "string"):
            return
        try:
            left = max(patterns_end - time.monotonic(), 0.001)
            if not regex.search(wanted, value, timeout=left):
                yield ValidationError(f"{value!r} does not match {wanted!r}")
        except (TimeoutError, regex.error):
            raise TooMuchWork from None

    keywords: Mapping[str, Keyword] = Draft202012Validator.VALIDATORS
    return {name: counted(keyword) for name, keyword in {**keywords, "pattern": pattern}.items()}


def _refuse(part: object) -> None:
    if isinstance(part, dict):
        for name in REFERENCES:
            if isinstance(part.get(name), str) and not part[name].startswith("#"):
                raise BadSchema("refers to another document")
        if NOT_POSSIBLE in part:
            raise BadSchema(f"has {NOT_POSSIBLE}, which are not possible here")
        for value in part.values():
            _refuse(value)
    elif isinstance(part, list):
        for value in part:
            _refuse(value)
