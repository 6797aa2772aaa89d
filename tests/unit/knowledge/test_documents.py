"""Files to documents: what is taken, and why others are not."""

import pytest

from services.knowledge.domain import MAXIMUM_ARTICLE_BYTES, Document
from services.knowledge.text.documents import Skip, read

FULL = b"""---
title: Returns policy
slug: returns
category: orders
locale: de
tags: [money, back, money]
updated: 2026-01-01
---

## Deadline

45 days.
"""


def front(*lines: str, body: str = "Text.") -> bytes:
    return "\n".join(("---", *lines, "---", body)).encode()


def test_front_matter_is_read() -> None:
    assert read("a/b.md", FULL) == Document(
        title="Returns policy",
        slug="returns",
        category="orders",
        locale="de",
        tags=("money", "back"),
        markdown="\n## Deadline\n\n45 days.\n",
    )


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf" + FULL, FULL.replace(b"\n", b"\r\n"), FULL.replace(b"\n", b"\r")])
def test_byte_order_mark_and_line_ends_make_no_difference(content: bytes) -> None:
    assert read("a.md", content) == read("a.md", FULL)


@pytest.mark.parametrize(
    ("path", "content", "title", "slug", "tags"),
    [
        ("Shipping/Express parcels.md", front("title: Express"), "Express", "shipping-express-parcels", ()),
        ("a_b.md", b"# From its heading #\n\nText.", "From its heading", "a-b", ()),
        ("x\\y.md", front("title: 404"), "404", "x-y", ()),
        ("n.md", front("title: no", "tags: one, two"), "no", "n", ("one", "two")),
        ("n.md", front("title: 'T'", "tags:"), "T", "n", ()),
    ],
)
def test_what_is_missing_is_made_up_for(
    path: str, content: bytes, title: str, slug: str, tags: tuple[str, ...]
) -> None:
    document = read(path, content)
    assert (document.title, document.slug, document.tags, document.locale) == (title, slug, tags, "en")


@pytest.mark.parametrize(
    ("content", "because"),
    [
        (b"", "empty"),
        (b"x" * (MAXIMUM_ARTICLE_BYTES + 1), "bigger than 1 MiB"),
        (b"# T\n\nna\xefve", "not UTF-8 text: byte 7"),
        ("# T\n\ntext".encode("utf-16"), "not UTF-8"),
        (b"# T\n\na\0b", "null bytes"),
        (b"Text without any title.", "no title"),
        (front("slug: x"), "no title"),
        (front("title: ''"), "no title"),
        (front("title: T", body=""), "no text"),
        (b"---\ntitle: T\n\nText.", "does not end"),
        (front("title: [a"), "not valid YAML"),
        (front("title: a: b"), "not valid YAML in line 2"),
        (front("title: *unknown"), "not valid YAML"),
        (front("title: T", "[" * 5000), "not valid YAML"),
        (front("- a", "- b"), "not a list of names with values"),
        (front("title: {a: b}"), '"title" must be text'),
        (front("title: " + "x" * 201), '"title" is longer than 200'),
        (b"# " + b"x" * 201 + b"\n\ntext", "longer than 200"),
        (front('title: "a\\0b"'), '"title" contains a null character'),
        (front("title: T", "slug: Not A Slug"), '"slug" may hold'),
        (front("title: T", "slug: -a"), '"slug" may hold'),
        (front("title: T", "locale: english language"), '"locale" is not a language tag'),
        (front("title: T", "category: " + "x" * 101), '"category" is longer than 100'),
        (front("title: T", "tags: {a: b}"), '"tags" must be a list'),
        (front("title: T", "tags: [[a]]"), '"tags" must be a list'),
        (front("title: T", "tags: [" + ", ".join(f"t{n}" for n in range(21)) + "]"), "may hold 20 words"),
        (front("title: T", "tags: [" + "x" * 51 + "]"), "at most 50 characters"),
        (front("title: T", "filler: " + "x" * 17_000), "front matter is longer"),
    ],
)
def test_the_reason_of_a_skip_is_told(content: bytes, because: str) -> None:
    with pytest.raises(Skip) as skip:
        read("file.md", content)
    assert because in skip.value.because


def test_a_file_name_that_makes_no_slug_is_a_reason_too() -> None:
    with pytest.raises(Skip, match="no slug"):
        read("???.md", b"# T\n\ntext")
