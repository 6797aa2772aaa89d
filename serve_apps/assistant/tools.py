"""Calls of tools, for models of any kind: asked for in words, read from the answer, held against their schemas.

A model that may choose writes a call between two marks. One whose call does not fit its schema is asked once more, and
this time its decoding is held to the schemas; so is that of a model that must call a tool.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from serve_apps.assistant import schemas
from serve_apps.assistant.engines.base import Constraint, Message, Role
from services.common.errors import InvalidInput

OPENING, CLOSING = "<tool_call>", "</tool_call>"
INTRODUCTION = "You can call these tools, a JSON object each:"
INSTRUCTIONS = (
    f'To call one, answer only with {OPENING}{{"name": …, "arguments": {{…}}}}{CLOSING}. '
    "Its result comes in the next message. Answer in words when no tool is needed."
)
REPAIR = "That was not a valid call ({problem}). Write the call again as one JSON object with name and arguments."


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call whose arguments, JSON text, fit the tool's schema."""

    name: str
    arguments: str


class NotACall(Exception):
    """What the model wrote is no valid call; the message says why, in words for the model."""


class Toolbox:
    """The tools of one request: name, description and JSON schema (as text) of each.

    Raises InvalidInput for a schema that is none, refers to somewhere else, or is not of an object.
    """

    def __init__(self, tools: Sequence[tuple[str, str, str]]) -> None:
        self._schemas = {
            name: _schema(text, f"tools[{index}].parameters_schema") for index, (name, _, text) in enumerate(tools)
        }
        if len(self._schemas) != len(tools):
            raise InvalidInput(violations=[("tools", "two tools share one name")])
        self._described = [
            {"name": name, "description": description, "parameters": self._schemas[name]}
            for name, description, _ in tools
        ]

    def instruct(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """The messages with the tools in the system message; results of tools and calls as text."""
        tools = (json.dumps(tool, ensure_ascii=False) for tool in self._described)
        words = "\n".join((INTRODUCTION, *tools, INSTRUCTIONS))
        if messages and messages[0].role is Role.SYSTEM:
            return (Message(Role.SYSTEM, f"{messages[0].content}\n\n{words}"), *messages[1:])
        return (Message(Role.SYSTEM, words), *messages)

    def constraint(self) -> Constraint:
        """The form of any valid call."""
        forms = [
            {
                "type": "object",
                "properties": {"name": {"const": name}, "arguments": schema},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
            for name, schema in self._schemas.items()
        ]
        return Constraint(json_schema=json.dumps(forms[0] if len(forms) == 1 else {"anyOf": forms}))

    def read(self, text: str) -> tuple[ToolCall, ...]:
        """The calls in an answer, with or without their marks. Raises NotACall."""
        texts = [part.split(CLOSING)[0] for part in text.split(OPENING)[1:]] or [text]
        return tuple(self._call(one.strip()) for one in texts)

    def _call(self, text: str) -> ToolCall:
        try:
            call = json.loads(text)
        except (ValueError, RecursionError):
            raise NotACall("it is not JSON") from None
        if not isinstance(call, dict) or not isinstance(call.get("name"), str) or "arguments" not in call:
            raise NotACall("it needs name and arguments")
        schema = self._schemas.get(call["name"])
        if schema is None:
            raise NotACall(f"there is no tool {call['name']}; there are {', '.join(self._schemas)}")
        try:
            problem = schemas.problem(schema, call["arguments"])
        except schemas.TooMuchWork:
            raise NotACall("its schema is too entangled to hold it against") from None
        if problem:
            raise NotACall(problem)
        return ToolCall(call["name"], json.dumps(call["arguments"], ensure_ascii=False))


def as_text(calls: Sequence[ToolCall]) -> str:
    """Calls as the model would have written them, for the messages of later turns."""
    return "\n".join(
        f'{OPENING}{{"name": {json.dumps(one.name)}, "arguments": {one.arguments}}}{CLOSING}' for one in calls
    )


def may_become_call(text: str) -> bool:
    """True as long as what was written so far is a call, or may still become one."""
    start = text.lstrip()
    return start.startswith(OPENING) or OPENING.startswith(start)


def _schema(text: str, field: str) -> dict[str, Any]:
    try:
        return schemas.read(text)
    except schemas.BadSchema as error:
        raise InvalidInput(violations=[(field, str(error))]) from None
