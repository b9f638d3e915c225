"""The syntax tree: what was written, nothing more.

Frozen data, every node with its span. The parser makes it, the checker reads it; the Python DSL builds the same nodes.
Names are not resolved here: a bare ``copy`` in a chain may turn out to be a channel of that name.

Trees have no cycles, so the garbage collector need not look at them (``gc=False``); it took half of the time of a
parse.
"""

from __future__ import annotations

__all__ = [
    "Argument",
    "BinaryExpr",
    "BindingDecl",
    "Chain",
    "ChannelDecl",
    "Choice",
    "Config",
    "ConfigEntry",
    "ConfigList",
    "ConfigName",
    "ConfigScalar",
    "ConfigValue",
    "ConfiguredImpl",
    "Declaration",
    "Element",
    "Expression",
    "FieldType",
    "Group",
    "Impl",
    "IndexExpr",
    "Inline",
    "ListExpr",
    "ListType",
    "LiteralExpr",
    "Name",
    "NameExpr",
    "NamedType",
    "PlumbImpl",
    "ProductType",
    "Program",
    "ProtocolDecl",
    "RecordExpr",
    "RecordType",
    "Ref",
    "SelectExpr",
    "Session",
    "SessionEnd",
    "SessionName",
    "SessionStep",
    "SessionWire",
    "Spawn",
    "Statement",
    "StreamType",
    "SumType",
    "TupleExpr",
    "TypeDecl",
    "TypeSyntax",
    "UnaryExpr",
    "UseDecl",
    "WireEnd",
]

from typing import Literal, TypeAlias

import msgspec

from fabric.lang.source import Span


class Name(msgspec.Struct, frozen=True, gc=False):
    """An identifier; ``module`` is the part before the dot of a qualified one (``Mem.compact``)."""

    text: str
    span: Span
    module: str | None = None

    @property
    def full(self) -> str:
        """The name as it is written: ``compact``, ``Mem.compact``."""
        return self.text if self.module is None else f"{self.module}.{self.text}"


# --- Types --------------------------------------------------------------------------------------------------------


class NamedType(msgspec.Struct, frozen=True, gc=False):
    """A primitive or the name of a declared type."""

    name: Name
    span: Span


class FieldType(msgspec.Struct, frozen=True, gc=False):
    """``name: type`` or ``name?: type``."""

    name: Name
    optional: bool
    type: TypeSyntax
    span: Span


class RecordType(msgspec.Struct, frozen=True, gc=False):
    """``{ a: int, b?: string }``."""

    fields: tuple[FieldType, ...]
    span: Span


class ListType(msgspec.Struct, frozen=True, gc=False):
    """``[T]``."""

    item: TypeSyntax
    span: Span


class ProductType(msgspec.Struct, frozen=True, gc=False):
    """``(A, B)``: of values a tuple, of streams several ports."""

    items: tuple[TypeSyntax, ...]
    span: Span


class SumType(msgspec.Struct, frozen=True, gc=False):
    """``A | B``, not flattened."""

    variants: tuple[TypeSyntax, ...]
    span: Span


class StreamType(msgspec.Struct, frozen=True, gc=False):
    """``!T``."""

    of: TypeSyntax
    span: Span


TypeSyntax: TypeAlias = NamedType | RecordType | ListType | ProductType | SumType | StreamType


# --- Expressions --------------------------------------------------------------------------------------------------


class LiteralExpr(msgspec.Struct, frozen=True, gc=False):
    """A string, a number, ``true``, ``false`` or ``null``."""

    value: str | int | float | bool | None
    span: Span


class NameExpr(msgspec.Struct, frozen=True, gc=False):
    """A field of the input, or ``value``."""

    name: Name
    span: Span


class SelectExpr(msgspec.Struct, frozen=True, gc=False):
    """``of.field``."""

    of: Expression
    field: Name
    span: Span


class IndexExpr(msgspec.Struct, frozen=True, gc=False):
    """``of[index]``."""

    of: Expression
    index: int
    span: Span


class RecordExpr(msgspec.Struct, frozen=True, gc=False):
    """``{ a: e, b }``; the shorthand ``b`` has become ``b: b``."""

    fields: tuple[tuple[Name, Expression], ...]
    span: Span


class ListExpr(msgspec.Struct, frozen=True, gc=False):
    """``[e, f]``."""

    items: tuple[Expression, ...]
    span: Span


class TupleExpr(msgspec.Struct, frozen=True, gc=False):
    """``(e, f)``; at least two items."""

    items: tuple[Expression, ...]
    span: Span


class UnaryExpr(msgspec.Struct, frozen=True, gc=False):
    """``!e``, also written ``not e``, or ``-e``."""

    op: Literal["!", "-"]
    of: Expression
    span: Span


