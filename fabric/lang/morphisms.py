"""What a morphism makes of the types that flow into it; the same for one written in a chain and for a binding."""

from __future__ import annotations

__all__ = ["Shape", "item_type", "joined", "passing", "shape"]

from typing import Literal

import msgspec

from fabric.lang import syntax, typed
from fabric.lang.diagnostic import Report
from fabric.lang.expr import infer, narrowed, select_path
from fabric.lang.flow import Source, is_poison
from fabric.lang.source import Span
from fabric.lang.typed import Kind, Port
from fabric.lang.types import is_too_large, join
from fabric.wire.payload import JSON, Product, Record, Type, resolve, show

_APART = "wrap them in records with different fields, by map({ ... })"


class Shape(msgspec.Struct, frozen=True):
    """An inline morphism with its types; fields as in :class:`fabric.lang.typed.Instance`."""

    kind: Kind
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    expr: typed.Expr | None = None
    select: tuple[str, ...] = ()
    index: int | str | None = None


def joined(feed: list[Source], inline: syntax.Inline, report: Report) -> Type | None:
    """Return a type for everything that feeds one input, or report that there is none."""
    types = [source.type for source in feed if not is_poison(source) and not source.is_empty]
    found = join(types) if types else JSON
    if found is not None:
        return found
    if inline.kind in ("discard", "empty"):
        return JSON
    report.add(
        "E0402",
        inline.word.span,
        f"'{inline.kind}' gets messages of types that cannot be told apart: {_list(types)}",
        related=[(source.span, show(source.type)) for source in feed if source.span != inline.span],
        help=_APART,
    )
    return None


def shape(inline: syntax.Inline, types: list[Type], report: Report) -> Shape | None:
    """Return an inline morphism for inputs of these types, or None after a mistake that leaves its output unknown."""
    type_ = types[0]
    single = (Port("input", type_),)
    several = tuple(Port(f"input_{i}", t) for i, t in enumerate(types))
    match inline.kind:
        case "map" | "filter" as kind:
            return _shape_with_expr(inline, kind, type_, report)
        case "project":
            assert inline.index is not None
            item = item_type(type_, inline.index, inline.span, report)
            if item is None:
                return None
            return Shape("project", single, (Port("output", item),), index=inline.index)
        case "id" | "mux":
            return Shape("id", single, (Port("output", type_),))
        case "copy":
            return Shape("copy", single, (Port("output_0", type_), Port("output_1", type_)))
        case "merge" | "merge_all" | "merge_any" as kind:
            merged = join(types)
            if merged is None:
                message = f"cannot merge messages of types that cannot be told apart: {_list(types)}"
                report.add("E0402", inline.span, message, help=_APART)
                return None
            return Shape("merge_any" if kind == "merge_any" else "merge", several, (Port("output", merged),))
        case "barrier":
            pair = Product(tuple(types))
            if is_too_large(pair):
                report.add("E0404", inline.span, "the type of what this makes is too large")
                return None
            return Shape("barrier", several, (Port("output", pair),))
    return Shape("discard", single, ())  # and 'empty' as a reader


def _shape_with_expr(
    inline: syntax.Inline, kind: Literal["map", "filter"], type_: Type, report: Report
) -> Shape | None:
    assert inline.expr is not None
    expr = infer(inline.expr, type_, kind, report)
    result = expr.type if kind == "map" else passing(expr, type_, report)
    if result is None:
        return None
    output = select_path(result, inline.fields, report)
    select = tuple(field.text for field in inline.fields)
    return Shape(kind, (Port("input", type_),), (Port("output", output),), expr, select)


def passing(expr: typed.Expr, type_: Type, report: Report) -> Type | None:
    """Return what a filter lets through, or report that it drops everything."""
    result = narrowed(expr, type_)
    if result is None:
        message = "no message has all the fields that this filter names"
        report.add("E0414", expr.span, message, notes=[f"the messages are {show(type_)}"])
    return result


def item_type(type_: Type, index: int | str, span: Span, report: Report) -> Type | None:
    """Return the type of what ``project`` takes out, or report that there is no such item or field."""
    match resolve(type_), index:
        case Product(items), int() if index < len(items):
            return items[index]
        case Product(items), int():
            report.add("E0413", span, f"{show(type_)} has {len(items)} items, counted from 0; there is no {index}")
            return None
        case Record(fields), str():
            types = {field.name: field.type for field in fields}
            if index not in types:
                message = f"there is no field '{index}' in {show(type_)}"
                report.add("E0414", span, message, help=report.suggest(index, types))
            return types.get(index)
    wanted = "tuples" if isinstance(index, int) else "records"
    report.add("E0413", span, f"project({index}) needs {wanted}, this is {show(type_)}")
    return None


def _list(types: list[Type]) -> str:
    return ", ".join(dict.fromkeys(map(show, types)))
