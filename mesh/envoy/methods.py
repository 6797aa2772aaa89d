"""Each RPC of the contracts, with what its policy and shape mean for a proxy."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FileDescriptor, MethodDescriptor

import deskmesh
from deskmesh.common.v1 import policy_pb2

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
    # The generated folders are namespace packages, which pkgutil does not walk.
    for root in map(Path, deskmesh.__path__):
        for file in sorted(root.rglob("*_service_pb2.py")):
            name = ".".join(file.relative_to(root.parent).with_suffix("").parts)
            yield importlib.import_module(name).DESCRIPTOR


def _descriptors(file: FileDescriptor) -> Iterator[MethodDescriptor]:
    for service in file.services_by_name.values():
        yield from service.methods


def _method(descriptor: MethodDescriptor) -> Method:
    service = descriptor.containing_service
    options: Any = descriptor.GetOptions()  # the stubs do not know extensions of options
    if not options.HasExtension(policy_pb2.policy):
        raise ValueError(f"{descriptor.full_name} carries no policy")
    policy: policy_pb2.Policy = options.Extensions[policy_pb2.policy]
    return Method(
        path=f"/{service.full_name}/{descriptor.name}",
        package=service.file.package,
        callers=tuple(policy.callers),
        anonymous=policy.anonymous,
        repeatable=policy.idempotency in REPEATABLE,
        client_streaming=descriptor.client_streaming,
        server_streaming=descriptor.server_streaming,
    )
