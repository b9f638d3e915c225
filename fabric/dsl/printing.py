"""The syntax tree as text, in plain lines; the formatter puts them in order.

Brackets stand where the tree needs them. Where the grammar can do without, a reader may not: ``!a = b`` means
``!(a = b)``, and is written so; but not in ``terse`` text, since each bracket counts as a level of nesting.
"""

from __future__ import annotations

__all__ = ["Printer"]

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from fabric.dsl.names import is_name
from fabric.dsl.origin import Origin, shown
from fabric.errors import ConfigError
from fabric.lang import syntax
from fabric.lang.expression_parser import COMPARE_LEVEL, LEVELS, NOT_LEVEL, UNARY_LEVEL

_CALLED = frozenset({"map", "filter", "project", "mux"})
"""With a bracket behind it, such a name is no name."""


class Printer:
    """Writes trees. ``terse``: without brackets that only readers need."""

    def __init__(self, *, terse: bool = False) -> None:
        self._terse = terse

    # --- declarations ---

    def program(self, program: syntax.Program) -> list[str]:
        """Return a text for each declaration, with the empty line before it that separates it from another kind."""
        texts = []
        previous: syntax.Declaration | None = None
        for decl in program.declarations:
            text = self.declaration(decl)
            apart = previous is not None and (type(decl) is not type(previous) or _is_body(decl) or _is_body(previous))
            texts.append(f"\n{text}\n" if text and apart else f"{text}\n")
            previous = decl
        return texts

    def declaration(self, decl: syntax.Declaration) -> str:
        """Write one declaration."""
        if (text := _verbatim(decl)) is not None:
            return text
        match decl:
            case syntax.UseDecl(name, is_path):
                return f"use {quoted(name) if is_path else name}"
            case syntax.TypeDecl(name, type_):
                return f"type {name.text} = {self.type(type_)}"
            case syntax.ProtocolDecl(name, session):
                return f"protocol {name.text} = {self.session(session)}"
            case syntax.BindingDecl(name, input_, output, impl):
                return f"let {name.text} : {self.type(input_)} -> {self.type(output)} = {self.implementation(impl)}"

    def implementation(self, impl: syntax.Impl) -> str:
        """Write what stands behind the ``=`` of a binding."""
        if (text := _verbatim(impl)) is not None:
            return text
        match impl:
            case syntax.ConfiguredImpl(kind, config):
                return f"{kind} {self.value(config)}"
            case syntax.PlumbImpl(header, statements):
                ports = ", ".join(name.text for name in header)
                _check_neighbours(statements)
                inside = "\n".join(filter(None, map(self.statement, statements)))
                return f"plumb({ports}) {{\n{inside}\n}}"
            case syntax.Chain():
                return self.chain(impl)

    # --- types ---

    def type(self, node: syntax.TypeSyntax, *, tight: bool = False) -> str:
        """Write a type. ``tight``: a sum has to be in parentheses here."""
        text = _verbatim(node)
        if isinstance(node, syntax.SumType):
            text = text or " | ".join(self.type(variant, tight=True) for variant in node.variants)
            return f"({text})" if tight else text
        if text is not None:
            return text
        match node:
            case syntax.NamedType(name):
                return name.full
            case syntax.RecordType(fields):
                return _braced(f"{f.name.text}{'?' * f.optional}: {self.type(f.type)}" for f in fields)
            case syntax.ListType(item):
                return f"[{self.type(item)}]"
            case syntax.ProductType(items):
                return f"({', '.join(map(self.type, items))})"
            case syntax.StreamType(of):
                return f"!{self.type(of, tight=True)}"

    # --- configuration ---

    def value(self, value: syntax.ConfigValue) -> str:
        """Write a value of a configuration; texts keep their lines."""
        if (text := _verbatim(value)) is not None:
            return text
        match value:
            case syntax.ConfigScalar(str() as words):
                return quoted(words).replace("\\\\", "\0").replace("\\n", "\n").replace("\0", "\\\\")
            case syntax.ConfigScalar(scalar):
                return constant(scalar)
            case syntax.ConfigName(name):
                return name.full
            case syntax.ConfigList(items):
                return f"[{', '.join(map(self.value, items))}]"
            case syntax.Config(entries):
                return _braced(f"{entry.key.text}: {self.value(entry.value)}" for entry in entries)

    # --- wiring ---

    def statement(self, statement: syntax.Statement) -> str:
        """Write a statement of a body."""
        if (text := _verbatim(statement)) is not None:
            return text
        match statement:
            case syntax.ChannelDecl(name, type_):
                return f"let {name.text} : {self.type(type_)} = channel"
            case syntax.Spawn(target, arguments):
                given = (f"{a.port.text}={a.channel.text}" if a.port else a.channel.text for a in arguments)
                return f"spawn {self.element(target)}({', '.join(given)})"
            case syntax.SessionWire(left, right, protocol):
                wire = f"{_end(left)} <-> {_end(right)}"
                return f"{wire} : {protocol.full}" if protocol else wire
            case syntax.Chain():
                return self.chain(statement)

    def chain(self, chain: syntax.Chain) -> str:
        """Write a chain."""
        if (text := _verbatim(chain)) is not None:
            return text
        return " ; ".join(filter(None, map(self.element, chain.elements)))

    def element(self, element: syntax.Element) -> str:
        """Write an element of a chain."""
        if (text := _verbatim(element)) is not None:
            return text
        match element:
            case syntax.Group(branches):
                return f"({' * '.join(map(self.chain, branches))})"
            case syntax.Ref(name, _, port, fields):
                # 'Mem.f' would be the f of a module
                apart = " " if fields and port is None and name.module is None and name.text[0].isupper() else ""
                return f"{name.full}{f'@{port.text}' if port else ''}{apart}{_selected(fields)}"
            case syntax.Inline():
                return self._inline(element)

    def _inline(self, inline: syntax.Inline) -> str:
        if inline.expr is not None:
            return f"{inline.kind}({self.expression(inline.expr)}){_selected(inline.fields)}"
        if inline.source is not None:
            return f"mux(source: {inline.source.full})"
        match inline.index:
            case None:
                return inline.kind
            case str(name) if not is_name(name):
                return f"project({quoted(name)})"
        return f"project({inline.index})"

    # --- protocols ---

    def session(self, session: syntax.Session) -> str:
        """Write what a protocol says."""
        return "".join([*map(self._step, session.steps), self._tail(session.tail)])

    def _step(self, step: syntax.SessionStep) -> str:
        text = _verbatim(step)
        return f"{step.direction} {self.type(step.type, tight=True)} . " if text is None else text

    def _tail(self, tail: syntax.SessionEnd | syntax.SessionName | syntax.Choice) -> str:
        if (text := _verbatim(tail)) is not None:
            return text
        match tail:
            case syntax.SessionEnd(word):
                return word
            case syntax.SessionName(name):
                return name.full
            case syntax.Choice(word, branches):
                return f"{word} {_braced(f'{label.text}: {self.session(branch)}' for label, branch in branches)}"

    # --- expressions ---

    def expression(self, node: syntax.Expression, level: int = 1) -> str:
        """Write an expression where the parser expects one whose operators bind as tightly as ``level`` at least."""
        text = _verbatim(node)
        if isinstance(node, syntax.BinaryExpr):
            is_loose = LEVELS[node.op] < level
            text = text or self._binary(node, 1 if is_loose else level)
            return f"({text})" if is_loose else text
        if isinstance(node, syntax.UnaryExpr):
            text = f"({text})" if text and level > 1 else text
            return text or self._unary(node, level)
        return text if text is not None else self._primary(node)

    def _binary(self, node: syntax.BinaryExpr, level: int) -> str:
        """Write two operands, beginning where ``level`` is expected."""
        own = LEVELS[node.op]
        return f"{self._left(node.left, level, own)} {node.op} {self.expression(node.right, own + 1)}"

    def _left(self, node: syntax.Expression, level: int, own: int) -> str:
        """Write what has to end before an operator of level ``own``. Only comparisons cannot be chained."""
        if isinstance(node, syntax.BinaryExpr):
            ends = LEVELS[node.op] >= own + (own == COMPARE_LEVEL)
            text = _verbatim(node) or self._binary(node, level if ends else 1)
            return text if ends else f"({text})"
        swallows = isinstance(node, syntax.UnaryExpr) and node.op == "!" and level <= NOT_LEVEL < own
        return f"({self.expression(node)})" if swallows else self.expression(node, max(level, own))

    def _unary(self, node: syntax.UnaryExpr, level: int) -> str:
        if node.op == "-":
            return f"-{self.expression(node.of, UNARY_LEVEL)}"
        if isinstance(node.of, syntax.BinaryExpr) and not self._terse:
            return f"!({self.expression(node.of)})"
        return f"!{self.expression(node.of, NOT_LEVEL if level <= NOT_LEVEL else UNARY_LEVEL)}"

    def _primary(self, node: syntax.Expression) -> str:
        match node:
            case syntax.LiteralExpr(value):
                return constant(value)
            case syntax.NameExpr(name):
                return name.text
            case syntax.SelectExpr(of, field):
                return f"{self._selectable(of)}.{field.text}"
            case syntax.IndexExpr(of, index):
                return f"{self._selectable(of)}[{index}]"
            case syntax.ListExpr(items):
                return f"[{', '.join(map(self.expression, items))}]"
            case syntax.TupleExpr(items):
                return f"({', '.join(map(self.expression, items))})"
            case syntax.RecordExpr(fields):
                return _braced(self._part(name.text, of) for name, of in fields)
        raise AssertionError(node)

    def _selectable(self, node: syntax.Expression) -> str:
        text = self.expression(node)
        return f"({text})" if isinstance(node, (syntax.UnaryExpr, syntax.BinaryExpr)) else text

    def _part(self, name: str, of: syntax.Expression) -> str:
        """Write ``a: a`` in full; but ``{ null }`` is a field of that name."""
        is_short = isinstance(of, syntax.NameExpr) and of.name.text == name and (self._terse or name in ("not", "null"))
        return name if is_short else f"{name}: {self.expression(of)}"


