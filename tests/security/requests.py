"""Random requests for any RPC, made from what its proto says, that name things of one organization or of another."""

import random
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from protovalidate import ValidationError, Validator

from services.common.ids import new_id
from services.common.permissions import EVERY_PERMISSION

IDENTIFIER = re.compile(r"\b[a-z]{2,5}_[0-9a-z]{26}\b")
PASSWORD = "a long enough phrase"
ATTEMPTS = 60
# They are as good as identifiers.
TOKENS = frozenset({"etag", "page_token", "organization_slug"})
PERMISSIONS = sorted(EVERY_PERMISSION)
WORDS = ("order", "return", "refund", "gift card", "delivery", "invoice", "voucher", "exchange")
# Fields that are identifiers of a kind other than their name says.
PEOPLE = frozenset({"assignee_id", "requester_id", "user_id", "user_ids", "subject_id", "actor_id", "customer_id"})


@dataclass
class Belongings:
    """What is known of one organization: its mark, which stands in all its texts, and its identifiers by kind."""

    mark: str
    of_kind: dict[str, list[str]] = field(default_factory=dict)
    identifiers: set[str] = field(default_factory=set)

    def learn(self, message: Message) -> None:
        """Remember every identifier, etag and page token in a response to the organization itself."""
        for owner, name, value in _strings(message):
            kind = f"{_snake(owner)}_id" if name == "id" else _kind(name)
            if IDENTIFIER.fullmatch(value):
                self.identifiers.add(value)
                self._add(kind, value)
            elif name in ("etag", "next_page_token", "slug"):
                self._add(kind, value)

    def any_of(self, kind: str, dice: random.Random) -> str:
        """One of a kind, else any identifier at all."""
        known = self.of_kind.get(kind) or sorted(self.identifiers)
        return dice.choice(known) if known else ""

    def _add(self, kind: str, value: str) -> None:
        known = self.of_kind.setdefault(kind, [])
        if value not in known:
            known.append(value)


class Requests:
    """Makes requests. `own` is the organization that asks; `other` is named where `foreign` says so."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self._validator = Validator()
        self._words = Belongings("")

    def make(
        self, method: MethodDescriptor, own: Belongings, other: Belongings, *, foreign: float, reading: bool
    ) -> Message | None:
        """A request that the rules of the proto accept, or None when none was found.

        `foreign` is the share of names of the other organization. Who reads looks for the other's words; who writes
        uses its own, so that the other's are nowhere but with the other.
        """
        self._words = other if reading else own
        for _ in range(ATTEMPTS):
            request = self._message(method.input_type, own, other, foreign)
            try:
                self._validator.validate(request)
            except ValidationError:
                continue
            return request
        return None

    def _message(self, descriptor: Descriptor, own: Belongings, other: Belongings, foreign: float) -> Message:
        match descriptor.full_name:
            case "google.protobuf.Timestamp":
                return _well_known(descriptor, seconds=int(time.time()) + self.dice.randint(-30, 30) * 86_400)
            case "google.protobuf.Duration":
                # Nothing may run out while the test goes on.
                return _well_known(descriptor, seconds=self.dice.choice([1, 2, 24]) * 3600)
        message: Any = message_factory.GetMessageClass(descriptor)()
        chosen = {one.name: self.dice.choice(one.fields) for one in descriptor.oneofs}
        for one in descriptor.fields:
            if one.containing_oneof and chosen[one.containing_oneof.name] is not one:
                continue
            if self.dice.random() < 0.25 and not _needed(one):
                continue
            values = [
                self._value(one, own, other, foreign) for _ in range(self.dice.randint(1, 2) if one.is_repeated else 1)
            ]
            _set(message, one, values)
        return message  # type: ignore[no-any-return]

    def _value(self, one: FieldDescriptor, own: Belongings, other: Belongings, foreign: float) -> Any:
        if one.message_type is not None:
            if one.message_type.full_name == "google.protobuf.FieldMask":
                return self._mask(one, one.message_type)
            return self._message(one.message_type, own, other, foreign)
        if one.enum_type is not None:
            return self.dice.choice([value.number for value in one.enum_type.values if value.number])
        if one.type == FieldDescriptor.TYPE_STRING:
            return self._text(one.name, other if self.dice.random() < foreign else own)
        plain = {
            FieldDescriptor.TYPE_BYTES: self.dice.randbytes(16),
            FieldDescriptor.TYPE_BOOL: self.dice.random() < 0.5,
        }
        return plain.get(one.type, self.dice.randint(1, 50))

    def _text(self, name: str, whose: Belongings) -> str:
        if name.endswith(("_id", "_ids")) and name != "request_id":
            return whose.any_of(_kind(name), self.dice)
        words = self._words if whose.mark != self._words.mark and name not in TOKENS else whose
        made = self._special(name, words)
        return f"{words.mark} {self.dice.choice(WORDS)}" if made is None else made

    def _special(self, name: str, whose: Belongings) -> str | None:
        """A value for a field whose name says that not any text will do."""
        number = self.dice.randint(0, 10**6)
        known = {
            "request_id": [new_id("req")],
            "email": [f"{new_id('p')}@{whose.mark}.example"],
            "password": [PASSWORD],
            "locale": ["en"],
            "scopes": PERMISSIONS,
            "permissions": PERMISSIONS,
            "allowed_networks": ["10.0.0.0/8"],
            "issuer": [f"https://{whose.mark}.invalid"],
            "email_domains": [f"{whose.mark}.example"],
            "hosts": [f"{whose.mark}.invalid"],
            "slug": [*whose.of_kind.get("slug", []), f"{whose.mark}-{number}"],
            "organization_slug": [*whose.of_kind.get("slug", [])],
            "page_token": ["", whose.any_of("next_page_token", self.dice)],
            "etag": [whose.any_of("etag", self.dice)],
            "subject": [whose.any_of("user_id", self.dice), f"{whose.mark} subject"],
        }
        return self.dice.choice(known[name]) if known.get(name) else None

    def _mask(self, one: FieldDescriptor, mask: Descriptor) -> Message:
        """Some of the fields of a request that stand after its mask."""
        siblings = one.containing_type.fields if one.containing_type else []
        fields = [other.name for other in siblings if other.number > one.number]
        return _well_known(mask, paths=self.dice.sample(fields, min(len(fields), 2)))


def names(message: Message, owner: Belongings) -> set[str]:
    """The organization's identifiers that a message holds."""
    return {found for text in texts(message) for found in IDENTIFIER.findall(text)} & owner.identifiers


