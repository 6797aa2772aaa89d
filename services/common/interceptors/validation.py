"""Requests that break a rule in the protos never reach a servicer; the caller learns which field and why."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from protovalidate import FieldPathElementPb, Validator, ViolationPb

from services.common.errors import InvalidInput, RequestTooLarge

Validate = Callable[[Any], None]
Decode = Callable[[bytes], Message]


class Refused:
    """Stands for a request that must not be looked at. gRPC decodes before any concern runs, and what a decoder raises
    would reach the caller as it is."""

    def __init__(self, error: InvalidInput) -> None:
        self.error = error


def decoding(deserialize: Decode, maximum_bytes: int) -> Callable[[bytes], Message | Refused]:
    """The generated decoder, but for Refused in place of an exception, and of a request above `maximum_bytes`.

    One rule holds for every string and stands in no proto: no null characters, which Postgres cannot keep.
    """

    def decode(payload: bytes) -> Message | Refused:
        if len(payload) > maximum_bytes:
            return Refused(RequestTooLarge(maximum_bytes))
        try:
            message = deserialize(payload)
        except DecodeError:
            return Refused(InvalidInput("The request is no message of this method."))
        # Few messages have a zero byte anywhere, so hardly any is walked through.
        if b"\0" in payload and (paths := list(_null_characters(message))):
            return Refused(InvalidInput(violations=[(path, "must not contain null characters") for path in paths]))
        return message

    return decode


def validation(validator: Validator) -> Validate:
    """The check of whatever came from `decoding`. It raises InvalidInput with a violation a broken rule."""
    collect = validator.collect_violations

    def validate(message: Message | Refused) -> None:
        if type(message) is Refused:
            raise message.error
        if violations := collect(message):
            raise InvalidInput(violations=[_pair(violation.proto) for violation in violations])

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
    # A rule of the whole message names no field.
    elements = violation.field.elements if violation.field is not None else ()
    return ".".join(_step(element) for element in elements), violation.message


def _step(element: FieldPathElementPb) -> str:
    """A step of a path as in `members[2]` or `labels["a"]`."""
    name: str = element.field_name
    if element.subscript is None:
        return name
    key = element.subscript.value
    return f"{name}[{json.dumps(key)}]"
