"""Markdown blocks as plain sentences: what is left of tables, lists and markup when read aloud."""

import re
from html.parser import HTMLParser

from markdown_it.tree import SyntaxTreeNode

_SPACES = re.compile(r"\s+")
_ENDS = (".", "!", "?", "…")
# A list reads as one sentence while it stays this short.
_WORDS_IN_ONE_SENTENCE = 60
_HIDDEN_ELEMENTS = frozenset({"script", "style", "template", "noscript"})


def paragraphs(nodes: list[SyntaxTreeNode]) -> list[str]:
    """The text of sibling blocks, one string a paragraph, list item, table row or code block."""
    found: list[str] = []
    for node in nodes:
        match node.type:
            case "bullet_list" | "ordered_list":
                introduction = found.pop() if found and found[-1].endswith(":") else ""
                found += _list(node, introduction)
            case "table":
                found += _table(node)
            case "fence" | "code_block":
                found.append(squeeze(node.content))
            case "html_block":
                found.append(_visible_text(node.content))
            case "blockquote":
                found += paragraphs(node.children)
            case "hr":
                continue
            case _:
                found.append(inline(node))
    return [text for text in found if text]


def inline(node: SyntaxTreeNode) -> str:
    """The words of a node without markup, on one line; an image stands for its description."""
    return squeeze("".join(_pieces(node)))


def squeeze(text: str) -> str:
    """The text on one line, with single spaces."""
    return _SPACES.sub(" ", text).strip()


def _pieces(node: SyntaxTreeNode) -> list[str]:
    match node.type:
        case "softbreak" | "hardbreak":
            return [" "]
        case "html_inline":
            return _inline_html(node.content)
    if node.children:
        return [piece for child in node.children for piece in _pieces(child)]
    return [node.content] if node.type in {"text", "code_inline", "image"} else []


def _inline_html(tag: str) -> list[str]:
    """A tag within a line shows nothing of its own, but for a line break and an image's description."""
    if tag.lower().startswith("<br"):
        return [" "]
    return [f" {_visible_text(tag)} "] if tag.lower().startswith("<img") else []


def _list(node: SyntaxTreeNode, introduction: str) -> list[str]:
    """Short items join their introduction ("We ship to: France; Spain."); longer ones become sentences of their own."""
    items = [_item(item) for item in node.children]
    items = [item for item in items if item]
    if not items:
        return [introduction]
    words = sum(len(item.split()) for item in items)
    one_sentence = words <= _WORDS_IN_ONE_SENTENCE and not any(_is_sentence(item) for item in items)
    if introduction and one_sentence and node.type == "bullet_list":
        return [sentence(f"{introduction} {'; '.join(_bare(item) for item in items)}")]
    if node.type == "ordered_list":
        first = int(node.attrs.get("start", 1))
        items = [f"{number}) {item}" for number, item in enumerate(items, start=first)]
    return [introduction, *(sentence(item) for item in items)]


def _item(node: SyntaxTreeNode) -> str:
    """One item on one line, with the lists inside it: "Europe: France; Spain"."""
    own: list[str] = []
    for child in node.children:
        if child.type in {"bullet_list", "ordered_list"}:
            nested = [item for item in map(_item, child.children) if item]
            if nested:
                own = [_joined(own, nested)]
        else:
            own += paragraphs([child])
    return " ".join([*(sentence(text) for text in own[:-1]), *own[-1:]])


def _joined(own: list[str], nested: list[str]) -> str:
    before = " ".join([*(sentence(text) for text in own[:-1]), *own[-1:]])
    inner = "; ".join(_bare(item) for item in nested)
    if not before:
        return inner
    if before.endswith(_ENDS):
        return f"{before} {inner}"
    return f"{before.rstrip(':;,')}: {inner}"


def _table(node: SyntaxTreeNode) -> list[str]:
    """A sentence a row, led by its first cell: "Size M: Women, chest 89 to 94; Men, chest 96 to 102."."""
    rows = [[inline(cell) for cell in row.children] for part in node.children for row in part.children]
    if not rows:
        return []
    names, *body = rows
    return [text for text in (_row(names, cells) for cells in body) if text]


def _row(names: list[str], cells: list[str]) -> str:
    pairs = [f"{name} {cell}".strip() for name, cell in zip(names, cells, strict=False) if cell]
    if not pairs:
        return ""
    if len(pairs) == 1 or not cells[0]:
        return sentence("; ".join(pairs))
    return sentence(f"{pairs[0]}: {'; '.join(pairs[1:])}")


def sentence(text: str) -> str:
    """The text with an end mark."""
    return text if not text or text.endswith((*_ENDS, ":")) else f"{text.rstrip(';,')}."


def _is_sentence(text: str) -> bool:
    return text.endswith(_ENDS)


def _bare(text: str) -> str:
    return text.rstrip(".;,")


class _VisibleText(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in _HIDDEN_ELEMENTS
        self.parts.append(" ")
        self.parts += [f"{value} " for name, value in attrs if name == "alt" and value and not self._hidden]

    def handle_endtag(self, tag: str) -> None:
        self._hidden = max(0, self._hidden - (tag in _HIDDEN_ELEMENTS))
        self.parts.append(" ")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data)


def _visible_text(html: str) -> str:
    reader = _VisibleText()
    reader.feed(html)
    reader.close()
    return squeeze("".join(reader.parts))
