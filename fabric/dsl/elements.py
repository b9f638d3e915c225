"""What a chain is made of. ``a >> b`` sends what a gives to b, ``a * b`` puts them side by side."""

from __future__ import annotations

__all__ = [
    "BARRIER",
    "COPY",
    "DISCARD",
    "EMPTY",
    "ID",
    "MERGE",
    "MERGE_ALL",
    "MERGE_ANY",
    "WORDS",
    "Barrier",
    "Copy",
    "Discard",
    "Element",
    "Empty",
    "Filter",
    "Id",
    "Map",
    "Merge",
    "MergeAll",
    "MergeAny",
    "Mux",
    "Pipe",
    "PortRef",
    "Project",
    "Tensor",
    "chain_of",
    "element_of",
]

from typing import ClassVar, Self

from fabric.dsl.expressions import Expr, expr_of, fields_of, refuse_answer
from fabric.dsl.names import name_at, qname_at, split_ref
from fabric.dsl.origin import HEIGHT_MAX, NOWHERE, Immutable, Origin, fill, here
from fabric.dsl.printing import Printer
from fabric.dsl.raw import Raw, nodes_of, spoken_by_first
from fabric.errors import ConfigError
from fabric.lang import syntax
from fabric.lang.syntax import Name


class Element(Immutable):
    """One or more elements of a chain.

    Attributes:
        chain: what the parser would make of them.
    """

    __slots__ = ("chain", "height")

    chain: syntax.Chain
    height: int

    def __init__(self, chain: syntax.Chain, *parts: Element) -> None:
        height = 1 + max((part.height for part in parts), default=0)
        if height > HEIGHT_MAX:
            raise ConfigError(
                f"this is nested more than {HEIGHT_MAX} levels deep: give the inner part a name with let()"
            )
        fill(self, chain=chain, height=height)

    def __rshift__(self, other: object) -> Pipe:
        return Pipe(self, other)

    def __rrshift__(self, other: object) -> Pipe:
        return Pipe(other, self)

    def __mul__(self, other: object) -> Tensor:
        return Tensor(self, other)

    def __rmul__(self, other: object) -> Tensor:
        return Tensor(other, self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {Printer().chain(self.chain)}>"


def element_of(given: object) -> Element:
    """Return an element for what stands for one: a name, ``name@port``, ``name.field``, or ``Raw``.

    Raises:
        ConfigError: it is no name.
        TypeError: it is nothing that a chain has.
    """
    at = here()
    if isinstance(given, Element):
        return given
    if isinstance(given, Raw):
        (chain,) = nodes_of(given, "chain")
        return Element(syntax.Chain(spoken_by_first(chain.elements, chain.span), given.origin))
    if not isinstance(given, str):
        raise TypeError(
            f"a chain is made of names and elements such as Filter, got {type(given).__name__}; an agent, a tool or a"
            " body gets a name with let()"
        )
    ref = split_ref(given, at)
    if ref is None:
        raise ConfigError(
            f"{given!r} is no name of a process: write Filter(...) or Map(...), or Raw({given!r}) for text as it is"
        )
    return _ref_element(*ref, at)


def _ref_element(name: Name, port: Name | None, fields: tuple[Name, ...], at: Origin) -> Element:
    """Return what the parser makes of a name: some are words, unless a port or a field is behind them."""
    made = WORDS.get(name.full) if port is None and not fields else None
    if made is not None:
        return Element(_inline(made.kind, at))
    return Element(syntax.Chain((syntax.Ref(name, at, port, fields),), at))


def _inline(
    kind: syntax.InlineKind,
    at: Origin,
    *,
    expr: syntax.Expression | None = None,
    fields: tuple[Name, ...] = (),
    index: int | str | None = None,
    source: Name | None = None,
) -> syntax.Chain:
    inline = syntax.Inline(kind, Name(kind, at), at, expr=expr, fields=fields, index=index, source=source)
    return syntax.Chain((inline,), at)


def chain_of(parts: tuple[object, ...]) -> Element:
    """Return several elements as one chain."""
    at = here()
    elements = [element_of(part) for part in parts]
    if not elements:
        raise ConfigError("a chain has at least one element, got none")
    return Element(syntax.Chain(tuple(e for element in elements for e in element.chain.elements), at), *elements)


class Pipe(Element):
    """``a ; b``."""

    __slots__ = ()

    def __init__(self, *parts: object) -> None:
        whole = chain_of(parts)
        fill(self, chain=whole.chain, height=whole.height - 1)


class Tensor(Element):
    """``(a * b)``; of one, a chain in parentheses. ``a * b * c`` are three side by side."""

    __slots__ = ("branches",)

    branches: tuple[Element, ...]

    def __init__(self, *branches: object) -> None:
        at = here()
        parts = tuple(element_of(branch) for branch in branches)
        if not parts:
            raise ConfigError("a tensor has at least one branch, got none")
        group = syntax.Group(tuple(part.chain for part in parts), at)
        super().__init__(syntax.Chain((group,), at), *parts)
        fill(self, branches=parts)

    def __mul__(self, other: object) -> Tensor:
        return Tensor(*self.branches, other)


class PortRef(Element):
    """A process by its name, with a port or without: ``p``, ``p@ctrl``.

    Args:
        process: its name; ``Mem.compact`` is that of a module.
        port: which of its ports.
    """

    __slots__ = ()

    def __init__(self, process: str, port: str | None = None) -> None:
        at = here()
        name = qname_at(process, "the name of a process", at)
        made = _ref_element(name, None if port is None else name_at(port, "the name of a port", at), (), at)
        super().__init__(made.chain)

    def __matmul__(self, port: str) -> PortRef:
        """``p @ "ctrl"`` is that port of it."""
        return PortRef(self.name, port)

    def project(self, *fields: str) -> Element:
        """Select a field of what comes, or of a field; of a name without port the first may be an output port."""
        at = here()
        element = self.chain.elements[0]
        port = element.port if isinstance(element, syntax.Ref) else None
        names = tuple(name_at(field, "the name of a field", at) for field in fields)
        return _ref_element(qname_at(self.name, "the name of a process", at), port, names, at)

    @property
    def name(self) -> str:
        """The name of the process."""
        element = self.chain.elements[0]
        assert isinstance(element, (syntax.Ref, syntax.Inline))
        return element.name.full if isinstance(element, syntax.Ref) else element.kind


class _Word(Element):
    """An element that is nothing but its word."""

    __slots__ = ()

    kind: ClassVar[syntax.InlineKind]

    def __init__(self) -> None:
        super().__init__(_inline(self.kind, here()))


class Id(_Word):
    """``id``: gives what it takes."""

    __slots__ = ()
    kind: ClassVar[syntax.InlineKind] = "id"


class Copy(_Word):
    """``copy``: gives what it takes, twice."""

    __slots__ = ()
    kind: ClassVar[syntax.InlineKind] = "copy"


class Merge(_Word):
    """``merge``: gives what comes on either side, and ends when both have."""

    __slots__ = ()
    kind: ClassVar[syntax.InlineKind] = "merge"


class MergeAll(_Word):
    """``merge_all``: the same as ``merge``."""

    __slots__ = ()
    kind: ClassVar[syntax.InlineKind] = "merge_all"


class MergeAny(_Word):
    """``merge_any``: ends with the first of its inputs."""

    __slots__ = ()
    kind: ClassVar[syntax.InlineKind] = "merge_any"


class Discard(_Word):
    """``discard``: takes everything and gives nothing."""

    __slots__ = ()
    kind: ClassVar[syntax.InlineKind] = "discard"


class Empty(_Word):
    """``empty``: gives nothing and ends at once."""

    __slots__ = ()
    kind: ClassVar[syntax.InlineKind] = "empty"


class Barrier(_Word):
    """``barrier``: makes tuples of what comes side by side."""

    __slots__ = ()
    kind: ClassVar[syntax.InlineKind] = "barrier"


WORDS: dict[str, type[_Word]] = {
    word.kind: word for word in (Id, Copy, Merge, MergeAll, MergeAny, Discard, Empty, Barrier)
}
"""Elements that are nothing but a word, by that word."""


class _Computing(Element):
    """``filter(e)`` or ``map(e)``, and fields that are selected afterwards."""

    __slots__ = ("_expr", "_fields")

    _kind: ClassVar[syntax.InlineKind]
    _expr: Expr
    _fields: tuple[str, ...]

    def _make(self, expr: Expr, fields: tuple[str, ...]) -> None:
        at = here()
        names = tuple(name_at(field, "the name of a field", at) for field in fields)
        Element.__init__(self, _inline(self._kind, at, expr=expr.__node__, fields=names))
        fill(self, _expr=expr, _fields=fields)

    def project(self, *fields: str) -> Self:
        """Select a field of what passes; several are fields of fields."""
        made = object.__new__(type(self))
        made._make(self._expr, (*self._fields, *fields))
        return made


class Filter(_Computing):
    """``filter(e)``: passes the messages of which ``e`` is true."""

    __slots__ = ()
    _kind = "filter"

    def __init__(self, condition: object) -> None:
        refuse_answer(condition)
        if not isinstance(condition, (Expr, Raw)):
            raise ConfigError(
                f"{condition!r} is no condition: write one with F, as in Filter(F.score >= 85), or as Raw"
            )
        self._make(expr_of(condition), ())


class Map(_Computing):
    """``map({ x: x, quality: score })``: makes a record of fields, by their own names or by others.

    A dict, a list, an arithmetic expression or a number alone is what it gives: ``Map(F.score + 1)``. So is whatever
    stands in :meth:`to`, a text too, which alone could be meant as the name of a field.
    """

    __slots__ = ()
    _kind = "map"

    def __init__(self, /, *fields: object, **named: object) -> None:
        self._make(_what_map_gives(fields, named), ())

    @classmethod
    def to(cls, expr: object) -> Self:
        """Give just that: ``Map.to(F.draft)`` is ``map(draft)``, ``Map(F.draft)`` is ``map({ draft: draft })``."""
        made = object.__new__(cls)
        made._make(expr_of(expr), ())
        return made


def _what_map_gives(fields: tuple[object, ...], named: dict[str, object]) -> Expr:
    if len(fields) == 1 and not named:
        refuse_answer(fields[0])
        if isinstance(fields[0], str):
            given = repr(fields[0])
            raise ConfigError(
                f"{given} is a text, and no field: a field is Map(F.x); to give that text is Map.to({given})"
            )
        only = expr_of(fields[0])
        if not isinstance(only.__node__, (syntax.NameExpr, syntax.SelectExpr)) or not isinstance(fields[0], Expr):
            return only
        if only.__node__.span is NOWHERE:  # F itself
            return only
    return fields_of(fields, named)


class Project(Element):
    """``project(i)``: the item of a tuple by its position, counted from 0; or a field by its name."""

    __slots__ = ()

    def __init__(self, index: int | str) -> None:
        at = here()
        if isinstance(index, bool) or not isinstance(index, (int, str)) or (isinstance(index, int) and index < 0):
            raise TypeError(f"project takes a position, counted from 0, or the name of a field; got {index!r}")
        super().__init__(_inline("project", at, index=index))


class Mux(Element):
    """``mux(source: p)``: passes what comes, and says that it comes of ``p``."""

    __slots__ = ()

    def __init__(self, source: str | PortRef) -> None:
        at = here()
        name = qname_at(source.name if isinstance(source, PortRef) else source, "the name of a process", at)
        super().__init__(_inline("mux", at, source=name))


ID, COPY, MERGE, MERGE_ALL, MERGE_ANY, DISCARD, EMPTY, BARRIER = (
    Element(_inline(word.kind, NOWHERE)) for word in WORDS.values()
)