BinaryOp: TypeAlias = Literal["&&", "||", "=", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%"]


class BinaryExpr(msgspec.Struct, frozen=True, gc=False):
    """Two operands; ``==`` has become ``=``. ``op_span`` is the operator's place."""

    op: BinaryOp
    left: Expression
    right: Expression
    op_span: Span
    span: Span


Expression: TypeAlias = (
    LiteralExpr | NameExpr | SelectExpr | IndexExpr | RecordExpr | ListExpr | TupleExpr | UnaryExpr | BinaryExpr
)


# --- Wiring -------------------------------------------------------------------------------------------------------


class Ref(msgspec.Struct, frozen=True, gc=False):
    """A name in a chain, with ``@port`` or with ``.field`` s (of which the first may be an output port)."""

    name: Name
    span: Span
    port: Name | None = None
    fields: tuple[Name, ...] = ()


InlineKind: TypeAlias = Literal[
    "map", "filter", "project", "mux", "id", "copy", "merge", "merge_all", "merge_any", "discard", "empty", "barrier"
]


class Inline(msgspec.Struct, frozen=True, gc=False):
    """A morphism written in place.

    Attributes:
        word: where its word stands. A structural word without parentheses may be meant as a name.
        expr: of ``map`` and ``filter``.
        fields: selected afterwards, as in ``filter(e).f``.
        index: of ``project``.
        source: of ``mux(source: name)``.
    """

    kind: InlineKind
    word: Name
    span: Span
    expr: Expression | None = None
    fields: tuple[Name, ...] = ()
    index: int | str | None = None
    source: Name | None = None


class Group(msgspec.Struct, frozen=True, gc=False):
    """``( a * b ; c )``: branches side by side."""

    branches: tuple[Chain, ...]
    span: Span


Element: TypeAlias = Group | Inline | Ref


class Chain(msgspec.Struct, frozen=True, gc=False):
    """``a ; b ; c``; at least one element."""

    elements: tuple[Element, ...]
    span: Span


class ChannelDecl(msgspec.Struct, frozen=True, gc=False):
    """``let c : !T = channel``."""

    name: Name
    type: TypeSyntax
    span: Span


class Argument(msgspec.Struct, frozen=True, gc=False):
    """``port=channel``, or ``channel`` alone."""

    port: Name | None
    channel: Name
    span: Span


class Spawn(msgspec.Struct, frozen=True, gc=False):
    """``spawn target(arguments)``."""

    target: Ref | Inline
    arguments: tuple[Argument, ...]
    span: Span


class WireEnd(msgspec.Struct, frozen=True, gc=False):
    """One side of ``<->``: ``p``, ``p@ctrl``, or ``p@(asks, answers)`` with the two ports that it means."""

    name: Name
    ports: tuple[Name, ...]
    span: Span


class SessionWire(msgspec.Struct, frozen=True, gc=False):
    """``left <-> right : protocol``."""

    left: WireEnd
    right: WireEnd
    protocol: Name | None
    span: Span


Statement: TypeAlias = ChannelDecl | Spawn | SessionWire | Chain


# --- Configuration ------------------------------------------------------------------------------------------------


class ConfigScalar(msgspec.Struct, frozen=True, gc=False):
    """A string, a number, ``true``, ``false`` or ``null``."""

    value: str | int | float | bool | None
    span: Span


class ConfigName(msgspec.Struct, frozen=True, gc=False):
    """The name of a process."""

    name: Name
    span: Span


class ConfigList(msgspec.Struct, frozen=True, gc=False):
    """``[a, b]``."""

    items: tuple[ConfigValue, ...]
    span: Span


class ConfigEntry(msgspec.Struct, frozen=True, gc=False):
    """``key: value``."""

    key: Name
    value: ConfigValue


class Config(msgspec.Struct, frozen=True, gc=False):
    """``{ key: value ... }``."""

    entries: tuple[ConfigEntry, ...]
    span: Span


ConfigValue: TypeAlias = ConfigScalar | ConfigName | ConfigList | Config


# --- Protocols ----------------------------------------------------------------------------------------------------


class SessionStep(msgspec.Struct, frozen=True, gc=False):
    """``send T`` or ``recv T``."""

    direction: Literal["send", "recv"]
    type: TypeSyntax
    span: Span


class SessionEnd(msgspec.Struct, frozen=True, gc=False):
    """``end``, or ``loop``: back to the start of the protocol."""

    word: Literal["end", "loop"]
    span: Span


class Choice(msgspec.Struct, frozen=True, gc=False):
    """``select { a: ..., b: ... }``; without a word the declaring side selects."""

    word: Literal["select", "offer"]
    branches: tuple[tuple[Name, Session], ...]
    span: Span


class SessionName(msgspec.Struct, frozen=True, gc=False):
    """Goes on as another protocol."""

    name: Name
    span: Span


class Session(msgspec.Struct, frozen=True, gc=False):
    """Steps, then how it goes on. A list of steps and not a nested node each, so that long protocols do not nest."""

    steps: tuple[SessionStep, ...]
    tail: SessionEnd | Choice | SessionName
    span: Span


# --- Declarations -------------------------------------------------------------------------------------------------


class ConfiguredImpl(msgspec.Struct, frozen=True, gc=False):
    """``agent { ... }`` and its like."""

    kind: Literal["agent", "tool", "python", "worker", "handler"]
    config: Config
    span: Span


class PlumbImpl(msgspec.Struct, frozen=True, gc=False):
    """``plumb(ports) { statements }``. ``damaged``: a statement could not be read and is missing here."""

    header: tuple[Name, ...]
    statements: tuple[Statement, ...]
    span: Span
    damaged: bool = False


Impl: TypeAlias = ConfiguredImpl | PlumbImpl | Chain


class UseDecl(msgspec.Struct, frozen=True, gc=False):
    """``use mem`` or ``use "./mem.plumb"``."""

    name: str
    is_path: bool
    span: Span


class TypeDecl(msgspec.Struct, frozen=True, gc=False):
    """``type Name = type``."""

    name: Name
    type: TypeSyntax
    span: Span


class ProtocolDecl(msgspec.Struct, frozen=True, gc=False):
    """``protocol Name = session``."""

    name: Name
    session: Session
    span: Span


class BindingDecl(msgspec.Struct, frozen=True, gc=False):
    """``let name : input -> output = impl``."""

    name: Name
    input: TypeSyntax
    output: TypeSyntax
    impl: Impl
    span: Span


Declaration: TypeAlias = UseDecl | TypeDecl | ProtocolDecl | BindingDecl


class Program(msgspec.Struct, frozen=True, gc=False):
    """A file. ``broken``: names of declarations that could not be read, so that their uses are not reported."""

    declarations: tuple[Declaration, ...]
    broken: frozenset[str] = frozenset()
