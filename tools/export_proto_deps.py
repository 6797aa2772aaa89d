"""Fill `third_party/proto` with the .proto files that ours import, taken from installed packages.

`googleapis-common-protos` ships its files. `protovalidate` ships only a descriptor, so `buf/validate/validate.proto` is
printed from it: the rules that buf checks are then the rules that the run-time validator enforces. The print is
compiled and compared with the descriptor before it is used.
"""

import importlib.metadata
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterable
from importlib import resources

from google.protobuf import descriptor_pb2 as pb
from google.protobuf import descriptor_pool, duration_pb2, field_mask_pb2, text_format, timestamp_pb2
from google.protobuf.message import Message
from grpc_tools import protoc

OUT = pathlib.Path("third_party/proto")
GOOGLE_FILES = (
    "google/api/annotations.proto",
    "google/api/http.proto",
    "google/rpc/code.proto",
    "google/rpc/error_details.proto",
    "google/rpc/status.proto",
)
# Imported for their side effect: the descriptor pool must know what validate.proto imports.
WELL_KNOWN = (duration_pb2, field_mask_pb2, timestamp_pb2)

Field = pb.FieldDescriptorProto
SCALARS = {
    value.number: value.name.removeprefix("TYPE_").lower()
    for value in Field.DESCRIPTOR.enum_types_by_name["Type"].values
    if value.name not in ("TYPE_MESSAGE", "TYPE_ENUM", "TYPE_GROUP")
}


def quoted(text: str) -> str:
    return f'"{text_format.text_encoding.CEscape(text, as_utf8=True)}"'  # type: ignore[attr-defined]


def option_list(options: Message) -> list[str]:
    """Print the set options of a descriptor as `name = value`."""
    printed = []
    for field, value in options.ListFields():
        name = f"({field.full_name})" if field.is_extension else field.name
        for item in value if field.is_repeated else [value]:
            if field.message_type is not None:
                text = "{ " + text_format.MessageToString(item, as_one_line=True) + " }"
            elif field.enum_type is not None:
                text = field.enum_type.values_by_number[item].name
            elif isinstance(item, bool):
                text = str(item).lower()
            else:
                text = quoted(item) if isinstance(item, str) else str(item)
            printed.append(f"{name} = {text}")
    return printed


