"""A plugin for `buf generate` around the Python generators in grpcio-tools: messages, type stubs and services."""

import os
import pathlib
import sys
import tempfile

from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

GENERATORS = ("python", "pyi", "grpc_python")
# The range of editions announced to buf: proto2 to 2024, the values of google.protobuf.Edition.
MINIMUM_EDITION, MAXIMUM_EDITION = 998, 1001


def generate(request: plugin_pb2.CodeGeneratorRequest, folder: pathlib.Path) -> plugin_pb2.CodeGeneratorResponse:
    """Run protoc over the files of the request, in `folder`; the response carries the files or protoc's error."""
    response = plugin_pb2.CodeGeneratorResponse(
        supported_features=plugin_pb2.CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
        | plugin_pb2.CodeGeneratorResponse.FEATURE_SUPPORTS_EDITIONS,
        minimum_edition=MINIMUM_EDITION,
        maximum_edition=MAXIMUM_EDITION,
    )
    descriptors = folder / "in.binpb"
    descriptors.write_bytes(FileDescriptorSet(file=request.proto_file).SerializeToString())
    out = folder / "out"
    out.mkdir()
    arguments = [f"--{name}_out={out}" for name in GENERATORS]
    if protoc.main(["protoc", f"--descriptor_set_in={descriptors}", *arguments, *request.file_to_generate]):
        response.error = "protoc failed; its message stands above"
    for path in sorted(out.rglob("*")):
        if path.is_file():
            response.file.add(name=path.relative_to(out).as_posix(), content=path.read_text())
    return response


def main() -> None:
    request = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    answer = os.dup(1)
    os.dup2(2, 1)  # protoc may print; the real standard output carries only the response
    with tempfile.TemporaryDirectory() as folder:
        response = generate(request, pathlib.Path(folder))
    with os.fdopen(answer, "wb") as stream:
        stream.write(response.SerializeToString())


if __name__ == "__main__":
    main()
