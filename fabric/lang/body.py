"""A body while it is built: what it may mention, its instances and its connections.

A name stands for one instance however often chains mention it; a ``spawn`` makes a new one each time, and so does an
inline morphism. Mistakes are reported here, and never stop the work.
"""

from __future__ import annotations

__all__ = ["BodyBuilder", "Scope"]

from collections.abc import Collection, Mapping

import msgspec

from fabric.lang import syntax, typed
from fabric.lang.diagnostic import Report
from fabric.lang.flow import BARRIER, Source, Target, remedy
from fabric.lang.morphisms import Shape
from fabric.lang.protocols import ProtocolTable
from fabric.lang.signature import Interface, PortDecl, ports
from fabric.lang.source import Span
from fabric.lang.typed import BOUNDARY, Body, Connection, Endpoint, Instance, Port
from fabric.lang.types import TypeTable, is_consistent, is_subtype, report_unknown_module, why_not
from fabric.wire.payload import show_stream


class Scope(msgspec.Struct, frozen=True):
    """What a body may mention.

    Attributes:
        interfaces: of all processes, those of modules by names such as ``Mem.compact``.
        morphisms: the bindings without a body, by their own names, for their expressions.
        silent: names that are known to be wrong; nothing is reported about them.
        modules: that ``use`` brought in.
        damaged: modules that could not be had; nothing is reported about them.
        mentioned: gets the modules that processes are taken from.
    """

    interfaces: Mapping[str, Interface]
    morphisms: Mapping[str, typed.Binding]
    silent: frozenset[str]
    modules: frozenset[str]
    damaged: frozenset[str]
    mentioned: set[str]
    types: TypeTable
    protocols: ProtocolTable

    def process(
        self, name: syntax.Name, report: Report, what: str = "process", local: Collection[str] = ()
    ) -> Interface | None:
        """Return the interface of a process; None if there is none, which is reported unless it is known to be wrong.

        Args:
            name: of the process.
            report: takes what is wrong.
            what: it has to be, in words.
            local: other names that may have been meant.
        """
        if name.module is not None:
            self.mentioned.add(name.module)
            if name.module not in self.modules:
                if name.module in self.interfaces:
                    meant = f"'{name.module}' is a process; write '{name.module}@{name.text}' for a port"
                    report.add("E0204", name.span, f"there is no module '{name.module}' here", help=meant)
                elif name.module not in self.damaged:
                    report_unknown_module(name, self.modules, report)
                return None
        interface = self.interfaces.get(name.full)
        if interface is None and name.full not in self.silent:
            candidates = [*local, *self.interfaces]
            hint = report.suggest(name.full, candidates)
            if name.full in self.types.types:
                hint = f"'{name.full}' is a type; a chain has processes, which make such messages or take them"
            report.add("E0202", name.span, f"there is no {what} '{name.full}'", help=hint)
        return interface


