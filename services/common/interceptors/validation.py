"""Requests that break a rule in the protos never reach a servicer; the caller learns which field and why."""

import json
from collections.abc import Callable, Iterator

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from protovalidate import FieldPathElementPb, Validator, ViolationPb

from services.common.errors import InvalidInput

Validate = Callable[[Message], None]


def validation(validator: Validator) -> Validate:
    """The check of any message. It raises InvalidInput with a violation a broken rule.

    One rule holds for every string and stands in no proto: no null characters, which Postgres cannot keep.
    """
    collect = validator.collect_violations

    def validate(message: Message) -> None:
        if violations := collect(message):
            raise InvalidInput(violations=[_pair(violation.proto) for violation in violations])
        # Few messages have a zero byte anywhere, so hardly any is walked through.
        if b"\0" in message.SerializeToString() and (paths := list(_null_characters(message))):
            raise InvalidInput(violations=[(path, "must not contain null characters") for path in paths])

    return validate


def _null_characters(message: Message, prefix: str = "") -> Iterator[str]:
    """Paths of the strings with null characters."""
    for field, value in message.ListFields():
        if field.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE):
            continue
        path = prefix + field.name
        each = (
            [(f"{path}[{index}]", item) for index, item in enumerate(value)] if field.is_repeated else [(path, value)]
        )
        for step, item in each:
            if isinstance(item, Message):
                yield from _null_characters(item, f"{step}.")
            elif isinstance(item, str) and "\0" in item:
                yield step


def _pair(violation: ViolationPb) -> tuple[str, str]:
    return ".".join(_step(element) for element in violation.field.elements), violation.message


def _step(element: FieldPathElementPb) -> str:
    """A step of a path as in `members[2]` or `labels["a"]`."""
    name: str = element.field_name
    if element.subscript is None:
        return name
    key = element.subscript.value
    return f"{name}[{json.dumps(key)}]"
