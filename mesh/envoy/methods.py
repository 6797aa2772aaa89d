"""Each RPC of the contracts, with what its policy and shape mean for a proxy."""

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass

import deskmesh
from deskmesh.common.v1 import policy_pb2
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor

EDGE = "edge"
REPEATABLE = (policy_pb2.IDEMPOTENCY_READ, policy_pb2.IDEMPOTENCY_IDEMPOTENT)


@dataclass(frozen=True, order=True)
class Method:
    """One RPC as a proxy sees it."""

    path: str
    package: str
    callers: tuple[str, ...]
    anonymous: bool
    repeatable: bool
    client_streaming: bool
    server_streaming: bool

    @property
    def streaming(self) -> bool:
        return self.client_streaming or self.server_streaming

    @property
    def from_outside(self) -> bool:
        """Whether people and programs outside may call it."""
        return EDGE in self.callers


def load_methods() -> tuple[Method, ...]:
    """All RPCs of the generated stubs, by path. Raises ValueError for one without a policy."""
    return tuple(sorted(_method(one) for file in _service_files() for one in _descriptors(file)))


def _service_files() -> Iterator[FileDescriptor]:
    for module in pkgutil.walk_packages(deskmesh.__path__, "deskmesh."):
        if module.name.endswith("_service_pb2"):
            yield importlib.import_module(module.name).DESCRIPTOR


def _descriptors(file: FileDescriptor) -> Iterator[MethodDescriptor]:
    for service in file.services_by_name.values():
        yield from service.methods


def _method(descriptor: MethodDescriptor) -> Method:
    service = descriptor.containing_service
    options = descriptor.GetOptions()
    if not options.HasExtension(policy_pb2.policy):
        raise ValueError(f"{descriptor.full_name} carries no policy")
    policy = options.Extensions[policy_pb2.policy]
    return Method(
        path=f"/{service.full_name}/{descriptor.name}",
        package=service.file.package,
        callers=tuple(policy.callers),
        anonymous=policy.anonymous,
        repeatable=policy.idempotency in REPEATABLE,
        client_streaming=descriptor.client_streaming,
        server_streaming=descriptor.server_streaming,
    )
