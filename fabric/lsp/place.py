"""What stands at a place of a program: what to show of it, and where it is declared.

The syntax tree says what the words are, and what the checker found says what they mean. Only the declaration around
the place is looked at. Places are offsets into the program, as spans are.
"""

from __future__ import annotations

__all__ = ["Place", "field_type", "find_place"]

from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from fabric.lang import syntax, typed
from fabric.lang.check import Analysis, FileAnalysis
from fabric.lang.modules import namespace_of
from fabric.lang.signature import Interface, PortDecl
from fabric.lang.source import Span
from fabric.lang.types import join, record_variants
from fabric.lsp.bodies import Inside, flows_of, inside_of
from fabric.lsp.signs import KEY_WORDS, MORPHISM_WORDS, PRIMITIVE_WORDS, ports_of, process_of, type_of
from fabric.wire.payload import JSON, Alias, Type, resolve, show, show_stream

_D = TypeVar("_D", syntax.TypeDecl, syntax.ProtocolDecl, syntax.BindingDecl)


class Place(msgspec.Struct, frozen=True):
    """What stands somewhere.

    Attributes:
        span: of the word.
        code: as a program would write it.
        text: more about it, in Markdown.
        target: where it is declared; None if nowhere in a program.
    """

    span: Span
    code: str
    text: str = ""
    target: Span | None = None


def find_place(analysis: Analysis, file: FileAnalysis, offset: int) -> Place | None:
    """Return what stands before or behind an offset; None if it is nothing that has a meaning of its own."""
    finder = _Finder(analysis, file, offset)
    found = [
        place
        for decl in file.program.declarations
        if _touches(decl.span, offset)
        for place in finder.in_declaration(decl)
        if _touches(place.span, offset)
    ]
    return min(found, key=lambda place: place.span.end - place.span.start, default=None)  # a part before the whole


def field_type(type_: Type, name: str) -> Type | None:
    """Return the type of a field, of those variants that have it."""
    types = [field.type for record in record_variants(type_) for field in record.fields if field.name == name]
    return join(types) if types else JSON if resolve(type_) == JSON else None


def _touches(span: Span, offset: int) -> bool:
    return span.start <= offset <= span.end


