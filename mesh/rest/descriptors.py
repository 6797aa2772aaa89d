"""The contracts in the form in which Envoy's transcoder reads them: `python -m mesh.rest.descriptors FILE`."""

import sys
from collections.abc import Iterable
from pathlib import Path

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.rpc import error_details_pb2, status_pb2

from mesh.policy.table import services


def descriptor_set(described: Iterable[ServiceDescriptor]) -> bytes:
    """The files of the services, all they import and the details of errors, each after what it imports."""
    files: dict[str, FileDescriptor] = {}

    def add(file: FileDescriptor) -> None:
        if file.name not in files:
            for imported in file.dependencies:
                add(imported)
            files[file.name] = file

    for service in described:
        add(service.file)
    for known in (status_pb2, error_details_pb2):
        add(known.DESCRIPTOR)
    protos = (descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb) for file in files.values())
    return descriptor_pb2.FileDescriptorSet(file=protos).SerializeToString(deterministic=True)


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(descriptor_set(services()))
