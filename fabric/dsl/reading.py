"""A program from its text: what the parser reads, built with what anybody may build it with."""

from __future__ import annotations

__all__ = ["read"]

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fabric.dsl.body import PlumbBody, WireEnd
from fabric.dsl.declarations import Implementation
from fabric.dsl.elements import WORDS, Element, Filter, Map, Mux, Pipe, PortRef, Project, Tensor
from fabric.dsl.expressions import Expr, F, constant, expr_of, record_of
from fabric.dsl.implementations import Agent, Config, Handler, Name, Python, Text, Tool, Worker
from fabric.dsl.origin import Origin, reading_at
from fabric.dsl.program import Program
from fabric.dsl.protocols import END, LOOP, Offer, Recv, Select, Send, Session
from fabric.dsl.types import Bare, ListType, NamedType, ProductType, Record, StreamType, SumType, Type
from fabric.lang import syntax
from fabric.lang.diagnostic import Report, check_error
from fabric.lang.parser import parse
from fabric.lang.source import Source

_KINDS = {"agent": Agent, "tool": Tool, "python": Python, "worker": Worker, "handler": Handler}
_OPERATORS: dict[syntax.BinaryOp, Callable[[Expr, Expr], Expr]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "&&": operator.and_,
    "||": operator.or_,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": operator.mod,
}


def read(text: str | Source, *, directory: str | Path | None = None) -> Program:
    """Return the program of a text. Its comments are not kept.

    Args:
        text: of the program; with a path, that is what errors name.
        directory: see :class:`Program`; left out, the folder of that path.

    Raises:
        CheckError: it cannot be read.
    """
    if not isinstance(text, (str, Source)):
        raise TypeError(f"expected the text of a program, got {text!r}; of a file: read(path.read_text())")
    source = text if isinstance(text, Source) else Source("program.plumb", text)
    report = Report(source)
    tree = parse(source, report)
    if report.has_errors:
        raise check_error(report.diagnostics())
    program = Program(directory=Path(source.path).parent if directory is None else directory)
    reader = _Reader(source)
    for decl in tree.declarations:
        with reading_at(reader.place(decl)):
            reader.add(program, decl)
    return program


class _Reader:
    def __init__(self, source: Source) -> None:
        self._source = source

    def place(self, node: Any) -> Origin:
        return Origin(0, 0, self._source.path, self._source.position(node.span.start)[0])

    def add(self, program: Program, decl: syntax.Declaration) -> None:
        match decl:
            case syntax.UseDecl(name, is_path):
                program.use(name, is_path=is_path)
            case syntax.TypeDecl(name, type_):
                program.type(name.text, _type(type_))
            case syntax.ProtocolDecl(name, session):
                program.protocol(name.text, _session(session))
            case syntax.BindingDecl(name, input_, output, impl):
                program.let(name.text, Bare(_type(input_)), Bare(_type(output)), self._implementation(impl))

    def _implementation(self, impl: syntax.Impl) -> Implementation:
        match impl:
            case syntax.ConfiguredImpl(kind, config):
                return _KINDS[kind](_config(config))
            case syntax.Chain():
                return _chain(impl)
        body = PlumbBody(*(port.text for port in impl.header))
        for statement in impl.statements:
            with reading_at(self.place(statement)):
                _add_statement(body, statement)
        return body


def _type(node: syntax.TypeSyntax) -> Type:
    match node:
        case syntax.NamedType(name):
            return NamedType(name.full)
        case syntax.RecordType(fields):
            return Record([(f"{f.name.text}{'?' * f.optional}", _type(f.type)) for f in fields])
        case syntax.ListType(item):
            return ListType(_type(item))
        case syntax.ProductType(items):
            return ProductType(map(_type, items))
        case syntax.SumType(variants):
            return SumType(map(_type, variants))
        case syntax.StreamType(of):
            return StreamType(_type(of))


def _config(config: syntax.Config) -> Config:
    return Config([(entry.key.text, _value(entry.value)) for entry in config.entries])


def _value(value: syntax.ConfigValue) -> object:
    match value:
        case syntax.ConfigScalar(str() as text):
            return Text(text)
        case syntax.ConfigScalar(scalar):
            return scalar
        case syntax.ConfigName(name):
            return Name(name.full)
        case syntax.ConfigList(items):
            return [_value(item) for item in items]
        case syntax.Config():
            return _config(value)


def _session(session: syntax.Session) -> Session:
    steps = [(Send if step.direction == "send" else Recv)(_type(step.type)) for step in session.steps]
    match session.tail:
        case syntax.SessionEnd(word):
            return Session(*steps, END if word == "end" else LOOP)
        case syntax.SessionName(name):
            return Session(*steps, name.full)
        case syntax.Choice(word, branches):
            choice = Select if word == "select" else Offer
            return Session(*steps, choice([(label.text, _session(branch)) for label, branch in branches]))


def _add_statement(body: PlumbBody, statement: syntax.Statement) -> None:
    match statement:
        case syntax.ChannelDecl(name, type_):
            body.channel(name.text, Bare(_type(type_)))
        case syntax.Spawn(target, arguments):
            given = [(a.port.text, a.channel.text) if a.port else a.channel.text for a in arguments]
            body.spawn(_element(target), *given)
        case syntax.SessionWire(left, right, protocol):
            body.session(_end(left), _end(right), protocol.full if protocol else None)
        case syntax.Chain():
            body.wire(_chain(statement))


def _end(end: syntax.WireEnd) -> WireEnd:
    return WireEnd(end.name.full, *(port.text for port in end.ports))


def _chain(chain: syntax.Chain) -> Element:
    return Pipe(*map(_element, chain.elements))


def _element(element: syntax.Element) -> Element:
    match element:
        case syntax.Group(branches):
            return Tensor(*map(_chain, branches))
        case syntax.Ref(name, _, port, fields):
            ref = PortRef(name.full, port.text if port else None)
            return ref.project(*(field.text for field in fields)) if fields else ref
        case syntax.Inline():
            return _inline(element)


def _inline(inline: syntax.Inline) -> Element:
    fields = [field.text for field in inline.fields]
    if inline.expr is not None:
        expr = _expr(inline.expr)
        return (Filter(expr) if inline.kind == "filter" else Map.to(expr)).project(*fields)
    if inline.index is not None:
        return Project(inline.index)
    return Mux(inline.source.full) if inline.source is not None else WORDS[inline.kind]()


def _expr(node: syntax.Expression) -> Expr:
    match node:
        case syntax.LiteralExpr(value):
            return constant(value)
        case syntax.NameExpr(name):
            return F[name.text]
        case syntax.SelectExpr(of, field):
            return _expr(of)[field.text]
        case syntax.IndexExpr(of, index):
            return _expr(of)[index]
        case syntax.RecordExpr(fields):
            return record_of([_field(name.text, of) for name, of in fields])
        case syntax.ListExpr(items):
            return expr_of([_expr(item) for item in items])
        case syntax.TupleExpr(items):
            return expr_of(tuple(_expr(item) for item in items))
        case syntax.UnaryExpr(op, of):
            return -_expr(of) if op == "-" else ~_expr(of)
        case syntax.BinaryExpr(op, left, right):
            return _OPERATORS[op](_expr(left), _expr(right))


def _field(name: str, of: syntax.Expression) -> str | tuple[str, Expr]:
    return name if isinstance(of, syntax.NameExpr) and of.name.text == name else (name, _expr(of))