class _Finder:
    """Yields the places of a declaration, those far from the offset left out where that is cheap."""

    def __init__(self, analysis: Analysis, file: FileAnalysis, offset: int) -> None:
        self._analysis = analysis
        self._file = file
        self._offset = offset

    def in_declaration(self, decl: syntax.Declaration) -> Iterator[Place]:
        match decl:
            case syntax.UseDecl(name, _, span):
                yield self._module(namespace_of(name), span)
            case syntax.TypeDecl(name, type_):
                yield self._type(name)
                yield from self._in_type(type_)
            case syntax.ProtocolDecl(name, session):
                yield self._protocol(name)
                yield from self._in_session(session)
            case syntax.BindingDecl(name, input_, output, impl):
                yield from self._process(name)
                yield from self._in_type(input_)
                yield from self._in_type(output)
                yield from self._in_impl(decl, impl)

    # --- names ---

    def _module(self, space: str, span: Span) -> Place:
        path = self._file.uses.get(space)
        if path is None:
            return Place(span, f"module {space}")
        file = self._analysis.files[path]
        names = ", ".join(f"`{_name_of(decl)}`" for decl in file.program.declarations if _name_of(decl))
        start = file.source.start
        return Place(span, f"module {space}", f"{file.source.path}\n\n{names}", Span(start, start))

    def _parts(self, name: syntax.Name) -> tuple[Span, Iterator[Place]]:
        """Return the span of a name without its module, and the place of the module if it has one."""
        if name.module is None:
            return name.span, iter(())
        end = name.span.start + len(name.module)
        own = Span(name.span.end - len(name.text), name.span.end)
        return own, iter((self._module(name.module, Span(name.span.start, end)),))

    def _owner(self, name: syntax.Name) -> FileAnalysis | None:
        """Return the file that a name is declared in."""
        if name.module is None:
            return self._file
        path = self._file.uses.get(name.module)
        return None if path is None else self._analysis.files[path]

    def _type(self, name: syntax.Name) -> Place:
        owner = self._owner(name)
        span = self._parts(name)[0]
        if owner is None:
            return Place(span, f"type {name.full}")
        decl = _declared(owner.program, syntax.TypeDecl, name.text)
        type_ = owner.types.get(name.text)
        if type_ is None:
            return Place(span, name.text, PRIMITIVE_WORDS.get(name.text, ""))
        return Place(span, type_of(name.full, type_), "", decl.name.span if decl else None)

    def _protocol(self, name: syntax.Name) -> Place:
        owner = self._owner(name)
        decl = _declared(owner.program, syntax.ProtocolDecl, name.text) if owner else None
        span = self._parts(name)[0]
        if owner is None or decl is None:
            return Place(span, f"protocol {name.full}")
        start = owner.source.start
        return Place(span, owner.source.text[decl.span.start - start : decl.span.end - start], "", decl.name.span)

    def _process(self, name: syntax.Name, inside: Inside | None = None) -> Iterator[Place]:
        span, module = self._parts(name)
        yield from module
        interface = self._file.processes.get(name.full)
        if interface is None:
            return
        source = self._analysis.sources.at(interface.span)
        owner = self._owner(name)
        decl = _declared(owner.program, syntax.BindingDecl, interface.span) if owner else None
        binding = owner.bindings.get(name.text) if owner else None
        text = f"{description}\n\n" if binding and (description := binding.config.get("description")) else ""
        text += ports_of(interface)
        if inside is not None and inside.body is not None:
            text += "\n" + flows_of(inside, inside.body, name.full)
        yield Place(span, process_of(interface, decl, source), text, interface.span)

    def _port(self, port: syntax.Name, interface: Interface | None) -> Iterator[Place]:
        if interface is None:
            return
        wanted = "ctrl_in" if port.text == "ctrl" else port.text
        for word, side in (("input", interface.inputs), ("output", interface.outputs)):
            for decl in side:
                if decl.name == wanted:
                    code = f"{interface.name}@{decl.name} : {show_stream(decl.type)}"
                    yield Place(port.span, code, f"{word} port", self._port_target(interface, decl))

    def _port_target(self, interface: Interface, port: PortDecl) -> Span:
        """Return where a port has its name: in the header of the body, else where the signature has its type."""
        for file in self._analysis.files.values():
            decl = _declared(file.program, syntax.BindingDecl, interface.span)
            if decl is not None and isinstance(decl.impl, syntax.PlumbImpl):
                return next((name.span for name in decl.impl.header if name.text == port.name), port.span)
        return port.span

    def _local(self, name: syntax.Name, inside: Inside) -> Place | None:
        if name.text in inside.ports:
            word, port, span = inside.ports[name.text]
            return Place(name.span, f"{name.text} : {show_stream(port.type)}", f"{word} of this body", span)
        if name.text in inside.channels:
            type_, span = inside.channels[name.text]
            return Place(name.span, f"let {name.text} : {show_stream(type_)} = channel", "", span)
        return None

    # --- types and protocols ---

    def _in_type(self, type_: syntax.TypeSyntax) -> Iterator[Place]:
        if not _touches(type_.span, self._offset):
            return
        match type_:
            case syntax.NamedType(name):
                yield from self._parts(name)[1]
                yield self._type(name)
            case syntax.RecordType(fields):
                for field in fields:
                    start = self._file.source.start
                    code = self._file.source.text[field.span.start - start : field.span.end - start]
                    yield Place(field.name.span, code, "field", field.name.span)
                    yield from self._in_type(field.type)
            case syntax.ListType(of) | syntax.StreamType(of):
                yield from self._in_type(of)
            case syntax.ProductType(items) | syntax.SumType(items):
                for item in items:
                    yield from self._in_type(item)

    def _in_session(self, session: syntax.Session) -> Iterator[Place]:
        for step in session.steps:
            yield from self._in_type(step.type)
        match session.tail:
            case syntax.SessionName(name):
                yield from self._parts(name)[1]
                yield self._protocol(name)
            case syntax.Choice(_, branches):
                for _, branch in branches:
                    yield from self._in_session(branch)

    # --- implementations ---

    def _in_impl(self, decl: syntax.BindingDecl, impl: syntax.Impl) -> Iterator[Place]:
        binding = self._file.bindings.get(decl.name.text)
        interface = self._file.processes.get(decl.name.text)
        match impl:
            case syntax.ConfiguredImpl(kind, config):
                yield from self._in_config(kind, config)
            case syntax.Chain((syntax.Inline() as inline,)) if binding is not None and binding.kind != "plumb":
                made = typed.Instance(
                    "", binding.kind, None, binding.inputs, binding.outputs, inline.span, binding.expr
                )
                yield from self._in_inline(inline, Inside(interface, {}, {}, {inline.span: made}, None))
            case syntax.Chain():
                yield from self._in_chain(impl, inside_of(interface, (), (), binding))
            case syntax.PlumbImpl(header, statements):
                inside = inside_of(interface, header, statements, binding)
                for name in header:
                    if place := self._local(name, inside):
                        yield place
                for statement in statements:
                    if _touches(statement.span, self._offset):
                        yield from self._in_statement(statement, inside)

    def _in_config(self, kind: str, config: syntax.Config) -> Iterator[Place]:
        words = KEY_WORDS[kind]
        for entry in config.entries:
            if entry.key.text in words:
                yield Place(entry.key.span, f"{entry.key.text}:", words[entry.key.text])
            values = entry.value.items if isinstance(entry.value, syntax.ConfigList) else (entry.value,)
            for value in values:
                if isinstance(value, syntax.ConfigName):
                    yield from self._process(value.name)

    def _in_statement(self, statement: syntax.Statement, inside: Inside) -> Iterator[Place]:
        match statement:
            case syntax.ChannelDecl(name, type_):
                if place := self._local(name, inside):
                    yield place
                yield from self._in_type(type_)
            case syntax.Spawn(target, arguments):
                yield from self._in_element(target, inside)
                interface = self._file.processes.get(target.name.full) if isinstance(target, syntax.Ref) else None
                for argument in arguments:
                    if argument.port is not None:
                        yield from self._port(argument.port, interface)
                    if place := self._local(argument.channel, inside):
                        yield place
            case syntax.SessionWire(left, right, protocol):
                for end in (left, right):
                    yield from self._process(end.name, inside)
                    for port in end.ports:
                        yield from self._port(port, self._file.processes.get(end.name.full))
                if protocol is not None:
                    yield from self._parts(protocol)[1]
                    yield self._protocol(protocol)
            case syntax.Chain():
                yield from self._in_chain(statement, inside)

    def _in_chain(self, chain: syntax.Chain, inside: Inside) -> Iterator[Place]:
        for element in chain.elements:
            if _touches(element.span, self._offset):
                yield from self._in_element(element, inside)

    def _in_element(self, element: syntax.Element, inside: Inside) -> Iterator[Place]:
        match element:
            case syntax.Group(branches):
                for branch in branches:
                    yield from self._in_chain(branch, inside)
            case syntax.Inline(_, word, span) if span == word.span and self._is_name(word, inside):
                yield from self._in_ref(syntax.Ref(word, span), inside)
            case syntax.Inline():
                yield from self._in_inline(element, inside)
            case syntax.Ref():
                yield from self._in_ref(element, inside)

    def _is_name(self, word: syntax.Name, inside: Inside) -> bool:
        own = inside.interface.name if inside.interface else None
        known = word.text in self._file.processes and word.text != own
        return known or word.text in inside.ports or word.text in inside.channels

    def _in_ref(self, ref: syntax.Ref, inside: Inside) -> Iterator[Place]:
        interface = self._file.processes.get(ref.name.full)
        local = None if ref.port or ref.name.module else self._local(ref.name, inside)
        flows: Type | None = None
        if local is not None:
            yield local
            flows = (
                inside.ports[ref.name.text][1].type
                if ref.name.text in inside.ports
                else inside.channels[ref.name.text][0]
            )
        else:
            yield from self._process(ref.name, inside)
            outputs = interface.main_outputs() if interface else ()
            flows = outputs[0].type if len(outputs) == 1 else None
        fields = ref.fields
        if ref.port is not None:
            yield from self._port(ref.port, interface)
            ports = [port for port in (interface.outputs if interface else ()) if port.name == ref.port.text]
            flows = ports[0].type if ports else None
        elif fields and local is None and interface is not None:
            ports = [port for port in interface.outputs if port.name == fields[0].text]
            if ports:
                yield from self._port(fields[0], interface)
                flows, fields = ports[0].type, fields[1:]
        yield from self._fields(flows, fields)

    def _in_inline(self, inline: syntax.Inline, inside: Inside) -> Iterator[Place]:
        made = inside.made.get(inline.span)
        doc = MORPHISM_WORDS[inline.kind]
        if made is None:
            yield Place(inline.word.span, inline.word.text, doc)
        else:
            ins, outs = (_side(ports) for ports in (made.inputs, made.outputs))
            yield Place(inline.word.span, f"{inline.word.text} : {ins} -> {outs}", doc)
        if inline.source is not None:
            yield from self._process(inline.source)
        if made is not None and made.expr is not None:
            yield from self._in_expr(made.expr)
            given = made.expr.type if inline.kind == "map" else made.inputs[0].type
            yield from self._fields(given, inline.fields)

    def _fields(self, type_: Type | None, fields: Sequence[syntax.Name]) -> Iterator[Place]:
        for field in fields:
            found = field_type(type_, field.text) if type_ is not None else None
            if type_ is None or found is None:
                return
            yield self._field(field.text, found, type_, field.span)
            type_ = found

    def _field(self, name: str, type_: Type, of: Type, span: Span) -> Place:
        return Place(span, f"{name}: {show(type_)}", f"field of `{show(of)}`", self._field_target(of, name))

    def _field_target(self, of: Type, name: str) -> Span | None:
        """Return where a declared type has a field."""
        if not isinstance(of, Alias):
            return None
        space, _, own = of.name.rpartition(".")
        owner = self._owner(syntax.Name(own, Span(0, 0), space or None))
        decl = _declared(owner.program, syntax.TypeDecl, own) if owner else None
        return next(_places_of(decl.type, name), None) if decl is not None else None

    def _in_expr(self, expr: typed.Expr) -> Iterator[Place]:
        match expr:
            case typed.Select(of, field, type_, span):
                yield self._field(field, type_, of.type, Span(span.end - len(field), span.end))
                yield from self._in_expr(of)
            case typed.Input(type_, span):
                if span.end - span.start == len("value"):
                    yield Place(span, f"value : {show(type_)}", "the whole message")
            case typed.MakeRecord(fields):
                for _, part in fields:
                    yield from self._in_expr(part)
            case typed.MakeList(items) | typed.MakeProduct(items):
                for item in items:
                    yield from self._in_expr(item)
            case typed.Index(of) | typed.Unary(_, of):
                yield from self._in_expr(of)
            case typed.Binary(_, left, right):
                yield from self._in_expr(left)
                yield from self._in_expr(right)


def _side(ports: Sequence[typed.Port]) -> str:
    types = [show_stream(port.type) for port in ports]
    return types[0] if len(types) == 1 else f"({', '.join(types)})" if types else "!unit"


def _name_of(decl: syntax.Declaration) -> str:
    return "" if isinstance(decl, syntax.UseDecl) else decl.name.text


def _places_of(type_: syntax.TypeSyntax, field: str) -> Iterator[Span]:
    match type_:
        case syntax.RecordType(fields):
            yield from (each.name.span for each in fields if each.name.text == field)
        case syntax.SumType(variants):
            for variant in variants:
                yield from _places_of(variant, field)


def _declared(program: syntax.Program, kind: type[_D], which: str | Span) -> _D | None:
    """Return the first declaration of a kind with a name, or with a name at a place."""
    for decl in program.declarations:
        if isinstance(decl, kind) and which in (decl.name.text, decl.name.span):
            return decl
    return None
