"""Schemas of strangers: none of them fetches anything, and none of them takes long."""

import json
import socket
import time
from typing import Any

import pytest

from serve_apps.assistant import schemas

SECONDS = 2.0
# Two to the power of forty ways through eighty references.
LAUGHS = {
    "type": "object",
    "$defs": {
        f"a{depth}": {"allOf": [{"$ref": f"#/$defs/a{depth + 1}"}, {"$ref": f"#/$defs/a{depth + 1}"}]}
        for depth in range(40)
    }
    | {"a40": True},
    "$ref": "#/$defs/a0",
}
CRAWLING = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(.*?,){25}P"}}}
MANY = {"type": "object", "properties": {"a": {"allOf": [{"items": {"type": "string"}}] * 300}}}


def read(schema: Any) -> schemas.Schema:
    return schemas.read(json.dumps(schema))


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (LAUGHS, {}),
        (CRAWLING, {"a": "1," * 40}),
        (MANY, {"a": ["x"] * 2000}),
        ({"type": "object", "$ref": "#"}, {}),
        ({"type": "object", "$ref": "#/nowhere"}, {}),
        ({"type": "object", "$id": "http://127.0.0.1:9/", "$ref": "#/nowhere"}, {}),
    ],
    ids=["doubling", "pattern", "large", "endless", "leads nowhere", "named elsewhere"],
)
def test_what_would_take_too_long_is_given_up(schema: Any, value: object) -> None:
    began = time.process_time()
    with pytest.raises(schemas.TooMuchWork):
        schemas.problem(read(schema), value)
    assert time.process_time() - began < SECONDS


@pytest.mark.parametrize("reference", ["$ref", "$dynamicRef"])
@pytest.mark.parametrize("inside", [False, True])
def test_nothing_is_fetched(reference: str, inside: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0)
        there = {reference: f"http://127.0.0.1:{elsewhere.getsockname()[1]}/schema.json"}
        with pytest.raises(schemas.BadSchema, match="another document"):
            read({"type": "object", "properties": {"a": there}} if inside else {"type": "object", **there})
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 100_000, "nested too deep"),
        ("{", "is not JSON"),
        ("true", "not the schema of an object"),
        ('{"type": "array"}', "not the schema of an object"),
        ('{"type": "object", "properties": 5}', "is no JSON schema"),
        ('{"type": "object", "properties": {"a": {"pattern": "("}}}', "is no JSON schema"),
        ('{"type": "object", "patternProperties": {"a": true}}', "not possible here"),
    ],
)
def test_what_is_no_schema_of_an_object_is_refused_in_words(text: str, why: str) -> None:
    with pytest.raises(schemas.BadSchema, match=why):
        schemas.read(text)


def test_a_value_fits_or_is_told_what_is_wrong() -> None:
    schema = read(
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "$defs": {"number": {"type": "string", "pattern": "^[0-9]{4}$"}},
            "properties": {"orders": {"type": "array", "items": {"$ref": "#/$defs/number"}}},
            "additionalProperties": False,
        }
    )
    assert schemas.problem(schema, {"orders": ["1234"]}) == ""
    assert schemas.problem(schema, {"orders": ["12345"]}) == "orders.0: '12345' does not match '^[0-9]{4}$'"
    assert "Additional properties" in schemas.problem(schema, {"other": 1})
