"""JSON schemas of messages, as their JSON is and as their validation rules want it."""

from collections.abc import Mapping
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

Schema = dict[str, Any]
PREFIX = "deskmesh."
# The generated type stubs call an extension a mere field descriptor.
_FIELD: Any = validate_pb2.field
_MESSAGE: Any = validate_pb2.message
_ONEOF: Any = validate_pb2.oneof

# What has a JSON form of its own.
WELL_KNOWN: Mapping[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {
        "type": "string",
        "pattern": r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$",
        "examples": ["3600s"],
    },
    "google.protobuf.FieldMask": {"type": "string", "examples": ["subject,priority"]},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Value": {},
    "google.protobuf.Any": {"type": "object", "properties": {"@type": {"type": "string"}}, "required": ["@type"]},
    "google.protobuf.Empty": {"type": "object"},
}
_F = FieldDescriptor
SIGNED_32, UNSIGNED_32 = (_F.TYPE_INT32, _F.TYPE_SINT32, _F.TYPE_SFIXED32), (_F.TYPE_UINT32, _F.TYPE_FIXED32)
SIGNED_64, UNSIGNED_64 = (_F.TYPE_INT64, _F.TYPE_SINT64, _F.TYPE_SFIXED64), (_F.TYPE_UINT64, _F.TYPE_FIXED64)


def _each(schema: Schema, *kinds: int) -> dict[int, Schema]:
    return {kind: dict(schema) for kind in kinds}


