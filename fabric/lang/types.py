"""Payload types out of type syntax.

Types are ``fabric.wire.payload`` values; there is no second representation. A type that cannot be made becomes
``json``, which fits everything, so that one mistake is reported once. How types relate: :mod:`fabric.wire.relations`.
"""

from __future__ import annotations

__all__ = [
    "TypeTable",
    "field_of",
    "is_consistent",
    "is_disjoint",
    "is_subtype",
    "is_too_large",
    "join",
    "make_sum",
    "record_variants",
    "report_unknown_module",
    "why_not",
]

from collections.abc import Collection, Iterator, Mapping
from typing import get_args

from fabric.lang import syntax
from fabric.lang.diagnostic import Report
from fabric.lang.ordering import dependency_order
from fabric.lang.source import Span
from fabric.wire.payload import (
    INT,
    JSON,
    NUMBER,
    Alias,
    Field,
    ListOf,
    Prim,
    PrimName,
    Product,
    Record,
    Sum,
    Type,
    resolve,
    show,
)
from fabric.wire.relations import (
    TYPE_DEPTH_MAX,
    TYPE_SIZE_MAX,
    VARIANTS_MAX,
    is_consistent,
    is_disjoint,
    is_subtype,
    is_too_large,
    join,
    make_sum,
    why_not,
)

_PRIMITIVES: dict[str, Type] = {name: Prim(name) for name in get_args(PrimName)}
_OLD_PRIMITIVES = {name.capitalize(): type_ for name, type_ in _PRIMITIVES.items()}


def field_of(record: Record, name: str) -> Field | None:
    """Return a record's field of that name."""
    return next((field for field in record.fields if field.name == name), None)


def record_variants(type_: Type) -> list[Record]:
    """Return the records that a value of this type may be: itself, or those among a sum's variants."""
    inner = resolve(type_)
    parts = inner.variants if isinstance(inner, Sum) else (inner,)
    return [part for part in map(resolve, parts) if isinstance(part, Record)]


# --- Names to types -----------------------------------------------------------------------------------------------


