"""What a drawing says: the words of a node and of a channel, and how wide they are."""

from __future__ import annotations

__all__ = ["Caption", "caption", "fitting", "name_of", "printable", "shortened", "show_expr", "width_of"]

import unicodedata
from typing import NamedTuple

from fabric.graph.ir import WORKERS, Channel, Node
from fabric.lang.typed import Binary, Expr, Index, Input, Literal_, MakeList, MakeProduct, MakeRecord, Select, Unary
from fabric.wire.payload import ListOf, Product, Record, Sum, Type, encode_json, show, show_stream

_MADE = {"merge_all": "merge"}
"""Fan-in is drawn as the merge that a program would write; its tooltip has the kind."""

_BINDING = [("||",), ("&&",), ("=", "!=", "<", "<=", ">", ">="), ("+", "-"), ("*", "/", "%")]
_STRENGTH = {op: strength for strength, ops in enumerate(_BINDING) for op in ops}
_UNARY = len(_BINDING)
_NOT = _STRENGTH["&&"]
"""``!`` takes a comparison without parentheses, as the language reads it."""


class Caption(NamedTuple):
    """The words of a node.

    Attributes:
        title: a worker's or a port's name, a wire's protocol, or a morphism's kind, and its name if it has one.
        detail: what runs a worker, what a morphism computes; may be empty.
        full: all of it, however long, for a tooltip.
    """

    title: str
    detail: str
    full: str


def caption(node: Node) -> Caption:
    """Return what to write of a node."""
    kind = _MADE.get(node.kind, node.kind)
    detail = ""
    if node.kind in WORKERS:
        title = node.id
        detail = f"{kind} {node.runs}".rstrip()
    elif node.kind in ("input", "output"):
        title = node.id
    elif node.kind in ("call", "result"):
        title = f"tool {node.tool}" if node.kind == "call" else f"result of {node.tool}"
    elif node.wire is not None:
        title = node.wire.protocol.name
        detail = f"{node.wire.left} <-> {node.wire.right}"
    else:
        title = kind if node.binding is None else f"{kind} {node.binding}"
        if node.expr is not None:
            detail = f"({show_expr(node.expr)})" if node.select else show_expr(node.expr)
        elif node.index is not None:
            detail = str(node.index)
        detail += "".join(f".{field}" for field in node.select)
    what = detail if node.kind in WORKERS else f"{node.kind} {detail}"
    ports = [
        f"{way} {port.name}: {show_stream(port.type)}"
        for way, ports in (("in", node.inputs), ("out", node.outputs))
        for port in ports
    ]
    return Caption(printable(title), printable(detail), "\n".join(map(printable, [f"{node.id}: {what}", *ports])))


def name_of(channel: Channel) -> str:
    """Return the short label of a channel: the type of its messages, and its port if that is not the usual one."""
    for port in (channel.target.port, channel.source.port):
        if port in ("ctrl_in", "ctrl_out", "telemetry"):
            return printable(f"{port} !{_brief(channel.type)}")
    return printable(f"!{_brief(channel.type)}")


def _brief(type_: Type) -> str:
    """Print a type with the names of its fields only."""
    match type_:
        case Record(fields):
            return f"{{ {', '.join(field.name for field in fields)} }}" if fields else "{}"
        case ListOf(item):
            return f"[{_brief(item)}]"
        case Product(items):
            return f"({', '.join(map(_brief, items))})"
        case Sum(variants):
            return " | ".join(map(_brief, variants))
    return show(type_)


def printable(text: str) -> str:
    """Replace what a terminal would obey, or XML not admit; join lines."""
    spaced = " ".join(text.split())
    return "".join(char if char.isprintable() else "\ufffd" for char in spaced)


def width_of(text: str) -> int:
    """Return how many columns a printable text takes in a font of one width."""
    return sum(
        0 if unicodedata.category(char) in ("Mn", "Me") else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def shortened(text: str, columns: int) -> str:
    """Cut a text to so many columns, at least one; what is missing is an ellipsis."""
    if width_of(text) <= columns:
        return text
    kept = ""
    for char in text:
        if width_of(kept + char) >= columns:
            break
        kept += char
    return kept.rstrip() + "…"


def fitting(text: str, columns: int) -> list[str]:
    """Return a text in forms to choose from, the longest first: whole if ``columns`` admit it, then cut shorter."""
    forms = [shortened(text, columns)]
    if width_of(text) > 10:
        forms.append(shortened(text, 10))
    return list(dict.fromkeys(forms))


def show_expr(expr: Expr, within: int = 0) -> str:
    """Print an expression as a program would write it.

    Args:
        expr: what the checker made of it.
        within: how strongly the operator around it binds; an expression that binds less gets parentheses.
    """
    match expr:
        case Literal_(value):
            return encode_json(value).decode()
        case Input():
            return "value"
        case Select(Input(), field):
            return field
        case Select(of, field):
            return f"{show_expr(of, _UNARY + 1)}.{field}"
        case Index(of, index):
            return f"{show_expr(of, _UNARY + 1)}[{index}]"
        case MakeRecord(fields):
            inner = ", ".join(
                name if (shown := show_expr(value)) == name else f"{name}: {shown}" for name, value in fields
            )
            return f"{{ {inner} }}" if inner else "{}"
        case MakeList(items):
            return f"[{', '.join(map(show_expr, items))}]"
        case MakeProduct(items):
            return f"({', '.join(map(show_expr, items))})"
        case Unary(op, of):
            strength = _NOT + 1 if op == "!" else _UNARY
            return _wrapped(f"{op}{show_expr(of, _UNARY)}", strength < within)
        case Binary(op, left, right):
            strength = _STRENGTH[op]
            comparison = strength == _STRENGTH["="]  # not chained
            shown = f"{show_expr(left, strength + comparison)} {op} {show_expr(right, strength + 1)}"
            return _wrapped(shown, strength < within)


def _wrapped(text: str, needed: bool) -> str:
    return f"({text})" if needed else text
