"""Types of messages. Wherever one is expected, a type of Python will do: see :func:`type_of`."""

from __future__ import annotations

__all__ = [
    "Bare",
    "ListType",
    "NamedType",
    "ProductType",
    "Record",
    "StreamType",
    "SumType",
    "Type",
    "ports_of",
    "stream_of",
    "type_of",
]

import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from fabric.dsl.names import name_at, qname_at
from fabric.dsl.origin import HEIGHT_MAX, Immutable, Origin, fill, here
from fabric.dsl.printing import Printer
from fabric.dsl.raw import Raw, nodes_of
from fabric.errors import ConfigError
from fabric.lang import syntax
from fabric.lang.syntax import Name
from fabric.types import from_python
from fabric.wire import payload


class Type(Immutable):
    """A type of the language.

    Attributes:
        node: what the parser would make of it.
        classes: the types of Python classes that it names; a program declares them.
    """

    __slots__ = ("classes", "height", "node")

    node: syntax.TypeSyntax
    classes: tuple[payload.Alias, ...]
    height: int

    def __init__(self, node: syntax.TypeSyntax, parts: Iterable[Type] = ()) -> None:
        parts = tuple(parts)
        classes = tuple(dict.fromkeys(alias for part in parts for alias in part.classes))
        height = 1 + max((part.height for part in parts), default=0)
        if height > HEIGHT_MAX:
            raise ConfigError(f"this type is nested more than {HEIGHT_MAX} levels deep: give the inner part a name")
        fill(self, node=node, classes=classes, height=height)

    def __or__(self, other: object) -> SumType:
        return SumType([self, other])

    def __ror__(self, other: object) -> SumType:
        return SumType([other, self])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {Printer().type(self.node)}>"


class NamedType(Type):
    """A type by its name: ``Verdict``, ``Mem.CtrlCmd``, ``string``."""

    __slots__ = ()

    def __init__(self, name: str) -> None:
        at = here()
        super().__init__(syntax.NamedType(qname_at(name, "the name of a type", at), at))


class Record(Type):
    """``{ f: string, g?: int }``.

    Args:
        fields: names and types. The name of one that may be absent ends with ``?``.
    """

    __slots__ = ()

    def __init__(self, fields: Iterable[tuple[str, object]] | Mapping[str, object]) -> None:
        at = here()
        parts, nodes = [], []
        for name, of in fields.items() if isinstance(fields, Mapping) else fields:
            part = type_of(of)
            field = name_at(name.removesuffix("?") if isinstance(name, str) else name, "the name of a field", at)
            parts.append(part)
            nodes.append(syntax.FieldType(field, name.endswith("?"), part.node, at))
        super().__init__(syntax.RecordType(tuple(nodes), at), parts)


class ListType(Type):
    """``[T]``."""

    __slots__ = ()

    def __init__(self, item: object) -> None:
        part = type_of(item)
        super().__init__(syntax.ListType(part.node, here()), [part])


class StreamType(Type):
    """``!T``: messages of that type, one after the other."""

    __slots__ = ()

    def __init__(self, of: object) -> None:
        part = type_of(of)
        super().__init__(syntax.StreamType(part.node, here()), [part])


class ProductType(Type):
    """``(A, B)``: a tuple; of streams, several ports."""

    __slots__ = ()

    def __init__(self, items: Iterable[object]) -> None:
        parts = [type_of(item) for item in items]
        if len(parts) < 2:
            raise ConfigError(f"a product has at least two items, got {len(parts)}")
        super().__init__(syntax.ProductType(tuple(part.node for part in parts), here()), parts)


class SumType(Type):
    """``A | B``: one of them. A sum of one is that one. Of types that were built, ``A | B | C`` is a sum of three."""

    __slots__ = ("variants",)

    variants: tuple[Type, ...]

    def __init__(self, variants: Iterable[object]) -> None:
        parts = [type_of(variant) for variant in variants]
        if not parts:
            raise ConfigError("a sum has at least one variant, got none")
        nodes = tuple(part.node for part in parts)
        super().__init__(nodes[0] if len(nodes) == 1 else syntax.SumType(nodes, here()), parts)
        fill(self, variants=tuple(parts))

    def __or__(self, other: object) -> SumType:
        return SumType([*self.variants, other])


