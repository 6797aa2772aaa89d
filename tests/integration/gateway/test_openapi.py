"""The REST API keeps to its document: whatever the document allows is answered as it says, and never breaks.

`DESKMESH_REST_SEED` chooses other requests.
"""

import json
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from jsonschema import Draft202012Validator

from tests.integration.gateway.rest import Reply, Rest

DOCUMENT: Mapping[str, Any] = json.loads((Path(__file__).parents[3] / "gen" / "openapi.json").read_text())
SCHEMAS = DOCUMENT["components"]["schemas"]
SEED = int(os.environ.get("DESKMESH_REST_SEED", "1"))
TRIES = 6
# These end the sign-in by which the others are tried.
LEFT_OUT = {"SignOut", "SignOutEverywhere", "ChangePassword"}
WORDS = ("", "a", "x" * 300, "ü🦉", "../..", "' or 1=1 --", "%00", "\u0000", "null", "nobody@example.com", "3600s")


def operations() -> list[tuple[str, str, Mapping[str, Any]]]:
    """Those of auth, which stands behind this door."""
    return [
        (verb, path, one)
        for path, verbs in DOCUMENT["paths"].items()
        for verb, one in verbs.items()
        if "/auth.v1." in json.dumps(one["responses"]["200"]) and one["operationId"] not in LEFT_OUT
    ]


def value(schema: Mapping[str, Any], dice: random.Random) -> Any:
    """A value that often keeps to the schema."""
    if "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].rpartition("/")[2]]
    if "enum" in schema:
        return dice.choice(schema["enum"])
    match schema.get("type"):
        case "object":
            required, fields = schema.get("required", ()), schema.get("properties", {})
            return {name: value(one, dice) for name, one in fields.items() if name in required or dice.random() < 0.5}
        case "array":
            return [value(schema["items"], dice) for _ in range(dice.randint(schema.get("minItems", 0), 3))]
        case "integer" | "number":
            return dice.choice([0, 1, schema.get("minimum", -1), schema.get("maximum", 2**31 - 1)])
        case "boolean":
            return dice.random() < 0.5
    return dice.choice([*WORDS, "a" * max(1, schema.get("minLength", 1)), "b" * min(200, schema.get("maxLength", 8))])


def damaged(made: Any, dice: random.Random) -> Any:
    """Now and then a value of another kind."""
    if not isinstance(made, dict) or not made or dice.random() < 0.6:
        return made
    return {**made, dice.choice(sorted(made)): dice.choice([None, 1.5, [[]], {"a": {}}, True, "x" * 5000])}


async def call(rest: Rest, verb: str, path: str, one: Mapping[str, Any], dice: random.Random) -> Reply:
    query = []
    for parameter in one["parameters"]:
        made = value(parameter["schema"], dice)
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", quote(str(made).replace("/", "") or "a", safe=""))
        elif parameter["required"] or dice.random() < 0.5:
            query += [(parameter["name"], each) for each in (made if isinstance(made, list) else [made])]
    more: dict[str, Any] = {}
    if "requestBody" in one:
        schema = one["requestBody"]["content"]["application/json"]["schema"]
        more["json"] = damaged(value(schema, dice), dice)
    return await rest.call(verb.upper(), f"{path}?{urlencode(query)}" if query else path, **more)


def complaint(reply: Reply, one: Mapping[str, Any]) -> str:
    """How an answer differs from what the document says of it; "" if it does not."""
    if reply.status >= 500 or reply.headers.get("content-type") != "application/json":
        return f"{reply.status} {reply.json}"
    described = one["responses"]["200" if reply.status == 200 else "default"]
    if "$ref" in described:
        described = DOCUMENT["components"]["responses"]["Error"]
    schema = {**described["content"]["application/json"]["schema"], "components": {"schemas": SCHEMAS}}
    return "; ".join(error.message for error in Draft202012Validator(schema).iter_errors(reply.json))


@pytest.mark.parametrize(("verb", "path", "one"), operations(), ids=[one["operationId"] for _, _, one in operations()])
async def test_every_operation_answers_as_documented(rest: Rest, verb: str, path: str, one: Mapping[str, Any]) -> None:
    dice = random.Random(f"{SEED} {verb} {path}")
    replies = [await call(rest, verb, path, one, dice) for _ in range(TRIES)]
    wrong = [found for reply in replies if (found := complaint(reply, one))]
    assert wrong == [], f"seed {SEED}"
    unknown = [reply for reply in replies if reply.status == 404 and reply.reason == "METHOD_UNKNOWN"]
    assert unknown == [], f"seed {SEED}: the path is not served"
