"""The rule of every RPC, read from the protos' descriptors."""

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

import deskmesh
from deskmesh.common.v1 import policy_pb2

# The generated type stubs call an extension a mere field descriptor.
_OPTION: Any = policy_pb2.policy


class Idempotency(StrEnum):
    """Whether a call may be repeated; the words of `deskmesh.common.v1.Idempotency`."""

    UNSPECIFIED = "UNSPECIFIED"
    READ = "READ"
    IDEMPOTENT = "IDEMPOTENT"
    REQUEST_ID = "REQUEST_ID"
    NONE = "NONE"


class RateClass(StrEnum):
    """Which limit counts a call; the words of `deskmesh.common.v1.RateClass`."""

    UNSPECIFIED = "UNSPECIFIED"
    READ = "READ"
    WRITE = "WRITE"
    CREDENTIAL = "CREDENTIAL"
    STREAM = "STREAM"
    INFERENCE = "INFERENCE"


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call one RPC, and how. `method` is written as on the wire: "/package.Service/Method"."""

    method: str
    callers: frozenset[str]
    permission: str
    anonymous: bool
    idempotency: Idempotency
    rate_class: RateClass
    client_streaming: bool
    server_streaming: bool
    has_request_id: bool
    step_up: bool = False

    @property
    def service(self) -> str:
        """The full name of the service, such as "deskmesh.auth.v1.AuthService"."""
        return self.method[1:].partition("/")[0]

    @property
    def package(self) -> str:
        """The proto package, such as "deskmesh.auth.v1"."""
        return self.service.rpartition(".")[0]

    @property
    def callee(self) -> str:
        """The workload that serves the RPC; packages are named after it: "auth" of "deskmesh.auth.v1"."""
        return self.package.split(".")[1]

    @property
    def name(self) -> str:
        """The name of the RPC alone, such as "SignIn"."""
        return self.method.rpartition("/")[2]

    @property
    def retryable(self) -> bool:
        """True when a client or proxy that knows nothing of the call may repeat it."""
        return self.idempotency in (Idempotency.READ, Idempotency.IDEMPOTENT) and not self.client_streaming


class MissingRule(LookupError):
    """An RPC has no policy option; the message names it."""


@cache
def load_table() -> Mapping[str, Rule]:
    """The rules of every RPC of the generated `deskmesh` package, by method as on the wire."""
    return MappingProxyType({rule.method: rule for service in services() for rule in rules_of(service)})


@cache
def rules_for_service(full_name: str) -> Mapping[str, Rule]:
    """The rules of one service that is already imported, by method as on the wire. Raises MissingRule."""
    service = descriptor_pool.Default().FindServiceByName(full_name)
    return MappingProxyType({rule.method: rule for rule in rules_of(service)})


def services() -> list[ServiceDescriptor]:
    """Every service of the generated packages, by full name; imports all of them."""
    pool = descriptor_pool.Default()
    found: dict[str, ServiceDescriptor] = {}
    for root in map(Path, deskmesh.__path__):
        # The generated folders are namespace packages, which pkgutil does not walk.
        for path in sorted(root.rglob("*_pb2.py")):
            module = ".".join(("deskmesh", *path.relative_to(root).with_suffix("").parts))
            file = importlib.import_module(module).DESCRIPTOR
            for name in file.services_by_name:
                service = pool.FindServiceByName(f"{file.package}.{name}")
                found[service.full_name] = service
    return [found[name] for name in sorted(found)]


def rules_of(service: ServiceDescriptor) -> Iterable[Rule]:
    """The rules of a service's RPCs. Raises MissingRule at the first RPC without one."""
    for method in service.methods:
        yield rule_of(method)


def rule_of(method: MethodDescriptor) -> Rule:
    """The rule of one RPC. Raises MissingRule."""
    options = method.GetOptions()
    if not options.HasExtension(_OPTION):
        raise MissingRule(f"{method.full_name} has no (deskmesh.common.v1.policy) option")
    policy = options.Extensions[_OPTION]
    idempotency = policy_pb2.Idempotency.Name(policy.idempotency).removeprefix("IDEMPOTENCY_")
    rate_class = policy_pb2.RateClass.Name(policy.rate_class).removeprefix("RATE_CLASS_")
    return Rule(
        method=f"/{method.containing_service.full_name}/{method.name}",
        callers=frozenset(policy.callers),
        permission=policy.permission,
        anonymous=policy.anonymous,
        idempotency=Idempotency(idempotency),
        rate_class=RateClass(rate_class),
        client_streaming=method.client_streaming,
        server_streaming=method.server_streaming,
        has_request_id="request_id" in method.input_type.fields_by_name,
        step_up=policy.step_up,
    )