class TypeTable:
    """The declared types of a program, and how to read type syntax with them.

    Args:
        program: has the declarations.
        imports: namespace to the types behind it.
        damaged: namespaces of which nothing is known.
        mentioned: gets the namespaces that types are taken from.
        report: takes what is wrong.

    Attributes:
        types: by name, each an :class:`Alias`; ``json`` in place of one that is wrong.
    """

    def __init__(
        self,
        program: syntax.Program,
        imports: Mapping[str, TypeTable],
        damaged: Collection[str],
        mentioned: set[str],
        report: Report,
    ) -> None:
        self.types: dict[str, Type] = {}
        self._report = report
        self._broken = program.broken
        self._imports = imports
        self._damaged = damaged
        self._mentioned = mentioned
        self._protocols = {d.name.text for d in program.declarations if isinstance(d, syntax.ProtocolDecl)}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._declare(program)

    def _declare(self, program: syntax.Program) -> None:
        declared: dict[str, syntax.TypeDecl] = {}
        for decl in program.declarations:
            if not isinstance(decl, syntax.TypeDecl):
                continue
            name, span = decl.name.text, decl.name.span
            if name in _PRIMITIVES:
                self._report.add("E0205", span, f"'{name}' is a primitive type and cannot be declared anew")
            elif name in declared:
                self._report.add(
                    "E0205",
                    span,
                    f"type '{name}' is declared twice",
                    related=[(declared[name].name.span, "first declared here")],
                )
            else:
                declared[name] = decl
                if not name[0].isupper():
                    self._report.add("W0210", span, f"names of types start with a capital: '{name}'")
        needs = {name: list(_names_in(decl.type)) for name, decl in declared.items()}
        order, cycles = dependency_order(needs)
        recursive = {name for cycle in cycles for name in cycle}
        for cycle in cycles:
            path = " -> ".join([*cycle, cycle[0]])
            self._report.add(
                "E0403",
                declared[cycle[0]].name.span,
                f"type '{cycle[0]}' contains itself" + (f": {path}" if len(cycle) > 1 else ""),
                related=[(declared[name].name.span, "on the way") for name in cycle[1:]],
                help="types are not recursive; use 'json' for a part of any depth",
            )
        self.types = dict.fromkeys(declared, JSON)
        for name in order:
            if name in recursive:
                continue
            decl = declared[name]
            size, depth = self._measure(decl.type)
            if size > TYPE_SIZE_MAX or depth > TYPE_DEPTH_MAX:
                what = (
                    f"more than {TYPE_SIZE_MAX} parts" if size > TYPE_SIZE_MAX else f"more than {TYPE_DEPTH_MAX} levels"
                )
                self._report.add("E0404", decl.name.span, f"type '{name}' is too large: {what} with all names expanded")
                continue
            self._sizes[name] = (size, depth)
            type_ = self.value_type(decl.type)
            self.types[name] = Alias(name, type_)

    def _measure(self, type_: syntax.TypeSyntax) -> tuple[int, int]:
        """Return size and depth with names expanded."""
        if isinstance(type_, syntax.NamedType):
            sizes = self._sizes
            if type_.name.module is not None:
                sizes = self._imports[type_.name.module]._sizes if type_.name.module in self._imports else {}
            size, depth = sizes.get(type_.name.text, (1, 1))
            return size + 1, depth + 1
        measures = [self._measure(part) for part in _parts(type_)]
        return 1 + sum(m[0] for m in measures), 1 + max((m[1] for m in measures), default=0)

    def value_type(self, type_: syntax.TypeSyntax) -> Type:
        """Return the payload type of a type without ``!``; what is wrong is reported."""
        match type_:
            case syntax.NamedType(name):
                return self._named(name)
            case syntax.RecordType(fields):
                return Record(tuple(self._fields(fields)))
            case syntax.ListType(item):
                return ListOf(self.value_type(item))
            case syntax.ProductType(items):
                return Product(tuple(map(self.value_type, items)))
            case syntax.SumType():
                return self._sum(type_)
            case syntax.StreamType(of, span):
                self._report.add(
                    "E0401",
                    Span(span.start, span.start + 1),
                    "a stream cannot be part of a value's type",
                    label="not here",
                    help="'!' stands before a whole port: !A, (!A, !B), not !(!A) or [!A]",
                )
                return self.value_type(of)

    def _named(self, name: syntax.Name) -> Type:
        if name.module is not None:
            return self._imported(name, name.module)
        found = _PRIMITIVES.get(name.text) or self.types.get(name.text)
        if found is not None:
            return found
        if name.text in _OLD_PRIMITIVES:
            old = name.text.lower()
            self._report.add(
                "W0111", name.span, f"'{name.text}' is an old form of the type '{old}'", help=f"write '{old}'"
            )
            return _OLD_PRIMITIVES[name.text]
        if name.text not in self._broken:
            if name.text in self._protocols:
                hint: str | None = "a protocol is not the type of a message"
            else:
                hint = self._report.suggest(name.text, [*self.types, *_PRIMITIVES])
            self._report.add("E0201", name.span, f"there is no type '{name.text}'", help=hint)
        return JSON

    def _imported(self, name: syntax.Name, space: str) -> Type:
        self._mentioned.add(space)
        table = self._imports.get(space)
        if table is None:
            if space not in self._damaged:
                report_unknown_module(name, self._imports, self._report)
            return JSON
        found = table.types.get(name.text)
        if found is not None:
            return Alias(name.full, found)
        if name.text not in table._broken:
            hint = self._report.suggest(name.text, table.types)
            self._report.add("E0201", name.span, f"there is no type '{name.text}' in the module '{space}'", help=hint)
        return JSON

    def _fields(self, fields: tuple[syntax.FieldType, ...]) -> Iterator[Field]:
        seen: dict[str, Span] = {}
        for field in fields:
            name = field.name
            type_ = self.value_type(field.type)
            if name.text in seen:
                self._report.add(
                    "E0205",
                    name.span,
                    f"field '{name.text}' is declared twice",
                    related=[(seen[name.text], "first declared here")],
                )
                continue
            seen[name.text] = name.span
            yield Field(name.text, type_, field.optional)

    def _sum(self, sum_: syntax.SumType) -> Type:
        variants: list[tuple[Type, Span]] = []
        sound = True
        for variant in sum_.variants:
            type_ = self.value_type(variant)
            if type_ == JSON and not self._is_written_json(variant):
                sound = False  # reported where it is
                continue
            inner = resolve(type_)
            variants.extend((t, variant.span) for t in (inner.variants if isinstance(inner, Sum) else (type_,)))
        if len(variants) > VARIANTS_MAX:
            self._report.add(
                "E0404", sum_.span, f"a sum of {len(variants)} variants; at most {VARIANTS_MAX} are allowed"
            )
            return JSON
        for i, (b, b_span) in enumerate(variants):
            for a, a_span in variants[:i]:
                if not is_disjoint(a, b):
                    sound = False
                    self._report.add(
                        "E0402",
                        b_span,
                        f"the variants {show(a)} and {show(b)} {_why_they_overlap(a, b)}",
                        label=show(b),
                        related=[(a_span, show(a))] if a_span != b_span else [],
                        help=_apart(a, b),
                    )
                    break
        return make_sum(t for t, _ in variants) if sound else JSON

    def _is_written_json(self, type_: syntax.TypeSyntax) -> bool:
        return isinstance(type_, syntax.NamedType) and (
            type_.name.text in ("json", "Json")
            or (
                resolve(self.types.get(type_.name.text, JSON)) == JSON
                and isinstance(self.types.get(type_.name.text), Alias)
            )
        )


def report_unknown_module(name: syntax.Name, known: Collection[str], report: Report) -> None:
    """Report a name behind a namespace that nothing brought in."""
    assert name.module is not None
    report.add(
        "E0204",
        name.span,
        f"there is no module '{name.module}' here",
        help=report.suggest(name.module, known)
        or f"bring it in at the top: use {name.module[:1].lower()}{name.module[1:]}",
    )


def _why_they_overlap(a: Type, b: Type) -> str:
    match resolve(a), resolve(b):
        case (Product(items), ListOf(item)) | (ListOf(item), Product(items)) if any(
            is_disjoint(part, item) for part in items
        ):
            return "cannot be told apart: both are arrays"
    return "overlap: some values belong to both"


def _apart(a: Type, b: Type) -> str:
    left, right = resolve(a), resolve(b)
    if JSON in (left, right):
        return "'json' holds every value, so nothing can stand beside it"
    if isinstance(left, Record) and isinstance(right, Record):
        return "give one of them a required field that the other does not have"
    if left in (INT, NUMBER):
        return "'number' holds every 'int'; write 'number' alone"
    return "wrap one of them in a record"


def _parts(type_: syntax.TypeSyntax) -> tuple[syntax.TypeSyntax, ...]:
    match type_:
        case syntax.RecordType(fields):
            return tuple(field.type for field in fields)
        case syntax.ListType(item):
            return (item,)
        case syntax.ProductType(items) | syntax.SumType(items):
            return items
        case syntax.StreamType(of):
            return (of,)
    return ()


def _names_in(type_: syntax.TypeSyntax) -> Iterator[str]:
    if isinstance(type_, syntax.NamedType):
        if type_.name.module is None:
            yield type_.name.text
        return
    for part in _parts(type_):
        yield from _names_in(part)
