"""A file's bytes to a document: encoding, YAML front matter, and why a file is not taken."""

import re
from pathlib import PurePosixPath

import yaml

from services.knowledge.domain import DEFAULT_LOCALE, MAXIMUM_ARTICLE_BYTES, Document
from services.knowledge.text.sections import anchor_of

MAXIMUM_FRONT_MATTER_CHARACTERS = 16 * 1024
TITLE_LENGTH = 200
CATEGORY_LENGTH = 100
TAG_LENGTH = 50
MAXIMUM_TAGS = 20

_FENCE = "---"
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,98}[a-z0-9])?")
_LOCALE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")
_LEADING_TITLE = re.compile(r"\s*# +(?P<title>[^\n]+?)(?: +#+)? *(?:\n|$)")


class Skip(Exception):
    """The file is not taken; `because` tells people why."""

    def __init__(self, because: str) -> None:
        self.because = because
        super().__init__(because)


def read(path: str, content: bytes) -> Document:
    """The document in a file. Raises Skip."""
    text = _decode(content)
    fields, body = _front_matter(text)
    title = _text(fields, "title", TITLE_LENGTH)
    if not title and (leading := _LEADING_TITLE.match(body)):
        title = leading["title"].strip()
    if not title:
        raise Skip("It has no title: neither in its front matter nor as a heading at its top.")
    if len(title) > TITLE_LENGTH:
        raise Skip(f"Its title is longer than {TITLE_LENGTH} characters.")
    if not body.strip():
        raise Skip("It has no text after its front matter.")
    return Document(
        title=title,
        slug=_slug(fields, path),
        category=_text(fields, "category", CATEGORY_LENGTH),
        locale=_locale(fields),
        tags=_tags(fields),
        markdown=body,
    )


def _decode(content: bytes) -> str:
    if not content:
        raise Skip("It is empty.")
    if len(content) > MAXIMUM_ARTICLE_BYTES:
        raise Skip("It is bigger than 1 MiB.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Skip(f"It is not UTF-8 text: byte {error.start} does not fit.") from None
    if "\0" in text:
        raise Skip("It is not text: it contains null bytes.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _front_matter(text: str) -> tuple[dict[str, object], str]:
    """(fields, body). A file that does not begin with a fence has no front matter."""
    first, _, rest = text.partition("\n")
    if first.rstrip() != _FENCE:
        return {}, text
    lines = rest.split("\n")
    end = next((number for number, line in enumerate(lines) if line.rstrip() == _FENCE), None)
    if end is None:
        raise Skip("Its front matter does not end: a line with --- is missing.")
    source = "\n".join(lines[:end])
    if len(source) > MAXIMUM_FRONT_MATTER_CHARACTERS:
        raise Skip(f"Its front matter is longer than {MAXIMUM_FRONT_MATTER_CHARACTERS} characters.")
    try:
        # The base loader makes nothing but strings, lists and mappings: "no" stays a locale and 404 a title.
        fields = yaml.load(source, Loader=yaml.BaseLoader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 2}" if error.problem_mark else ""
        raise Skip(f"Its front matter is not valid YAML{line}: {error.problem or 'it cannot be read'}.") from None
    except (yaml.YAMLError, RecursionError):
        raise Skip("Its front matter is not valid YAML.") from None
    if fields in (None, ""):
        fields = {}
    if not isinstance(fields, dict):
        raise Skip("Its front matter is not a list of names with values.")
    return fields, "\n".join(lines[end + 1 :])


def _text(fields: dict[str, object], name: str, limit: int) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise Skip(f'Its front matter is wrong: "{name}" must be text.')
    value = value.strip()
    if len(value) > limit:
        raise Skip(f'Its front matter is wrong: "{name}" is longer than {limit} characters.')
    if "\0" in value:
        raise Skip(f'Its front matter is wrong: "{name}" contains a null character.')
    return value


def _slug(fields: dict[str, object], path: str) -> str:
    slug = _text(fields, "slug", 1000)
    if slug:
        if not _SLUG.fullmatch(slug):
            raise Skip(
                'Its front matter is wrong: "slug" may hold lower-case letters, digits and inner hyphens, at most 100.'
            )
        return slug
    file = PurePosixPath(path.replace("\\", "/"))
    # A path such as "/" names no file.
    name = str(file.with_suffix("")).replace("/", "-") if file.name else ""
    slug = re.sub(r"[^a-z0-9]+", "-", anchor_of(name).replace("_", "-")).strip("-")[:100].strip("-")
    if not slug:
        raise Skip("It has no slug, and its file name does not make one.")
    return slug


def _locale(fields: dict[str, object]) -> str:
    locale = _text(fields, "locale", 35) or DEFAULT_LOCALE
    if not _LOCALE.fullmatch(locale):
        raise Skip('Its front matter is wrong: "locale" is not a language tag such as "en" or "pt-BR".')
    return locale


def _tags(fields: dict[str, object]) -> tuple[str, ...]:
    value = fields.get("tags", [])
    tags = value.split(",") if isinstance(value, str) else value
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise Skip('Its front matter is wrong: "tags" must be a list of words.')
    cleaned = tuple(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))
    if len(cleaned) > MAXIMUM_TAGS or any(len(tag) > TAG_LENGTH or "\0" in tag for tag in cleaned):
        raise Skip(
            f'Its front matter is wrong: "tags" may hold {MAXIMUM_TAGS} words of at most {TAG_LENGTH} characters.'
        )
    return cleaned
