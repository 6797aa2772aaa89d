"""The paths of the REST API, as the protos' `google.api.http` options give them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from mesh.policy.table import rule_of

REST_PREFIX = "/api/"
PREFIX = f"{REST_PREFIX}v1/"
VERBS = ("get", "put", "post", "delete", "patch")
WITH_BODY = frozenset({"put", "post", "patch"})
EDGE = "edge"
# Only the pages of the site ask for these, by gRPC: people answer there, never a program.
PAGES_ONLY = frozenset({"deskmesh.auth.v1.ConsentService"})
VARIABLE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Binding:
    """One path of an RPC. `body` tells whether the request stands in the body; else it stands in the query."""

    method: MethodDescriptor
    verb: str
    path: str
    body: bool

    @property
    def variables(self) -> tuple[str, ...]:
        """The fields of the request that stand in the path."""
        return tuple(VARIABLE.findall(self.path))

    @property
    def shape(self) -> tuple[str, str]:
        """What two bindings may not have in common."""
        return self.verb, VARIABLE.sub("{}", self.path)


def bindings(method: MethodDescriptor) -> tuple[Binding, ...]:
    """The paths of an RPC, the main one first; none for an RPC without the option."""
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    found = []
    for one in (rule, *rule.additional_bindings):
        verb = one.WhichOneof("pattern")
        if verb is not None:
            found.append(Binding(method, verb, getattr(one, verb), bool(one.body)))
    return tuple(found)


def problems(services: Iterable[ServiceDescriptor]) -> Iterator[str]:
    """A line for every RPC whose paths are missing, superfluous, ambiguous or not as our paths are."""
    seen: dict[tuple[str, str], str] = {}
    for method in (method for service in services for method in service.methods):
        paths = bindings(method)
        outside = EDGE in rule_of(method).callers and method.containing_service.full_name not in PAGES_ONLY
        if outside and not paths:
            yield f"{method.full_name} is open to the outside and has no google.api.http option"
        if paths and not outside:
            yield f"{method.full_name} is not open to the outside and has a google.api.http option"
        for one in paths:
            yield from (f"{method.full_name} {what}" for what in _of_one(one))
            if one.shape in seen:
                yield f"{method.full_name} has the path of {seen[one.shape]}"
            seen[one.shape] = method.full_name


def _of_one(binding: Binding) -> Iterator[str]:
    if binding.verb not in VERBS or not binding.path.startswith(PREFIX):
        yield f"has a path that does not start with {PREFIX}"
    if binding.body != (binding.verb in WITH_BODY):
        yield "has a body where its verb has none, or none where it has one"
    fields = binding.method.input_type.fields_by_name
    for name in binding.variables:
        if name not in fields or fields[name].is_repeated or fields[name].message_type is not None:
            yield f"has {name} in its path, which is no plain field of its request"