def _verbatim(node: Any) -> str | None:
    span = node.span
    return span.verbatim if isinstance(span, Origin) else None


def _is_body(decl: syntax.Declaration) -> bool:
    return isinstance(decl, syntax.BindingDecl) and isinstance(decl.impl, syntax.PlumbImpl)


def _braced(parts: Iterable[str]) -> str:
    inside = ", ".join(parts)
    return f"{{ {inside} }}" if inside else "{ }"


def _selected(fields: tuple[syntax.Name, ...]) -> str:
    return "".join(f".{field.text}" for field in fields)


def _end(end: syntax.WireEnd) -> str:
    ports = ", ".join(port.text for port in end.ports)
    at = f"@({ports})" if len(end.ports) > 1 else f"@{ports}"
    return f"{end.name.full}{at if end.ports else ''}"


def _check_neighbours(statements: tuple[syntax.Statement, ...]) -> None:
    """Refuse what would be read as something else: ``a ; map`` before ``(b * c) ; d``."""
    for one, other in pairwise(statements):
        if not isinstance(one, syntax.Chain) or not isinstance(other, syntax.Chain):
            continue
        match one.elements[-1], other.elements[0]:
            case syntax.Ref(syntax.Name(word, at, None), _, None, ()), syntax.Group() if word in _CALLED:
                where = f" ({shown(at)})" if isinstance(at, Origin) else ""
                raise ConfigError(f"'{word}' is no name before '('{where}: let another statement follow")


def quoted(text: str) -> str:
    """Return a string of the language."""
    return json.dumps(text, ensure_ascii=False)


def constant(value: str | int | float | bool | None) -> str:
    """Return a constant of the language."""
    return quoted(value) if isinstance(value, str) else json.dumps(value)