def texts(message: Message) -> Iterator[str]:
    """Every text in a message."""
    for _, _, value in _strings(message):
        yield value


def renamed(message: Message, owner: Belongings) -> Message:
    """The same request, made anew, with names that nobody has in place of those of an organization."""
    data = {found: new_id(found.partition("_")[0]) for found in names(message, owner)}
    if request_id := getattr(message, "request_id", ""):
        data[request_id] = new_id("req")
    copy = type(message)()
    copy.CopyFrom(message)
    _rename(copy, data)
    return copy


def _rename(message: Any, data: Mapping[str, str]) -> None:
    for one, value in message.ListFields():
        if one.type == FieldDescriptor.TYPE_STRING:
            if one.is_repeated:
                value[:] = [data.get(text, text) for text in value]
            else:
                setattr(message, one.name, data.get(value, value))
        elif one.message_type is not None and not one.message_type.GetOptions().map_entry:
            for inner in value if one.is_repeated else [value]:
                _rename(inner, data)


def _strings(message: Any) -> Iterator[tuple[str, str, str]]:
    """The owner's type, the name and the value of every string in a message."""
    for one, value in message.ListFields():
        owner = one.containing_type.name if one.containing_type else ""
        if one.message_type is not None and one.message_type.GetOptions().map_entry:
            for key, inner in value.items():
                yield owner, one.name, str(key)
                if isinstance(inner, str):
                    yield owner, one.name, inner
        elif one.message_type is not None:
            for inner in value if one.is_repeated else [value]:
                yield from _strings(inner)
        elif one.type == FieldDescriptor.TYPE_STRING:
            for text in value if one.is_repeated else [value]:
                yield owner, one.name, text


def _set(message: Any, one: FieldDescriptor, values: list[Any]) -> None:
    if one.message_type is not None:
        for value in values:
            (getattr(message, one.name).add() if one.is_repeated else getattr(message, one.name)).CopyFrom(value)
    elif one.is_repeated:
        getattr(message, one.name).extend(dict.fromkeys(values))
    else:
        setattr(message, one.name, values[0])


def _well_known(descriptor: Descriptor, **values: Any) -> Message:
    return message_factory.GetMessageClass(descriptor)(**values)


def _needed(one: FieldDescriptor) -> bool:
    """Names are what this is about, so a request leaves few of them out."""
    return one.name.endswith("_id") and one.number <= 2


def _kind(name: str) -> str:
    if name in PEOPLE:
        return "user_id"
    return name.removesuffix("s") if name.endswith("_ids") else name


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
