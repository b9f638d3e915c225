"""Write YAML: block style, in the order that is given, text in quotes where it could be taken for something else.

A word such as ``no`` or ``1e3`` is a text for one reader and something else for the next. So everything is quoted that
is not plainly a name or a path. Quoted text is that of JSON, with what YAML takes for an end of a line escaped.
"""

from __future__ import annotations

__all__ = ["Node", "write_yaml"]

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TypeAlias

Node: TypeAlias = "bool | int | float | str | Sequence[Node] | Mapping[str, Node] | None"
"""What can be written."""

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*", re.ASCII)
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"})
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_UNSAFE = re.compile('["\\\\\x00-\x1f\x7f-\x9f\xa0\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]')
"""What has to be escaped in quotes: what YAML does not let stand, or reads as an end of a line."""


def write_yaml(node: Node, comment: str = "") -> str:
    """Return a document; ``comment`` stands above it."""
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    return "\n".join([*lines, *_block(node, 0)]) + "\n"


def _block(node: Node, depth: int) -> Iterator[str]:
    indent = "  " * depth
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _entry(f"{indent}{_scalar(key)}:", value, depth + 1)
    elif isinstance(node, Sequence) and not isinstance(node, str) and node:
        for item in node:
            yield from _item(item, depth)
    else:
        yield indent + _scalar(node)


def _entry(head: str, value: Node, depth: int) -> Iterator[str]:
    if _is_nested(value):
        yield head
        yield from _block(value, depth)
    elif value is None:
        yield head
    else:
        yield f"{head} {_scalar(value)}"


def _item(item: Node, depth: int) -> Iterator[str]:
    """Yield an item of a list: its dash stands where its own first line would be indented."""
    indent = "  " * depth
    if not _is_nested(item):
        yield f"{indent}- {'null' if item is None else _scalar(item)}"
        return
    first, *others = _block(item, depth + 1)
    yield f"{indent}- {first[len(indent) + 2 :]}"
    yield from others


def _is_nested(node: Node) -> bool:
    return isinstance(node, Mapping | Sequence) and not isinstance(node, str) and bool(node)


def _scalar(node: Node) -> str:
    match node:
        case None:
            return "null"
        case bool():
            return "true" if node else "false"
        case int():
            return str(node)
        case float():
            return _digits(node)
        case str():
            return _text(node)
        case Mapping():
            return "{}"
    return "[]"


def _digits(number: float) -> str:
    """Return a number without an exponent, about which readers differ."""
    digits = format(Decimal(repr(number)), "f")
    return digits if "." in digits else f"{digits}.0"


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return f'"{_UNSAFE.sub(_escaped, text)}"'


def _escaped(found: re.Match[str]) -> str:
    char = found[0]
    return _ESCAPES.get(char) or (f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}")
