"""Requests that break a rule in the protos never reach a servicer; the caller learns which field and why."""

import json
from collections.abc import Callable

from google.protobuf.message import Message
from protovalidate import FieldPathElementPb, Validator, ViolationPb

from services.common.errors import InvalidInput

Validate = Callable[[Message], None]


def validation(validator: Validator) -> Validate:
    """The check of any message. It raises InvalidInput with a violation a broken rule."""
    collect = validator.collect_violations

    def validate(message: Message) -> None:
        if violations := collect(message):
            raise InvalidInput(violations=[_pair(violation.proto) for violation in violations])

    return validate


def _pair(violation: ViolationPb) -> tuple[str, str]:
    return ".".join(_step(element) for element in violation.field.elements), violation.message


def _step(element: FieldPathElementPb) -> str:
    """A step of a path as in `members[2]` or `labels["a"]`."""
    name: str = element.field_name
    if element.subscript is None:
        return name
    key = element.subscript.value
    return f"{name}[{json.dumps(key)}]"