class Bare(Type):
    """A type that is not made a stream of, where streams are expected: ``Bare(str)`` is ``string``, not ``!string``."""

    __slots__ = ()

    def __init__(self, of: object) -> None:
        part = type_of(of)
        super().__init__(part.node, [part])


def type_of(given: object) -> Type:
    """Return the type of the language for what stands for one.

    Args:
        given: a :class:`Type`, a name, a ``Raw``, or a type of Python: ``str int float bool dict None``, ``list[T]``,
            ``tuple[A, B]``, ``A | B``, or a class (pydantic, dataclass, msgspec, TypedDict), which gets its name.

    Raises:
        ConfigError: the language has no such type.
    """
    if isinstance(given, Type):
        return given
    if isinstance(given, Raw):
        return Type(nodes_of(given, "type")[0])
    if isinstance(given, str):
        return NamedType(given)
    if _has_parts_of_ours(given):
        origin, arguments = typing.get_origin(given), typing.get_args(given)
        if origin is list:
            return ListType(*arguments)
        if origin is tuple and Ellipsis not in arguments:
            return ProductType(arguments)
        if origin in (typing.Union, types.UnionType):
            return SumType(arguments)
    return _from_payload(from_python(given), here())


def _has_parts_of_ours(given: object) -> bool:
    """Say whether it is a type of Python with ours in it, as ``list[Record(...)]``."""
    return any(
        isinstance(part, Type | Raw | str) or _has_parts_of_ours(part)
        for part in typing.get_args(given)
        if typing.get_origin(given) is not typing.Literal
    )


def _from_payload(type_: payload.Type, at: Origin) -> Type:
    """Return the type as it is written: a class by its name, with what it stands for beside it."""
    node = _node(type_, at)
    made = Type(node)
    fill(made, classes=tuple(_aliases(type_)))
    return made


def _node(type_: payload.Type, at: Origin) -> syntax.TypeSyntax:
    match type_:
        case payload.Prim(name):
            return syntax.NamedType(Name(name, at), at)
        case payload.Alias(name):
            return syntax.NamedType(name_at(name, "the name of a type", at), at)
        case payload.Record(fields):
            made = (
                syntax.FieldType(
                    name_at(field.name, "the name of a field", at), field.optional, _node(field.type, at), at
                )
                for field in fields
            )
            return syntax.RecordType(tuple(made), at)
        case payload.ListOf(item):
            return syntax.ListType(_node(item, at), at)
        case payload.Product(items):
            return syntax.ProductType(tuple(_node(item, at) for item in items), at)
        case payload.Sum(variants):
            return syntax.SumType(tuple(_node(variant, at) for variant in variants), at)


def _aliases(type_: payload.Type) -> dict[payload.Alias, None]:
    """Return the classes in a type, the inner ones first."""
    parts: Iterable[Any]
    match type_:
        case payload.Alias(_, of) | payload.ListOf(of):
            parts = (of,)
        case payload.Record(fields):
            parts = (field.type for field in fields)
        case payload.Product(parts) | payload.Sum(parts):
            pass
        case _:
            return {}
    found = {alias: None for part in parts for alias in _aliases(part)}
    return found | {type_: None} if isinstance(type_, payload.Alias) else found


def declaration_of(alias: payload.Alias, at: Origin) -> syntax.TypeDecl:
    """Return the declaration of a class's type."""
    return syntax.TypeDecl(name_at(alias.name, "the name of a type", at), _node(alias.type, at), at)


def stream_of(given: object) -> Type:
    """Return a stream of what is given, unless that is one, or ``Bare``."""
    type_ = type_of(given)
    return type_ if isinstance(type_, Bare) or _has_streams(type_.node) else StreamType(type_)


def ports_of(given: object) -> Type:
    """Return the type of one side of a signature; a tuple of types is several ports."""
    return ProductType(map(stream_of, given)) if isinstance(given, tuple) else stream_of(given)


def _has_streams(node: syntax.TypeSyntax) -> bool:
    if isinstance(node, syntax.ProductType):
        return any(map(_has_streams, node.items))
    return isinstance(node, syntax.StreamType)
