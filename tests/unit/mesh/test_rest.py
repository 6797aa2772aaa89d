"""Every RPC that is open to the outside has a path of its own, and no other has."""

from typing import Any

import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor

from deskmesh.common.v1 import policy_pb2
from mesh.policy.table import services
from mesh.rest.descriptors import descriptor_set
from mesh.rest.paths import bindings, problems

POLICY: Any = policy_pb2.policy


def service_of(*rpcs: tuple[str, str, list[str]], number: int) -> ServiceDescriptor:
    """A service of made-up RPCs: verb, path, callers."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"made_up_{number}.proto",
        package=f"made.up{number}",
        syntax="proto3",
        dependency=["google/api/annotations.proto", "deskmesh/common/v1/policy.proto"],
    )
    kind = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
    field = descriptor_pb2.FieldDescriptorProto(name="id", number=1, type=kind)
    file.message_type.add(name="Request", field=[field])
    made = file.service.add(name="Service")
    for place, (verb, path, callers) in enumerate(rpcs):
        method = made.method.add(
            name=f"Rpc{place}", input_type=f".made.up{number}.Request", output_type=f".made.up{number}.Request"
        )
        method.options.Extensions[POLICY].callers.extend(callers)
        if verb:
            setattr(method.options.Extensions[annotations_pb2.http], verb, path)
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindServiceByName(f"made.up{number}.Service")


def test_the_contracts_have_nothing_wrong_with_their_paths() -> None:
    assert list(problems(services())) == []


@pytest.mark.parametrize(
    ("rpcs", "what"),
    [
        ([("", "", ["edge"])], "has no google.api.http option"),
        ([("get", "/api/v1/x", ["auth"])], "is not open to the outside"),
        ([("get", "/x", ["edge"])], "does not start with /api/v1/"),
        ([("post", "/api/v1/x", ["edge"])], "has a body where its verb has none, or none"),
        ([("get", "/api/v1/x/{name}", ["edge"])], "is no plain field"),
        ([("get", "/api/v1/x/{id}", ["edge"]), ("get", "/api/v1/x/{id}", ["edge"])], "has the path of"),
    ],
    ids=["missing", "superfluous", "prefix", "body", "variable", "twice"],
)
def test_what_is_wrong_with_a_path_is_told(
    rpcs: list[tuple[str, str, list[str]]], what: str, request: pytest.FixtureRequest
) -> None:
    number = abs(hash(request.node.name))
    [found] = problems([service_of(*rpcs, number=number)])
    assert what in found


def test_the_transcoder_gets_all_that_the_contracts_import() -> None:
    found = descriptor_pb2.FileDescriptorSet.FromString(descriptor_set(services()))
    names = [file.name for file in found.file]
    for place, file in enumerate(found.file):
        assert set(file.dependency) <= set(names[:place]), file.name
    assert "google/rpc/error_details.proto" in names
    assert len({one.shape for service in services() for method in service.methods for one in bindings(method)}) > 70