SCALARS: Mapping[int, Schema] = {
    _F.TYPE_STRING: {"type": "string"},
    _F.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    _F.TYPE_BOOL: {"type": "boolean"},
    _F.TYPE_DOUBLE: {"type": "number", "format": "double"},
    _F.TYPE_FLOAT: {"type": "number", "format": "float"},
    **_each({"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1}, *SIGNED_32),
    **_each({"type": "integer", "format": "uint32", "minimum": 0, "maximum": 2**32 - 1}, *UNSIGNED_32),
    # JSON's numbers are too small for 64 bits, so they are written as strings.
    **_each({"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,18}$"}, *SIGNED_64),
    **_each({"type": "string", "format": "uint64", "pattern": "^[0-9]{1,19}$"}, *UNSIGNED_64),
}
INTEGERS = ("int32", "sint32", "sfixed32", "uint32", "fixed32", "float", "double")


class Schemas:
    """Makes the schema of each message and enum once, under its name without our prefix."""

    def __init__(self, comments: Mapping[str, str]) -> None:
        self._comments = comments
        self.components: dict[str, Schema] = {}

    def reference(self, message: Descriptor) -> Schema:
        """The schema of a message: a reference, but for those with a JSON form of their own."""
        if message.full_name in WELL_KNOWN:
            return dict(WELL_KNOWN[message.full_name])
        name = message.full_name.removeprefix(PREFIX)
        if name not in self.components:
            self.components[name] = {}
            self.components[name] = self.message(message)
        return {"$ref": f"#/components/schemas/{name}"}

    def message(self, message: Descriptor, without: frozenset[str] = frozenset()) -> Schema:
        """The schema of a message in place; `without` names fields that stand elsewhere."""
        fields = [field for field in message.fields if field.name not in without]
        schema: Schema = {"type": "object", "properties": {field.name: self.field(field) for field in fields}}
        if required := [field.name for field in fields if is_required(field)]:
            schema["required"] = required
        choices = [
            {"anyOf": [{"required": [field.name]} for field in oneof.fields]}
            for oneof in message.oneofs
            if _oneof_required(oneof) and not {field.name for field in oneof.fields} & without
        ]
        if choices:
            schema["allOf"] = choices
        return self._described(schema, message.full_name, _rules_in_words(_message_rules(message)))

    def field(self, field: FieldDescriptor) -> Schema:
        """The schema of a field, with its rules."""
        rules = rules_of(field)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            value = field.message_type.fields_by_name["value"]
            schema: Schema = {"type": "object", "additionalProperties": self._one(value, rules.map.values)}
            _limits(schema, rules.map, {"minProperties": "min_pairs", "maxProperties": "max_pairs"})
        elif field.is_repeated:
            schema = {"type": "array", "items": self._one(field, rules.repeated.items)}
            _limits(schema, rules.repeated, {"minItems": "min_items", "maxItems": "max_items"})
            if rules.repeated.unique:
                schema["uniqueItems"] = True
        else:
            schema = self._one(field, rules)
        return self._described(schema, field.full_name, _rules_in_words(rules))

    def _one(self, field: FieldDescriptor, rules: Any) -> Schema:
        if field.message_type is not None:
            return self.reference(field.message_type)
        if field.enum_type is not None:
            return self._enum(field.enum_type, rules)
        schema = dict(SCALARS[field.type])
        if field.type == _F.TYPE_STRING:
            _of_text(schema, rules.string)
        for kind in INTEGERS:
            if rules.HasField(kind):
                _limits(
                    schema,
                    getattr(rules, kind),
                    {"minimum": "gte", "maximum": "lte", "exclusiveMinimum": "gt", "exclusiveMaximum": "lt"},
                )
        return schema

    def _enum(self, enum: EnumDescriptor, rules: Any) -> Schema:
        if rules.enum.not_in:
            return {"type": "string", "enum": [one.name for one in enum.values if one.number not in rules.enum.not_in]}
        name = enum.full_name.removeprefix(PREFIX)
        if name not in self.components:
            values = [
                f"- `{one.name}`: {self._comments.get(f'{enum.full_name}.{one.name}', '')}" for one in enum.values
            ]
            text = "\n".join((self._comments.get(enum.full_name, ""), "", *values)).strip()
            self.components[name] = {
                "type": "string",
                "enum": [one.name for one in enum.values],
                "description": text,
            }
        return {"$ref": f"#/components/schemas/{name}"}

    def _described(self, schema: Schema, name: str, rules: str) -> Schema:
        text = " ".join(filter(None, (self._comments.get(name, ""), rules)))
        return {**schema, "description": text} if text else schema


def rules_of(field: FieldDescriptor) -> Any:
    """The validation rules of a field; empty ones when it has none."""
    return field.GetOptions().Extensions[_FIELD]


def is_required(field: FieldDescriptor) -> bool:
    """Whether a request without the field, or with its default, is refused."""
    rules = rules_of(field)
    if rules.ignore:
        return False
    if rules.required:
        return True
    if field.is_repeated:
        return bool(rules.repeated.min_items)
    if field.has_presence:
        return False
    return bool(rules.string.min_len or rules.string.len or rules.bytes.min_len or 0 in rules.enum.not_in)


def _of_text(schema: Schema, rules: Any) -> None:
    _limits(schema, rules, {"minLength": "min_len", "maxLength": "max_len"})
    # A character takes a byte at least.
    _limits(schema, rules, {"maxLength": "max_bytes"} if rules.HasField("max_bytes") else {})
    if rules.HasField("len"):
        schema["minLength"] = schema["maxLength"] = rules.len
    if rules.pattern:
        schema["pattern"] = rules.pattern
    if rules.email:
        schema["format"] = "email"
    if getattr(rules, "in"):
        schema["enum"] = list(getattr(rules, "in"))


def _limits(schema: Schema, rules: Any, names: Mapping[str, str]) -> None:
    for word, rule in names.items():
        if rules.HasField(rule):
            schema[word] = getattr(rules, rule)


def _rules_in_words(rules: Any) -> str:
    """Rules that JSON schema cannot say."""
    return " ".join(f"Rule: {rule.message}." for rule in rules.cel if rule.message)


def _message_rules(message: Descriptor) -> Any:
    return message.GetOptions().Extensions[_MESSAGE]


def _oneof_required(oneof: Any) -> bool:
    return bool(oneof.GetOptions().Extensions[_ONEOF].required)