class BodyBuilder:
    """Collects the instances and connections of one body.

    Attributes:
        inputs, outputs: the body's ports by name; none if its implementation is a chain, which cannot name them.
        channels: by name, the instance that a channel is, and its declaration.
        written, read: ends that something feeds or reads, also where a mistake left no connection.
        in_chains, spawned: processes by name, and where they were first used that way.
        uses: bindings that there is an instance of, and where the first one is mentioned.
    """

    def __init__(self, interface: Interface, scope: Scope, report: Report, *, by_name: bool) -> None:
        self.interface = interface
        self.scope = scope
        self.report = report
        self.inputs = {port.name: port for port in interface.inputs} if by_name else {}
        self.outputs = {port.name: port for port in interface.outputs} if by_name else {}
        self.channels: dict[str, tuple[str, PortDecl]] = {}
        self.instances: dict[str, Instance] = {}
        self.connections: dict[tuple[Endpoint, Endpoint], Connection] = {}
        self.optional: set[Endpoint] = set()
        self.written: set[Endpoint] = set()  # targets that something feeds, also if it is poisoned
        self.read: set[Endpoint] = set()
        self.in_chains: dict[str, Span] = {}
        self.spawned: dict[str, Span] = {}
        self.uses: dict[str, Span] = {}
        self._unpaired: set[Endpoint] = set()  # targets of tuples to which something else was sent
        self.runs_on: dict[int, str] = {}  # offsets of chains in one line: what to say if a ';' is missing there
        self.excused: set[int] = set()  # offsets of chains whose beginning was reported with the chain before
        self._by_name = by_name
        self._made: dict[str, int] = {}  # morphisms by word and line, so that a long line is not counted anew
        self.has_unknown_names = False  # so that what seems to be missing may only be misspelt

    def declare_channel(self, decl: syntax.ChannelDecl) -> None:
        """Add a channel: an ``id`` under a name."""
        name = decl.name
        if isinstance(decl.type, syntax.StreamType):
            type_ = self.scope.types.value_type(decl.type.of)
        else:
            type_ = self.scope.types.value_type(decl.type)
            self.report.add("E0405", decl.type.span, "a channel carries a stream", help="write '!' before its type")
        taken = self.inputs.get(name.text) or self.outputs.get(name.text)
        if taken or name.text in self.channels:
            related = [] if taken else [(self.channels[name.text][1].span, "first declared here")]
            what = "a port of this body" if taken else "a channel already"
            self.report.add("E0205", name.span, f"'{name.text}' is {what}", related=related)
            return
        instance = self.new(Shape("id", (Port("input", type_),), (Port("output", type_),)), name.span)
        self.channels[name.text] = instance, PortDecl(name.text, type_, name.span)

    def local(self, name: str) -> str | None:
        """Say in words what a local name is."""
        if name in self.inputs:
            return "an input of this body"
        if name in self.outputs:
            return "an output of this body"
        return "a channel" if name in self.channels else None

    def is_name(self, inline: syntax.Inline) -> bool:
        """Say whether a structural word is the name of something here."""
        word = inline.word.text
        if inline.span != inline.word.span:
            return False
        known = word in self.inputs or word in self.outputs or word in self.channels
        return known or (word in self.scope.interfaces and word != self.interface.name)

    def interface_of(self, name: syntax.Name) -> Interface | None:
        """Return the interface of a process; None if there is none, which is reported unless the name is local."""
        if name.module is None and self.local(name.text) and name.text not in self.scope.interfaces:
            return None
        if not self._by_name and name.text in ("input", "output") and name.full not in self.scope.interfaces:
            if not self.has_unknown_names:
                self.has_unknown_names = True
                self.report.add(
                    "E0202",
                    name.span,
                    f"there is no '{name.text}' here: this chain stands outside of a body",
                    help="leave 'input' and 'output' out, or write  plumb(input, output) { ... }",
                )
            return None
        local = [*self.inputs, *self.outputs, *self.channels]
        interface = self.scope.process(
            name, self.report, "process" if name.module else "process, port or channel", local
        )
        if interface is None:
            self.has_unknown_names = True
        elif interface.kind == "tool":
            self.report.add(
                "E0605",
                name.span,
                f"'{interface.name}' is a tool: agents call it, no messages flow through it",
                related=[(interface.span, "declared here")],
                help=f"give it to an agent: tools: [{interface.name}]",
            )
            return None
        return interface

    def unknown_port(self, port: syntax.Name, interface: Interface) -> None:
        """Report a port that a process does not have."""
        names = [p.name for p in (*interface.inputs, *interface.outputs)]
        hint = self.report.suggest(port.text, names)
        if port.text in ("ctrl", "ctrl_in", "ctrl_out") and interface.kind in ("agent", "worker"):
            hint = f"give '{interface.name}' a control input: (!A, !C) -> !B"
        self.report.add(
            "E0203",
            port.span,
            f"'{interface.name}' has no port '{port.text}'",
            related=[(interface.span, f"'{interface.name}' is declared here")],
            notes=[f"its ports are: {', '.join(names)}"],
            help=hint,
        )

    def twice(self, span: Span, name: str, first: Span) -> None:
        """Report a process that is both chained and spawned."""
        self.report.add(
            "E0503",
            span,
            f"'{name}' is used both in chains and by 'spawn'",
            related=[(first, "here the other way")],
            help="a chain means the one instance of that name, 'spawn' makes a new one; use one way in a body",
        )

    def instantiate(self, instance: str, interface: Interface, span: Span) -> None:
        """Add an instance of a binding."""
        morphism = self.scope.morphisms.get(interface.binding)
        self.uses.setdefault(interface.name, span)
        self.instances[instance] = Instance(
            instance,
            interface.kind,
            interface.binding,
            ports(interface.inputs),
            ports(interface.outputs),
            span,
            morphism.expr if morphism else None,
            morphism.select if morphism else (),
            morphism.index if morphism else None,
        )
        if interface.kind in ("agent", "worker"):
            self.optional.add(Endpoint(instance, "ctrl_in"))

    def new(self, made: Shape, span: Span) -> str:
        """Add an inline morphism; return the name of the instance."""
        name = self.fresh(made.kind, span)
        self.instances[name] = Instance(
            name, made.kind, None, made.inputs, made.outputs, span, made.expr, made.select, made.index
        )
        return name

    def fresh(self, word: str, span: Span) -> str:
        """Return ``word@line``, or ``word@line.2`` for the second on that line."""
        base = f"{word}@{self.report.line(span)}"
        name, count = base, self._made.get(base, 1)
        while name in self.instances:
            count += 1
            name = f"{base}.{count}"
        self._made[base] = count
        return name

    def connect(self, source: Source, target: Target) -> None:
        """Connect, after a look at the types."""
        if target.endpoint is not None:
            self.written.add(target.endpoint)
        self.mark_read(source)
        if target.endpoint is None:
            return
        if source.is_empty:
            instance = self.new(Shape("empty", (), (Port("output", target.type),)), source.span)
            source = msgspec.structs.replace(source, endpoint=Endpoint(instance, "output"), type=target.type)
        if source.endpoint is None:
            return
        if is_subtype(source.type, target.type):
            self.link(source, target.endpoint, source.span)
        elif is_consistent(source.type, target.type):
            self.link(source, target.endpoint, source.span, checked=True)
        else:
            self.mismatch(source, target)

    def link(self, source: Source, target: Endpoint, span: Span, *, checked: bool = False) -> None:
        """Connect without a look at the types."""
        assert source.endpoint is not None
        self.read.add(source.endpoint)
        self.written.add(target)
        key = (source.endpoint, target)
        if key in self.connections:
            self.report.add(
                "W0512",
                span,
                "these two are wired already; messages are not sent twice",
                related=[(self.connections[key].span, "wired here")] if self.connections[key].span != span else [],
            )
            return
        self.connections[key] = Connection(source.endpoint, target, span, checked)

    def mismatch(self, source: Source, target: Target) -> None:
        """Report that messages do not fit where they go."""
        help_ = remedy(source, target)
        if help_ == BARRIER and target.endpoint is not None:
            if target.endpoint in self._unpaired:
                return
            self._unpaired.add(target.endpoint)
        declared = f" (line {self.report.line(source.declared)})" if source.declared else ""
        related = []
        if target.declared is not None:
            subject = f"'{target.owner}'" if target.owner and target.owner != target.what else f"{target.what}"
            related.append((target.declared, f"expected because {subject} takes {show_stream(target.type)}"))
        self.report.add(
            "E0412",
            source.span,
            f"cannot wire {show_stream(source.type)} to {target.what} of type {show_stream(target.type)}",
            label=f"{source.text} produces {show_stream(source.type)}{declared}",
            related=related,
            notes=why_not(source.type, target.type),
            help=help_,
        )

    def mark_read(self, source: Source) -> None:
        """Count a source as read, though nothing may be connected to it."""
        if source.endpoint is not None:
            self.read.add(source.endpoint)

    def poison_name(self, name: str) -> None:
        """Count a port or channel as wired, after a mistake about it."""
        self.read.add(Endpoint(BOUNDARY, name))
        self.written.add(Endpoint(BOUNDARY, name))
        if name in self.channels:
            instance = self.channels[name][0]
            self.read.add(Endpoint(instance, "output"))
            self.written.add(Endpoint(instance, "input"))

    def finish(self) -> Body:
        """Return what was collected."""
        return Body(tuple(self.instances.values()), tuple(self.connections.values()))
