"""What the protos say in words: the comment above each service, RPC, message, field and value."""

from collections.abc import Iterator, Mapping, Sequence

from google.protobuf import descriptor_pb2

# Numbers of the fields of FileDescriptorProto, DescriptorProto and so on, of which the places of comments are made.
MESSAGES, ENUMS, SERVICES = 4, 5, 6
FIELDS, NESTED, NESTED_ENUMS = 2, 3, 4
VALUES = METHODS = 2

Path = tuple[int, ...]


def comments(files: descriptor_pb2.FileDescriptorSet) -> Mapping[str, str]:
    """The comment of everything that has one, by full name; lines are joined, paragraphs stay apart."""
    found: dict[str, str] = {}
    for file in files.file:
        names = dict(_names(file))
        for location in file.source_code_info.location:
            name = names.get(tuple(location.path))
            if name and location.leading_comments.strip():
                found[name] = _text(location.leading_comments)
    return found


def _names(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[Path, str]]:
    for place, service in enumerate(file.service):
        name = f"{file.package}.{service.name}"
        yield (SERVICES, place), name
        for inner, method in enumerate(service.method):
            yield (SERVICES, place, METHODS, inner), f"{name}.{method.name}"
    yield from _of_enums(file.enum_type, (ENUMS,), file.package)
    yield from _of_messages(file.message_type, (MESSAGES,), file.package)


def _of_messages(
    messages: Sequence[descriptor_pb2.DescriptorProto], above: Path, scope: str
) -> Iterator[tuple[Path, str]]:
    for place, message in enumerate(messages):
        path, name = (*above, place), f"{scope}.{message.name}"
        yield path, name
        for inner, field in enumerate(message.field):
            yield (*path, FIELDS, inner), f"{name}.{field.name}"
        yield from _of_enums(message.enum_type, (*path, NESTED_ENUMS), name)
        yield from _of_messages(message.nested_type, (*path, NESTED), name)


def _of_enums(
    enums: Sequence[descriptor_pb2.EnumDescriptorProto], above: Path, scope: str
) -> Iterator[tuple[Path, str]]:
    for place, enum in enumerate(enums):
        yield (*above, place), f"{scope}.{enum.name}"
        for inner, value in enumerate(enum.value):
            yield (*above, place, VALUES, inner), f"{scope}.{enum.name}.{value.name}"


def _text(comment: str) -> str:
    paragraphs = comment.strip().split("\n\n")
    return "\n\n".join(" ".join(line.strip() for line in paragraph.splitlines()) for paragraph in paragraphs)
