"""What a file declares, as a tree: types, protocols, processes with their ports and what their bodies are made of."""

from __future__ import annotations

__all__ = ["Entry", "EntryKind", "outline"]

from collections.abc import Iterator
from typing import Literal, TypeAlias

import msgspec

from fabric.lang import syntax
from fabric.lang.check import FileAnalysis
from fabric.lang.source import Span
from fabric.lsp.signs import written
from fabric.wire.payload import show_stream

EntryKind: TypeAlias = Literal["module", "type", "protocol", "process", "port", "channel", "field"]


class Entry(msgspec.Struct, frozen=True):
    """One declaration. ``span`` is all of it, ``name_span`` its name."""

    name: str
    kind: EntryKind
    detail: str
    span: Span
    name_span: Span
    children: tuple[Entry, ...] = ()


def outline(file: FileAnalysis) -> tuple[Entry, ...]:
    """Return what a file declares, in the order of the text."""
    return tuple(_entry(decl, file) for decl in file.program.declarations)


def _entry(decl: syntax.Declaration, file: FileAnalysis) -> Entry:
    match decl:
        case syntax.UseDecl(name):
            return Entry(name, "module", "use", decl.span, decl.span)
        case syntax.TypeDecl(name, type_):
            return Entry(name.text, "type", "", decl.span, name.span, tuple(_fields(type_, file)))
        case syntax.ProtocolDecl(name):
            return Entry(name.text, "protocol", "", decl.span, name.span)
    signature = written(file.source, Span(decl.input.span.start, decl.output.span.end))
    return Entry(decl.name.text, "process", signature, decl.span, decl.name.span, tuple(_inside(decl, file)))


def _fields(type_: syntax.TypeSyntax, file: FileAnalysis) -> Iterator[Entry]:
    if isinstance(type_, syntax.RecordType):
        for field in type_.fields:
            yield Entry(field.name.text, "field", written(file.source, field.type.span), field.span, field.name.span)


def _inside(decl: syntax.BindingDecl, file: FileAnalysis) -> Iterator[Entry]:
    """Yield the ports and channels of a body, and its processes, each at its first mention."""
    if not isinstance(decl.impl, syntax.PlumbImpl):
        return
    interface = file.processes.get(decl.name.text)
    types = {port.name: port.type for port in (*interface.inputs, *interface.outputs)} if interface else {}
    for name in decl.impl.header:
        detail = show_stream(types[name.text]) if name.text in types else ""
        yield Entry(name.text, "port", detail, name.span, name.span)
    for statement in decl.impl.statements:
        if isinstance(statement, syntax.ChannelDecl):
            detail = written(file.source, statement.type.span)
            yield Entry(statement.name.text, "channel", detail, statement.span, statement.name.span)
    binding = file.bindings.get(decl.name.text)
    for instance in binding.body.instances if binding is not None and binding.body is not None else ():
        if instance.binding is not None:
            yield Entry(instance.name, "process", instance.kind, instance.span, instance.span)