class Printer:
    """Prints a file descriptor without services as .proto source."""

    def __init__(self, file: pb.FileDescriptorProto) -> None:
        self._file = file
        self._lines: list[str] = []

    def source(self) -> str:
        file = self._file
        self._lines = [f'syntax = "{file.syntax or "proto2"}";', f"package {file.package};"]
        self._lines += [f'import "{name}";' for name in file.dependency]
        self._options(0, file.options)
        self._extensions(0, file.extension)
        for enum in file.enum_type:
            self._enum(0, enum)
        for message in file.message_type:
            self._message(0, message, f".{file.package}")
        return "\n".join(self._lines) + "\n"

    def _line(self, depth: int, text: str) -> None:
        self._lines.append("  " * depth + text)

    def _options(self, depth: int, options: Message) -> None:
        for option in option_list(options):
            self._line(depth, f"option {option};")

    def _field(self, depth: int, field: Field, maps: dict[str, pb.DescriptorProto], in_oneof: bool = False) -> None:
        options = option_list(field.options)
        if field.HasField("default_value"):
            default = quoted(field.default_value) if field.type == Field.TYPE_STRING else field.default_value
            options.insert(0, f"default = {default}")
        kind = SCALARS.get(field.type, field.type_name)
        label = ""
        if field.type_name in maps:
            key, value = maps[field.type_name].field
            kind = f"map<{SCALARS[key.type]}, {SCALARS.get(value.type, value.type_name)}>"
        elif field.label == Field.LABEL_REPEATED:
            label = "repeated "
        elif field.label == Field.LABEL_REQUIRED:
            label = "required "
        elif not in_oneof and (self._file.syntax != "proto3" or field.proto3_optional):
            label = "optional "
        suffix = f" [{', '.join(options)}]" if options else ""
        self._line(depth, f"{label}{kind} {field.name} = {field.number}{suffix};")

    def _extensions(self, depth: int, fields: Iterable[Field]) -> None:
        for field in fields:
            self._line(depth, f"extend {field.extendee} {{")
            self._field(depth + 1, field, {})
            self._line(depth, "}")

    def _enum(self, depth: int, enum: pb.EnumDescriptorProto) -> None:
        self._line(depth, f"enum {enum.name} {{")
        self._options(depth + 1, enum.options)
        for value in enum.value:
            options = option_list(value.options)
            suffix = f" [{', '.join(options)}]" if options else ""
            self._line(depth + 1, f"{value.name} = {value.number}{suffix};")
        for reserved in enum.reserved_range:
            self._line(depth + 1, f"reserved {reserved.start} to {reserved.end};")
        for name in enum.reserved_name:
            self._line(depth + 1, f"reserved {quoted(name)};")
        self._line(depth, "}")

    def _message(self, depth: int, message: pb.DescriptorProto, prefix: str) -> None:
        full_name = f"{prefix}.{message.name}"
        maps = {f"{full_name}.{nested.name}": nested for nested in message.nested_type if nested.options.map_entry}
        self._line(depth, f"message {message.name} {{")
        self._options(depth + 1, message.options)
        for enum in message.enum_type:
            self._enum(depth + 1, enum)
        for nested in message.nested_type:
            if not nested.options.map_entry:
                self._message(depth + 1, nested, full_name)
        printed: set[int] = set()
        for field in message.field:
            if not field.HasField("oneof_index") or field.proto3_optional:
                self._field(depth + 1, field, maps)
            elif field.oneof_index not in printed:
                printed.add(field.oneof_index)
                self._oneof(depth + 1, message, field.oneof_index)
        for span in message.extension_range:
            end = "max" if span.end >= 1 << 29 else span.end - 1
            self._line(depth + 1, f"extensions {span.start} to {end};")
        for reserved in message.reserved_range:
            self._line(depth + 1, f"reserved {reserved.start} to {reserved.end - 1};")
        for name in message.reserved_name:
            self._line(depth + 1, f"reserved {quoted(name)};")
        self._extensions(depth + 1, message.extension)
        self._line(depth, "}")

    def _oneof(self, depth: int, message: pb.DescriptorProto, index: int) -> None:
        oneof = message.oneof_decl[index]
        self._line(depth, f"oneof {oneof.name} {{")
        self._options(depth + 1, oneof.options)
        for field in message.field:
            if field.HasField("oneof_index") and field.oneof_index == index:
                self._field(depth + 1, field, {}, in_oneof=True)
        self._line(depth, "}")


def comparable(file: pb.FileDescriptorProto) -> str:
    """Text of a descriptor without what a print may change: positions, JSON names, leading dots, explicit proto2."""
    copy = pb.FileDescriptorProto()
    copy.CopyFrom(file)
    copy.ClearField("source_code_info")
    if copy.syntax == "proto2":
        copy.ClearField("syntax")

    def normalise(holder: pb.DescriptorProto | pb.FileDescriptorProto) -> None:
        fields = list(holder.extension)
        nested: Iterable[pb.DescriptorProto]
        if isinstance(holder, pb.DescriptorProto):
            fields += holder.field
            nested = holder.nested_type
        else:
            nested = holder.message_type
        for field in fields:
            field.ClearField("json_name")
            field.type_name = field.type_name.lstrip(".")
        for message in nested:
            normalise(message)

    normalise(copy)
    return text_format.MessageToString(copy)


def compiled(root: pathlib.Path, name: str) -> pb.FileDescriptorProto:
    well_known = str(resources.files("grpc_tools") / "_proto")
    with tempfile.NamedTemporaryFile(suffix=".binpb") as out:
        if protoc.main(["protoc", f"-I{root}", f"-I{well_known}", f"--descriptor_set_out={out.name}", name]):
            sys.exit(f"{name}: the printed file does not compile")
        return pb.FileDescriptorSet.FromString(pathlib.Path(out.name).read_bytes()).file[0]


def main() -> None:
    from protovalidate._gen.buf.validate import validate_pb

    shutil.rmtree(OUT, ignore_errors=True)
    for file in importlib.metadata.files("googleapis-common-protos") or []:
        if file.as_posix() in GOOGLE_FILES:
            target = OUT / file.as_posix()
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), target)

    raw = validate_pb.desc().proto.to_binary()
    descriptor_pool.Default().AddSerializedFile(raw)  # makes the custom options known to the parse below
    validate = pb.FileDescriptorProto.FromString(raw)
    target = OUT / validate.name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(Printer(validate).source())
    if comparable(compiled(OUT, validate.name)) != comparable(validate):
        sys.exit(f"{validate.name}: the printed file compiles to another descriptor")


if __name__ == "__main__":
    main()
