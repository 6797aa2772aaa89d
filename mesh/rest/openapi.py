"""Writes the OpenAPI document of the REST API: `python -m mesh.rest.openapi DESCRIPTORS DOCUMENT`.

DESCRIPTORS is what `buf build` makes of the protos, from which the comments come; all else comes from the stubs.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.rpc import status_pb2

from mesh.policy.table import Rule, rule_of, services
from mesh.rest.comments import comments
from mesh.rest.paths import Binding, bindings
from mesh.rest.schemas import WELL_KNOWN, Schema, Schemas, is_required

INTRODUCTION = """\
Everything that Deskmesh does over gRPC, by HTTP and JSON, with the same rights, limits and errors.

**Signing in.** `POST /api/v1/auth:signIn` gives an access token that lasts minutes, and a refresh token. Programs use
an API key instead, in `x-api-key` or as bearer.

**Names and values.** Fields are named as in the protos (`page_size`); `pageSize` is taken too. 64-bit numbers are
strings, times are RFC 3339, spans are seconds such as `"3600s"`, a field mask is one string with commas. Fields that
are empty are answered too. A query that is not of the request is refused; what a body names beyond it is passed over.

**Repeating.** Where a request has a `request_id`, the same one with the same content has one effect and one answer.

**Errors** are a `google.rpc.Status`: `code` is gRPC's, and in `details` stand an `ErrorInfo` with the `reason` to go
by, the fields that are wrong (`BadRequest`), how long to wait (`RetryInfo`).

**Streams** answer with one JSON object a line, as each comes; an error after the first ends the body.
"""
ERROR = {"$ref": "#/components/responses/Error"}
JSON = "application/json"


def document(files: descriptor_pb2.FileDescriptorSet) -> dict[str, Any]:
    """The whole document as JSON values."""
    said = comments(files)
    schemas = Schemas(said)
    paths: dict[str, dict[str, Any]] = {}
    tags = []
    for service in services():
        found = [one for method in service.methods for one in bindings(method)]
        for place, one in enumerate(found):
            again = any(other.method is one.method for other in found[:place])
            paths.setdefault(one.path, {})[one.verb] = _operation(one, again, schemas, said)
        if found:
            tags.append({"name": _tag(service.name), "description": said.get(service.full_name, "")})
    error = schemas.reference(status_pb2.Status.DESCRIPTOR)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Deskmesh", "version": "v1", "description": INTRODUCTION},
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"key": []}],
        "tags": tags,
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "responses": {"Error": {"description": "What went wrong.", "content": {JSON: {"schema": error}}}},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _operation(one: Binding, again: bool, schemas: Schemas, said: Mapping[str, str]) -> dict[str, Any]:
    """`again` is for a further path of an RPC, which needs a name of its own."""
    method, rule = one.method, rule_of(one.method)
    text = said.get(method.full_name, "")
    answer = schemas.reference(method.output_type)
    kind = "One of these a line, as they come." if rule.server_streaming else said.get(method.output_type.full_name, "")
    operation: dict[str, Any] = {
        "operationId": f"{method.name}{'By' + one.path.rpartition(':')[2] if again else ''}",
        "tags": [_tag(method.containing_service.name)],
        "summary": text.partition(". ")[0].removesuffix("."),
        "description": " ".join(filter(None, (text, _needs(rule)))),
        "parameters": list(_parameters(one, schemas)),
        "responses": {"200": {"description": kind or "Done.", "content": {JSON: {"schema": answer}}}, "default": ERROR},
    }
    if one.body:
        schema = schemas.message(method.input_type, without=frozenset(one.variables))
        operation["requestBody"] = {"required": bool(schema.get("required")), "content": {JSON: {"schema": schema}}}
    if rule.anonymous:
        operation["security"] = [{}]
    if method.GetOptions().deprecated:
        operation["deprecated"] = True
    return operation


def _needs(rule: Rule) -> str:
    """What the caller must hold, in words."""
    words = []
    if rule.permission:
        words.append(f"Needs the permission `{rule.permission}`.")
    if rule.step_up:
        words.append("Needs a proof of who you are within the last ten minutes.")
    return " ".join(words)


def _parameters(one: Binding, schemas: Schemas) -> Iterator[Schema]:
    fields = one.method.input_type.fields_by_name
    for name in one.variables:
        # An empty name would be another path, and a slash another part of it.
        schema = {"minLength": 1, **schemas.field(fields[name])}
        yield {"name": name, "in": "path", "required": True, "schema": schema}
    if not one.body:
        for field in one.method.input_type.fields:
            if field.name not in one.variables:
                yield from _query(field, "", schemas)


def _query(field: FieldDescriptor, before: str, schemas: Schemas) -> Iterator[Schema]:
    """The parameters that a field of a request without body becomes; those of a message stand behind dots."""
    message = field.message_type
    if message is not None and message.full_name not in WELL_KNOWN:
        for inner in message.fields:
            yield from _query(inner, f"{before}{field.name}.", schemas)
        return
    schema = schemas.field(field)
    described = {"description": schema.pop("description")} if "description" in schema else {}
    required = is_required(field) and not before
    yield {"name": f"{before}{field.name}", "in": "query", "required": required, **described, "schema": schema}


def _tag(service: str) -> str:
    return service.removesuffix("Service")


def main(arguments: Sequence[str]) -> int:
    """The command."""
    source, target = map(Path, arguments)
    made = document(descriptor_pb2.FileDescriptorSet.FromString(source.read_bytes()))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(made, ensure_ascii=False, separators=(",", ":")))
    sys.stdout.write(f"{sum(map(len, made['paths'].values()))} operations in {target}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
