"""The inside of a body: chains, spawns and channels to instances and connections.

A chain ``a ; b ; c`` is walked from the left. What flows out of an element is a list of :class:`_Source`, one a port; the next
element has a number of inputs, and the sources are dealt out to them: pairwise if they are as many, a single one to each
input (fan-out), all to a single input (fan-in), else the arities do not match. Inline morphisms take their types from
what flows in, which is why the walk goes from left to right, and why an ``empty`` at the start is made only when it is known
what it feeds.

A name stands for one instance however often it is mentioned; an inline morphism is a new one at each mention.

After a mistake the walk goes on with a *poisoned* source or target, one without endpoint: it fits everything, and what it
would have fed counts as fed.
"""

from __future__ import annotations

__all__ = ["Scope", "Wired", "wire_body", "wire_chain"]

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, cast

import msgspec

from fabric.lang import syntax, typed
from fabric.lang.diagnostic import Report
from fabric.lang.expr import infer, narrowed, select_path
from fabric.lang.feeding import unfed_cycles
from fabric.lang.signature import Interface, PortDecl, ports
from fabric.lang.source import Span
from fabric.lang.typed import BOUNDARY, Body, Connection, Endpoint, Instance, Kind, Port
from fabric.lang.types import TypeTable, is_consistent, is_subtype, join, record_variants, why_not
from fabric.wire.payload import JSON, Product, Record, Type, resolve, show


class Scope(msgspec.Struct, frozen=True):
    """What a body may mention.

    Attributes:
        interfaces: of all bindings.
        morphisms: the bindings of kinds other than plumb, for their expressions.
        silent: names that are known to be wrong; nothing is reported about them.
        modules: that ``use`` brought in; not supported yet, and so silent.
    """

    interfaces: Mapping[str, Interface]
    morphisms: Mapping[str, typed.Binding]
    silent: frozenset[str]
    modules: frozenset[str]
    types: TypeTable


class Wired(msgspec.Struct, frozen=True):
    """A body, and the bindings that it has instances of, each with the first mention."""

    body: Body
    uses: dict[str, Span]


class _Source(msgspec.Struct, frozen=True):
    """What flows out of an element.

    Attributes:
        endpoint: None if poisoned, or an ``empty`` not made yet.
        span: where to put the caret.
        text: as written, for messages.
        declared: where its type is declared.
        is_empty: an ``empty`` that takes its type from what it feeds.
    """

    endpoint: Endpoint | None
    type: Type
    span: Span
    text: str
    declared: Span | None = None
    is_empty: bool = False


class _Target(msgspec.Struct, frozen=True):
    """Where messages go; ``what`` names the port in messages, as in ``input of 'editor'``."""

    endpoint: Endpoint | None
    type: Type
    span: Span
    owner: str
    what: str
    declared: Span | None = None


def wire_body(impl: syntax.PlumbImpl, interface: Interface, scope: Scope, report: Report) -> Wired:
    """Return the inside of a ``plumb`` binding."""
    wiring = _Wiring(interface, scope, report, by_name=True)
    wiring.statements(impl.statements)
    return wiring.finish(complete=interface.is_sound and not impl.damaged)


def wire_chain(chain: syntax.Chain, interface: Interface, scope: Scope, report: Report) -> Wired:
    """Return the inside of a binding whose implementation is a chain: fed by its inputs, read by its outputs."""
    wiring = _Wiring(interface, scope, report, by_name=False)
    wiring.through(chain)
    return wiring.finish(complete=interface.is_sound)


class _Wiring:
    def __init__(self, interface: Interface, scope: Scope, report: Report, *, by_name: bool) -> None:
        self._interface = interface
        self._scope = scope
        self._report = report
        self._inputs = {port.name: port for port in interface.inputs} if by_name else {}
        self._outputs = {port.name: port for port in interface.outputs} if by_name else {}
        self._channels: dict[str, tuple[str, PortDecl]] = {}
        self._instances: dict[str, Instance] = {}
        self._connections: dict[tuple[Endpoint, Endpoint], Connection] = {}
        self._optional: set[Endpoint] = set()
        self._written: set[Endpoint] = set()  # targets that something feeds, also if it is poisoned
        self._read: set[Endpoint] = set()
        self._in_chains: dict[str, Span] = {}
        self._spawned: dict[str, Span] = {}
        self._uses: dict[str, Span] = {}
        self._empty_spawns: list[syntax.Spawn] = []

    # --- statements ---

    def statements(self, statements: tuple[syntax.Statement, ...]) -> None:
        for statement in statements:
            if isinstance(statement, syntax.ChannelDecl):
                self._channel(statement)
        for statement in statements:
            match statement:
                case syntax.Chain():
                    self._statement_chain(statement)
                case syntax.Spawn():
                    self._spawn(statement)
                case syntax.SessionWire(span=span):
                    self._report.add(
                        "E0904",
                        span,
                        "session wires '<->' are not supported yet by this version",
                        help="wire the control ports by chains: a ; b@ctrl_in",
                    )
        for spawn in self._empty_spawns:
            self._spawn_empty(spawn)

    def _statement_chain(self, chain: syntax.Chain) -> None:
        if len(chain.elements) == 1 and not isinstance(chain.elements[0], syntax.Group):
            self._report.add(
                "E0504",
                chain.span,
                "this statement wires nothing",
                help="a chain has at least two elements: a ; b",
            )
            self._poison(chain.elements[0])
            return
        self._chain(chain.elements, None, ends=True)

    def through(self, chain: syntax.Chain) -> None:
        """Wire a chain between the inputs and the outputs of the body."""
        sources = [
            _Source(Endpoint(BOUNDARY, port.name), port.type, chain.span, "the input", port.span)
            for port in self._interface.inputs
        ]
        targets = [
            _Target(Endpoint(BOUNDARY, port.name), port.type, chain.span, "", "the output", port.span)
            for port in self._interface.outputs
        ]
        first = chain.elements[0]
        feeds = self._deal(sources, self._arity(first, len(sources)), chain.span, "the signature", _words(first))
        results = self._chain(chain.elements, feeds, ends=False)
        last = _words(chain.elements[-1])
        for target, feed in zip(
            targets, self._deal(results, len(targets), chain.elements[-1].span, last, "the signature"), strict=True
        ):
            for source in feed:
                self._connect(source, target)

    def _channel(self, decl: syntax.ChannelDecl) -> None:
        name = decl.name
        if isinstance(decl.type, syntax.StreamType):
            type_ = self._scope.types.value_type(decl.type.of)
        else:
            type_ = self._scope.types.value_type(decl.type)
            self._report.add("E0405", decl.type.span, "a channel carries a stream", help="write '!' before its type")
        taken = self._inputs.get(name.text) or self._outputs.get(name.text)
        if taken or name.text in self._channels:
            related = [] if taken else [(self._channels[name.text][1].span, "first declared here")]
            what = "a port of this body" if taken else "a channel already"
            self._report.add("E0205", name.span, f"'{name.text}' is {what}", related=related)
            return
        port = (Port("input", type_),), (Port("output", type_),)
        instance = self._new("id", name.span, *port)
        self._channels[name.text] = instance, PortDecl(name.text, type_, name.span)

    # --- chains ---

    def _chain(
        self, elements: Sequence[syntax.Element], feeds: list[list[_Source]] | None, *, ends: bool
    ) -> list[_Source]:
        """Wire the elements one after the other; ``feeds``: for each input of the first one, or None if it starts.

        Returns what flows out of the last one; nothing if the chain ends there.
        """
        sources: list[_Source] = []
        for i, element in enumerate(elements):
            last = i == len(elements) - 1
            if i > 0:
                previous = elements[i - 1]
                count = self._arity(element, len(sources))
                feeds = self._deal(sources, count, element.span, _words(previous), _words(element))
            sources = self._element(element, feeds, wants_outputs=not (last and ends))
        return sources

    def _deal(self, sources: list[_Source], count: int, span: Span, left: str, right: str) -> list[list[_Source]]:
        """Deal sources out to so many inputs."""
        if len(sources) == count:
            return [[source] for source in sources]
        if len(sources) == 1 and count > 1:
            return [sources] * count
        if count == 1 and len(sources) > 1:
            return [sources]
        if not any(_is_poison(source) for source in sources):
            if not sources:
                message = f"{left} has no output to wire to {right}"
            elif count == 0:
                message = f"{right} has no input"
            else:
                message = f"cannot wire {len(sources)} outputs of {left} to {count} inputs of {right}"
            self._report.add(
                "E0410",
                span,
                message,
                help="as many outputs as inputs, or one on one side" if sources and count else None,
            )
        for source in sources:
            self._mark_read(source)
        return [[_poison(span)] for _ in range(count)]

    def _arity(self, element: syntax.Element, available: int) -> int:
        """Return how many inputs an element has; ``barrier`` and the merges take what there is, two at least."""
        match element:
            case syntax.Group(branches):
                if len(branches) == 1:
                    return self._arity(branches[0].elements[0], available)
                return sum(self._group_arities(element, available))
            case syntax.Inline(kind) if not self._is_name(element):
                if kind in ("barrier", "merge", "merge_all", "merge_any"):
                    return max(available, 2)
                return 1
        return max(1, len(self._targets(_as_ref(element))))

    def _group_arities(self, group: syntax.Group, available: int) -> list[int]:
        """Return the inputs of each branch; a single barrier or merge takes what the others leave."""
        firsts = [branch.elements[0] for branch in group.branches]
        arities = [self._arity(first, 2) for first in firsts]
        open_ended = [
            i
            for i, first in enumerate(firsts)
            if isinstance(first, syntax.Inline)
            and first.kind in ("barrier", "merge", "merge_all", "merge_any")
            and not self._is_name(first)
        ]
        if len(open_ended) == 1:
            rest = available - sum(arities) + arities[open_ended[0]]
            arities[open_ended[0]] = max(2, rest)
        return arities

    def _element(
        self, element: syntax.Element, feeds: list[list[_Source]] | None, *, wants_outputs: bool
    ) -> list[_Source]:
        match element:
            case syntax.Group():
                return self._group(element, feeds, wants_outputs=wants_outputs)
            case syntax.Inline() if not self._is_name(element):
                if feeds is None:
                    return self._start(element)
                return self._inline(element, feeds, wants_outputs=wants_outputs)
        ref = _as_ref(element)
        if feeds is not None:
            self._reach(ref, feeds)
        return self._sources(ref) if wants_outputs else []

    def _group(self, group: syntax.Group, feeds: list[list[_Source]] | None, *, wants_outputs: bool) -> list[_Source]:
        sources: list[_Source] = []
        if len(group.branches) == 1:
            arities = [len(feeds or ())]
        else:
            arities = self._group_arities(group, len(feeds or ()))
        at = 0
        for branch, arity in zip(group.branches, arities, strict=True):
            share = None if feeds is None else feeds[at : at + arity]
            at += arity
            sources += self._chain(branch.elements, share, ends=not wants_outputs)
        return sources

    def _reach(self, ref: syntax.Ref, feeds: list[list[_Source]]) -> None:
        targets = self._targets(ref)
        if not targets:
            self._refuse_target(ref)
            for feed in feeds:
                for source in feed:
                    self._mark_read(source)
        for target, feed in zip(targets, feeds, strict=False):
            for source in feed:
                self._connect(source, target)

    # --- names ---

    def _is_name(self, inline: syntax.Inline) -> bool:
        """Say whether a structural word is the name of something here."""
        word = inline.word.text
        if inline.span != inline.word.span:
            return False
        known = word in self._inputs or word in self._outputs or word in self._channels
        return known or (word in self._scope.interfaces and word != self._interface.name)

    def _targets(self, ref: syntax.Ref) -> list[_Target]:
        """Return the inputs that a name means; none if it has no input; one poisoned if it is unknown."""
        name = ref.name.text
        if ref.name.module is None:
            if name in self._inputs and not ref.port:
                return []
            if name in self._outputs and not ref.port:
                port = self._outputs[name]
                return [_Target(Endpoint(BOUNDARY, name), port.type, ref.span, "", f"output '{name}'", port.span)]
            if name in self._channels and not ref.port:
                instance, port = self._channels[name]
                return [_Target(Endpoint(instance, "input"), port.type, ref.span, name, f"channel '{name}'", port.span)]
        interface = self._mention(ref)
        if interface is None:
            return [_Target(None, JSON, ref.span, name, name)]
        wanted: Iterable[PortDecl] = interface.main_inputs()
        if ref.port:
            port_name = "ctrl_in" if ref.port.text == "ctrl" else ref.port.text
            wanted = [port for port in interface.inputs if port.name == port_name]
            if not wanted and not any(port.name == port_name for port in interface.outputs):
                self._unknown_port(ref.port, interface)
                return [_Target(None, JSON, ref.span, name, name)]
        return [self._target(name, port, ref.span, name) for port in wanted]

    def _target(self, instance: str, port: PortDecl, span: Span, owner: str) -> _Target:
        return _Target(Endpoint(instance, port.name), port.type, span, owner, port.name, port.span)

    def _refuse_target(self, ref: syntax.Ref) -> None:
        name = ref.name.text
        if name in self._inputs and not ref.port:
            message, hint = f"'{name}' is an input of this body: messages come from it, none can go there", None
        elif ref.port:
            message = f"'{name}@{ref.port.text}' is an output port: messages come from it, none can go there"
            hint = f"end the chain before it, and start another one with '{name}@{ref.port.text}'"
        else:
            message, hint = f"'{name}' has no input", None
        self._report.add("E0504", ref.span, message, help=hint)

    def _sources(self, ref: syntax.Ref) -> list[_Source]:
        """Return what flows out of a name: its main outputs, one port, or a field."""
        name, fields = ref.name.text, ref.fields
        text = _words(ref)
        if ref.name.module is None and not ref.port:
            if name in self._inputs:
                port = self._inputs[name]
                source = _Source(Endpoint(BOUNDARY, name), port.type, ref.span, text, port.span)
                return self._project_fields([source], ref, fields)
            if name in self._outputs:
                self._report.add(
                    "E0504",
                    ref.span,
                    f"'{name}' is an output of this body: messages go there, none come from it",
                    help="end the chain here, and start another one",
                )
                return [_poison(ref.span)]
            if name in self._channels:
                instance, port = self._channels[name]
                source = _Source(Endpoint(instance, "output"), port.type, ref.span, text, port.span)
                return self._project_fields([source], ref, fields)
        interface = self._mention(ref)
        if interface is None:
            return [_poison(ref.span)]
        wanted: Iterable[PortDecl] = interface.main_outputs()
        port_name = ref.port.text if ref.port else fields[0].text if fields else None
        by_name = [port for port in interface.outputs if port.name == port_name]
        if ref.port:
            wanted = by_name
            if not wanted:
                if not any(port.name == ("ctrl_in" if port_name == "ctrl" else port_name) for port in interface.inputs):
                    self._unknown_port(ref.port, interface)
                else:
                    self._report.add(
                        "E0504",
                        ref.span,
                        f"'{name}@{ref.port.text}' is an input port: messages go there, none come from it",
                        help=f"end the chain here, and start another one with '{name}'",
                    )
                return [_poison(ref.span)]
        elif by_name:
            wanted, fields = by_name, fields[1:]
        sources = [_Source(Endpoint(name, port.name), port.type, ref.span, text, port.span) for port in wanted]
        if not sources:
            self._report.add("E0410", ref.span, f"'{name}' has no output")
            return [_poison(ref.span)]
        return self._project_fields(sources, ref, fields)

    def _project_fields(
        self, sources: list[_Source], ref: syntax.Ref, fields: tuple[syntax.Name, ...]
    ) -> list[_Source]:
        """Return the sources with fields selected, each by a map of its own."""
        if not fields:
            return sources
        out = []
        for source in sources:
            if not record_variants(source.type) and resolve(source.type) != JSON:
                self._report.add(
                    "E0414",
                    fields[0].span,
                    f"'{ref.name.text}' has neither an output port nor a field '{fields[0].text}'",
                    notes=[f"its messages are {show(source.type)}"],
                )
                out.append(_poison(ref.span))
                continue
            before = self._report.has_errors
            type_ = select_path(source.type, fields, self._report)
            if self._report.has_errors and not before and type_ == JSON:
                out.append(_poison(ref.span))
                continue
            whole = typed.Input(source.type, ref.span)
            select = tuple(field.text for field in fields)
            instance = self._new(
                "map", ref.span, (Port("input", source.type),), (Port("output", type_),), expr=whole, select=select
            )
            self._link(source, Endpoint(instance, "input"), ref.span)
            out.append(_Source(Endpoint(instance, "output"), type_, ref.span, source.text, source.declared))
        return out

    def _mention(self, ref: syntax.Ref) -> Interface | None:
        """Return the interface of a process named in a chain, and see to its instance; None if there is no such process."""
        interface = self._interface_of(ref.name)
        if interface is None:
            if ref.port and (
                ref.name.text in self._inputs or ref.name.text in self._outputs or ref.name.text in self._channels
            ):
                self._report.add("E0203", ref.port.span, f"'{ref.name.text}' is no process, and has no ports")
            return None
        name = ref.name.text
        if name in self._spawned:
            self._twice(ref.span, name, self._spawned[name])
            return None
        self._in_chains.setdefault(name, ref.span)
        if name not in self._instances:
            self._instantiate(name, interface, ref.name.span)
        return interface

    def _interface_of(self, name: syntax.Name) -> Interface | None:
        if name.module is not None:
            if name.module not in self._scope.modules:
                known = name.module in self._scope.interfaces
                self._report.add(
                    "E0204",
                    name.span,
                    f"there is no module '{name.module}'",
                    help=f"'{name.module}' is a process; write '{name.module}@{name.text}' for a port"
                    if known
                    else None,
                )
            return None
        interface = self._scope.interfaces.get(name.text)
        if interface is None and name.text not in self._scope.silent:
            local = name.text in self._inputs or name.text in self._outputs or name.text in self._channels
            if not local:
                candidates = [*self._inputs, *self._outputs, *self._channels, *self._scope.interfaces]
                self._report.add(
                    "E0202",
                    name.span,
                    f"there is no process, port or channel '{name.text}'",
                    help=self._report.suggest(name.text, candidates),
                )
        return interface

    def _unknown_port(self, port: syntax.Name, interface: Interface) -> None:
        names = [p.name for p in (*interface.inputs, *interface.outputs)]
        hint = self._report.suggest(port.text, names)
        if port.text in ("ctrl", "ctrl_in", "ctrl_out") and interface.kind in ("agent", "worker"):
            hint = f"give '{interface.name}' a control input: (!A, !C) -> !B"
        self._report.add(
            "E0203",
            port.span,
            f"'{interface.name}' has no port '{port.text}'",
            related=[(interface.span, f"'{interface.name}' is declared here")],
            notes=[f"its ports are: {', '.join(names)}"],
            help=hint,
        )

    def _twice(self, span: Span, name: str, first: Span) -> None:
        self._report.add(
            "E0503",
            span,
            f"'{name}' is used both in chains and by 'spawn'",
            related=[(first, "here the other way")],
            help="a chain means the one instance of that name, 'spawn' makes a new one; use one way in a body",
        )

    # --- instances ---

    def _instantiate(self, instance: str, interface: Interface, span: Span) -> None:
        morphism = self._scope.morphisms.get(interface.name)
        self._uses.setdefault(interface.name, span)
        self._instances[instance] = Instance(
            instance,
            interface.kind,
            interface.name,
            ports(interface.inputs),
            ports(interface.outputs),
            span,
            morphism.expr if morphism else None,
            morphism.select if morphism else (),
            morphism.index if morphism else None,
        )
        if interface.kind in ("agent", "worker"):
            self._optional.add(Endpoint(instance, "ctrl_in"))

    def _new(
        self,
        kind: Kind,
        span: Span,
        inputs: tuple[Port, ...],
        outputs: tuple[Port, ...],
        *,
        expr: typed.Expr | None = None,
        select: tuple[str, ...] = (),
        index: int | str | None = None,
    ) -> str:
        name = self._fresh(kind, span)
        self._instances[name] = Instance(name, kind, None, inputs, outputs, span, expr, select, index)
        return name

    def _fresh(self, word: str, span: Span) -> str:
        """Return ``word@line``, or ``word@line.2`` for the second on that line."""
        base = f"{word}@{self._report.source.position(span.start)[0]}"
        name, count = base, 1
        while name in self._instances:
            count += 1
            name = f"{base}.{count}"
        return name

    # --- inline morphisms ---

    def _start(self, inline: syntax.Inline) -> list[_Source]:
        """Return what flows out of an inline morphism at the start of a chain."""
        if inline.kind == "empty":
            return [_Source(None, JSON, inline.span, "'empty'", is_empty=True)]
        self._report.add(
            "E0501",
            inline.word.span,
            f"nothing feeds this '{inline.kind}': it starts its chain",
            help=f"write what feeds it before it: a ; {inline.kind}{'(...)' if inline.expr else ''}",
        )
        return [_poison(inline.span)]

    def _inline(self, inline: syntax.Inline, feeds: list[list[_Source]], *, wants_outputs: bool) -> list[_Source]:
        """Make the instance of an inline morphism, connect what feeds it, and return what flows out of it."""
        span = inline.word.span
        types = [self._joined(feed, inline) for feed in feeds]
        if any(type_ is None for type_ in types):
            for feed in feeds:
                for source in feed:
                    self._mark_read(source)
            return [_poison(inline.span)] if inline.kind not in ("discard", "empty") else []
        known = cast("list[Type]", types)
        poisoned = all(_is_poison(source) for feed in feeds for source in feed)
        instance, outputs = self._make(inline, known, poisoned=poisoned)
        if instance is not None:
            for feed, port in zip(feeds, self._instances[instance].inputs, strict=True):
                for source in feed:
                    self._connect(
                        source, _Target(Endpoint(instance, port.name), port.type, span, inline.kind, port.name)
                    )
        if poisoned or instance is None:
            return [_poison(inline.span)] * max(1, len(outputs)) if inline.kind not in ("discard", "empty") else []
        if wants_outputs and not outputs:
            return []
        text = f"'{inline.word.text}'"
        return [_Source(Endpoint(instance, port.name), port.type, inline.span, text) for port in outputs]

    def _joined(self, feed: list[_Source], inline: syntax.Inline) -> Type | None:
        """Return a type for everything that feeds one input."""
        types = [source.type for source in feed if not _is_poison(source)]
        if any(source.is_empty for source in feed):
            types = [source.type for source in feed if not _is_poison(source) and not source.is_empty]
        if not types:
            return JSON
        joined = join(types)
        if joined is None and inline.kind in ("discard", "empty"):
            return JSON
        if joined is None:
            self._report.add(
                "E0402",
                inline.word.span,
                f"'{inline.kind}' gets messages of types that cannot be told apart: "
                + ", ".join(dict.fromkeys(show(type_) for type_ in types)),
                related=[(source.span, show(source.type)) for source in feed if source.span != inline.span],
                help="wrap them in records with different fields, by map({ ... })",
            )
        return joined

    def _make(self, inline: syntax.Inline, types: list[Type], *, poisoned: bool) -> tuple[str | None, tuple[Port, ...]]:
        """Make an instance for inputs of these types; None if there is no point after a mistake."""
        kind, span, type_ = inline.kind, inline.span, types[0]
        single = (Port("input", type_),)
        several = tuple(Port(f"input_{i}", t) for i, t in enumerate(types))
        match kind:
            case "map" | "filter":
                return self._make_with_expr(inline, type_, poisoned=poisoned)
            case "project":
                assert inline.index is not None
                item = JSON if poisoned else project(type_, inline.index, span, self._report)
                output = (Port("output", item or JSON),)
                if item is None:
                    return None, output
                return self._new("project", span, single, output, index=inline.index), output
            case "id" | "mux":
                if inline.source is not None and inline.source.text not in self._channels:
                    self._interface_of(inline.source)
                output = (Port("output", type_),)
                return self._new("id", span, single, output), output
            case "copy":
                outputs = (Port("output_0", type_), Port("output_1", type_))
                return self._new("copy", span, single, outputs), outputs
            case "merge" | "merge_all" | "merge_any":
                joined = join(types)
                if joined is None:
                    self._report.add(
                        "E0402",
                        span,
                        f"cannot merge messages of types that cannot be told apart: {', '.join(map(show, types))}",
                        help="wrap them in records with different fields, by map({ ... })",
                    )
                    return None, (Port("output", JSON),)
                output = (Port("output", joined),)
                return self._new("merge_any" if kind == "merge_any" else "merge", span, several, output), output
            case "barrier":
                output = (Port("output", Product(tuple(types))),)
                return self._new("barrier", span, several, output), output
        return self._new("discard", span, single, ()), ()

    def _make_with_expr(
        self, inline: syntax.Inline, type_: Type, *, poisoned: bool
    ) -> tuple[str | None, tuple[Port, ...]]:
        assert inline.expr is not None
        kind: Literal["map", "filter"] = "filter" if inline.kind == "filter" else "map"
        if poisoned:
            return None, (Port("output", JSON),)
        expr = infer(inline.expr, type_, kind, self._report)
        result: Type | None = expr.type if kind == "map" else passes(expr, inline, type_, self._report)
        result = select_path(JSON if result is None else result, inline.fields, self._report)
        outputs = (Port("output", result),)
        select = tuple(field.text for field in inline.fields)
        return self._new(kind, inline.span, (Port("input", type_),), outputs, expr=expr, select=select), outputs

    # --- spawns ---

    def _spawn(self, spawn: syntax.Spawn) -> None:
        target = spawn.target
        if isinstance(target, syntax.Inline) and not self._is_name(target):
            if target.kind == "empty":
                self._empty_spawns.append(spawn)
            else:
                self._spawn_inline(spawn, target)
            return
        ref = _as_ref(target)
        if ref.port or ref.fields:
            self._report.add("E0504", ref.span, "'spawn' takes the name of a process, without a port or field")
        interface = self._interface_of(ref.name)
        if interface is None:
            local = self._local(ref.name.text)
            if local:
                self._report.add("E0504", ref.span, f"'{ref.name.text}' is {local}, not a process")
            self._poison_arguments(spawn)
            return
        name = ref.name.text
        if name in self._in_chains:
            self._twice(ref.span, name, self._in_chains[name])
        instance = name if name not in self._instances else self._fresh(name, ref.span)
        self._spawned.setdefault(name, ref.span)
        self._instantiate(instance, interface, ref.name.span)
        decls = {port.name: port for port in (*interface.inputs, *interface.outputs)}
        is_input = {port.name: True for port in interface.inputs}
        given: dict[str, Span] = {}
        if len(spawn.arguments) > len(interface.positional) and all(a.port is None for a in spawn.arguments):
            self._report.add(
                "E0410",
                spawn.span,
                f"'{name}' has {len(interface.positional)} ports, this gives {len(spawn.arguments)}",
                related=[(interface.span, f"'{name}' is declared here")],
                notes=[f"in order: {', '.join(interface.positional)}"],
            )
            self._poison_arguments(spawn)
            self._written |= {Endpoint(instance, port.name) for port in interface.inputs}
            return
        for position, argument in enumerate(spawn.arguments):
            port_name = self._argument_port(argument, position, interface, decls)
            if port_name is None:
                self._poison_name(argument.channel.text)
                self._written |= {Endpoint(instance, port.name) for port in interface.inputs}
                continue
            if port_name in given:
                self._report.add(
                    "E0205",
                    argument.span,
                    f"port '{port_name}' is given twice",
                    related=[(given[port_name], "first given here")],
                )
                continue
            given[port_name] = argument.span
            port = decls[port_name]
            if port_name in is_input:
                self._feed_port(argument, self._target(instance, port, ref.span, name))
            else:
                source = _Source(
                    Endpoint(instance, port_name), port.type, argument.channel.span, f"'{name}'", port.span
                )
                self._drain_port(argument, source, port_name)

    def _argument_port(
        self, argument: syntax.Argument, position: int, interface: Interface, decls: dict[str, PortDecl]
    ) -> str | None:
        if argument.port is None:
            if position < len(interface.positional):
                return interface.positional[position]
            self._report.add("E0410", argument.span, f"'{interface.name}' has only {len(interface.positional)} ports")
            return None
        name = "ctrl_in" if argument.port.text == "ctrl" else argument.port.text
        if name in decls:
            return name
        self._unknown_port(argument.port, interface)
        return None

    def _local(self, name: str) -> str | None:
        """Say in words what a local name is."""
        if name in self._inputs:
            return "an input of this body"
        if name in self._outputs:
            return "an output of this body"
        return "a channel" if name in self._channels else None

    def _feed_port(self, argument: syntax.Argument, target: _Target) -> None:
        """Connect the channel of an argument to an input."""
        source = self._channel_source(argument.channel)
        if target.endpoint is not None and source is None:
            self._written.add(target.endpoint)
        if source is not None:
            self._connect(source, target)

    def _channel_source(self, name: syntax.Name) -> _Source | None:
        if name.text in self._inputs:
            port = self._inputs[name.text]
            return _Source(Endpoint(BOUNDARY, name.text), port.type, name.span, f"'{name.text}'", port.span)
        if name.text in self._channels:
            instance, port = self._channels[name.text]
            return _Source(Endpoint(instance, "output"), port.type, name.span, f"'{name.text}'", port.span)
        if name.text in self._outputs:
            self._report.add(
                "E0504", name.span, f"'{name.text}' is an output of this body: nothing can be read from it"
            )
            self._poison_name(name.text)
        else:
            self._not_a_channel(name)
        return None

    def _drain_port(self, argument: syntax.Argument, source: _Source, port: str) -> None:
        """Connect an output to the channel of an argument."""
        name = argument.channel
        if name.text in self._outputs:
            decl = self._outputs[name.text]
            what = f"output '{name.text}'"
            self._connect(source, _Target(Endpoint(BOUNDARY, name.text), decl.type, name.span, "", what, decl.span))
        elif name.text in self._channels:
            instance, decl = self._channels[name.text]
            what = f"channel '{name.text}'"
            self._connect(source, _Target(Endpoint(instance, "input"), decl.type, name.span, "", what, decl.span))
        elif name.text in self._inputs:
            self._report.add(
                "E0504",
                name.span,
                f"'{name.text}' is an input of this body: the output '{port}' cannot be sent to it",
            )
            self._poison_name(name.text)
        else:
            self._not_a_channel(name)

    def _not_a_channel(self, name: syntax.Name) -> None:
        if name.text in self._scope.interfaces:
            self._report.add(
                "E0504",
                name.span,
                f"'{name.text}' is a process, not a channel",
                help="declare a channel: let c : !T = channel",
            )
            return
        candidates = [*self._inputs, *self._outputs, *self._channels]
        self._report.add(
            "E0202",
            name.span,
            f"there is no channel or port '{name.text}'",
            help=self._report.suggest(name.text, candidates) or f"declare it: let {name.text} : !T = channel",
        )

    def _spawn_inline(self, spawn: syntax.Spawn, inline: syntax.Inline) -> None:
        """Spawn a morphism: its inputs first, then its outputs; named arguments give the same by name."""
        many_in = inline.kind in ("merge", "merge_all", "merge_any", "barrier")
        count = len(spawn.arguments)
        least = 3 if many_in or inline.kind == "copy" else 1 if inline.kind == "discard" else 2
        exact = inline.kind not in ("copy", "merge", "merge_all", "merge_any", "barrier")
        if count < least or (exact and count > least):
            self._report.add(
                "E0410",
                spawn.span,
                f"'{inline.kind}' takes {least}{'' if exact else ' or more'} channels here, this gives {count}",
            )
            self._poison_arguments(spawn)
            return
        inputs = count - 1 if many_in else 1
        names = _numbered("input", inputs) + _numbered("output", count - inputs)
        arguments = list(spawn.arguments)
        if any(argument.port for argument in arguments):
            by_port = {argument.port.text: argument for argument in arguments if argument.port}
            if sorted(by_port) != sorted(names):
                self._report.add(
                    "E0203",
                    spawn.span,
                    f"'{inline.kind}' has the ports {', '.join(names)} here",
                    help="name all of them, or none",
                )
                self._poison_arguments(spawn)
                return
            arguments = [by_port[name] for name in names]
        feeds = []
        for argument in arguments[:inputs]:
            source = self._channel_source(argument.channel)
            feeds.append([source or _poison(argument.span)])
        results = self._inline(inline, feeds, wants_outputs=True)
        if inline.kind == "copy" and results and results[0].endpoint is not None:
            results = self._widen_copy(results[0], count - inputs)
        for argument, result in zip(arguments[inputs:], results, strict=False):
            self._drain_port(argument, result, "output")

    def _widen_copy(self, first: _Source, outputs: int) -> list[_Source]:
        """Give a copy as many outputs as were asked for."""
        assert first.endpoint is not None
        copy = self._instances[first.endpoint.instance]
        wide = tuple(Port(f"output_{i}", first.type) for i in range(outputs))
        self._instances[copy.name] = msgspec.structs.replace(copy, outputs=wide)
        return [_Source(Endpoint(copy.name, port.name), port.type, first.span, first.text) for port in wide]

    def _spawn_empty(self, spawn: syntax.Spawn) -> None:
        """Close a channel at once, or drain it if something else writes to it; by direction of use."""
        for argument in spawn.arguments:
            name = argument.channel
            channel = self._channels.get(name.text)
            drains = name.text in self._inputs
            if channel is not None:
                drains = Endpoint(channel[0], "input") in self._written
            if drains:
                source = self._channel_source(name)
                assert source is not None
                instance = self._new("discard", spawn.span, (Port("input", source.type),), ())
                self._link(source, Endpoint(instance, "input"), spawn.span)
            else:
                self._drain_port(argument, _Source(None, JSON, name.span, "'empty'", is_empty=True), "output")

    # --- connections ---

    def _connect(self, source: _Source, target: _Target) -> None:
        """Connect, after a look at the types."""
        if target.endpoint is not None:
            self._written.add(target.endpoint)
        self._mark_read(source)
        if target.endpoint is None:
            return
        if source.is_empty:
            instance = self._new("empty", source.span, (), (Port("output", target.type),))
            source = msgspec.structs.replace(source, endpoint=Endpoint(instance, "output"), type=target.type)
        if source.endpoint is None:
            return
        if is_subtype(source.type, target.type):
            self._link(source, target.endpoint, source.span)
        elif is_consistent(source.type, target.type):
            self._link(source, target.endpoint, source.span, checked=True)
        else:
            self._mismatch(source, target)

    def _link(self, source: _Source, target: Endpoint, span: Span, *, checked: bool = False) -> None:
        assert source.endpoint is not None
        self._read.add(source.endpoint)
        self._written.add(target)
        key = (source.endpoint, target)
        if key in self._connections:
            self._report.add(
                "W0512",
                span,
                "these two are wired already; messages are not sent twice",
                related=[(self._connections[key].span, "wired here")] if self._connections[key].span != span else [],
            )
            return
        self._connections[key] = Connection(source.endpoint, target, span, checked)

    def _mismatch(self, source: _Source, target: _Target) -> None:
        declared = f" (line {self._report.source.position(source.declared.start)[0]})" if source.declared else ""
        related = []
        if target.declared is not None:
            subject = f"'{target.owner}'" if target.owner and target.owner != target.what else f"{target.what}"
            related.append((target.declared, f"expected because {subject} takes !{show(target.type)}"))
        self._report.add(
            "E0412",
            source.span,
            f"cannot wire !{show(source.type)} to {target.what} of type !{show(target.type)}",
            label=f"{source.text} produces !{show(source.type)}{declared}",
            related=related,
            notes=why_not(source.type, target.type),
            help=_remedy(source, target),
        )

    def _mark_read(self, source: _Source) -> None:
        if source.endpoint is not None:
            self._read.add(source.endpoint)

    def _poison(self, element: syntax.Element) -> None:
        """Count everything that a useless statement mentions as wired."""
        if isinstance(element, syntax.Ref):
            self._poison_name(element.name.text)
            if not self._local(element.name.text):
                self._interface_of(element.name)

    def _poison_arguments(self, spawn: syntax.Spawn) -> None:
        for argument in spawn.arguments:
            self._poison_name(argument.channel.text)

    def _poison_name(self, name: str) -> None:
        self._read.add(Endpoint(BOUNDARY, name))
        self._written.add(Endpoint(BOUNDARY, name))
        if name in self._channels:
            instance = self._channels[name][0]
            self._read.add(Endpoint(instance, "output"))
            self._written.add(Endpoint(instance, "input"))

    # --- the whole body ---

    def finish(self, *, complete: bool) -> Wired:
        """Return the body; ``complete``: it was read whole, so that what is missing can be reported."""
        body = Body(tuple(self._instances.values()), tuple(self._connections.values()))
        if complete:
            self._report_loose_ends()
            for cycle in unfed_cycles(body, self._written):
                first, *others = cycle
                loop = " -> ".join(instance.name for instance in [*cycle, first])
                self._report.add(
                    "E0502",
                    first.span,
                    f"nothing feeds the loop {loop}",
                    label="no message ever comes in",
                    related=[(other.span, "on the loop") for other in others[:3]],
                    help=f"wire an input to it: input ; {first.name}",
                )
        return Wired(body, self._uses)

    def _report_loose_ends(self) -> None:
        channels = dict(self._channels.values())
        for instance in self._instances.values():
            for port in instance.inputs:
                end = Endpoint(instance.name, port.name)
                if end in self._written or end in self._optional:
                    continue
                if instance.name in channels:
                    self._report_loose_channel(channels[instance.name], Endpoint(instance.name, "output"))
                    continue
                what = f"'{instance.binding or instance.kind}'"
                where = f"input '{port.name}' of {what}" if len(instance.inputs) > 1 else what
                self._report.add(
                    "E0501",
                    instance.span,
                    f"nothing feeds {where}",
                    label=f"needs !{show(port.type)}",
                    help=f"wire something to it: a ; {instance.binding}{'@' + port.name if len(instance.inputs) > 1 else ''}"
                    if instance.binding
                    else None,
                )
        for name, (instance_name, decl) in self._channels.items():
            if (
                Endpoint(instance_name, "output") not in self._read
                and Endpoint(instance_name, "input") in self._written
            ):
                self._report.add("W0511", decl.span, f"nothing reads channel '{name}'; its messages are discarded")
        for port_decl in self._interface.outputs:
            if Endpoint(BOUNDARY, port_decl.name) not in self._written:
                self._report.add(
                    "E0505",
                    self._header_span(port_decl),
                    f"nothing feeds the output '{port_decl.name}' of '{self._interface.name}'",
                    help=f"end a chain with it: a ; {port_decl.name}" if self._outputs else None,
                )
        for port_decl in self._interface.inputs:
            if Endpoint(BOUNDARY, port_decl.name) not in self._read:
                self._report.add(
                    "W0510",
                    self._header_span(port_decl),
                    f"nothing reads the input '{port_decl.name}' of '{self._interface.name}'; its messages are discarded",
                )

    def _report_loose_channel(self, decl: PortDecl, output: Endpoint) -> None:
        if output in self._read:
            self._report.add("E0501", decl.span, f"nothing writes to channel '{decl.name}'")
        else:
            self._report.add(
                "W0511", decl.span, f"channel '{decl.name}' is not used", help="remove it, or wire something to it"
            )

    def _header_span(self, port: PortDecl) -> Span:
        return port.span


# --- shared with bindings -----------------------------------------------------------------------------------------


def passes(expr: typed.Expr, inline: syntax.Inline, type_: Type, report: Report) -> Type | None:
    """Return what a filter lets through, or report that it drops everything."""
    result = narrowed(expr, type_)
    if result is None:
        report.add(
            "E0414",
            inline.expr.span if inline.expr else inline.span,
            "no message has all the fields that this filter names",
            notes=[f"the messages are {show(type_)}"],
        )
    return result


def project(type_: Type, index: int | str, span: Span, report: Report) -> Type | None:
    """Return the type of an item or field, or report that there is none."""
    match resolve(type_), index:
        case Product(items), int() if index < len(items):
            return items[index]
        case Record(fields), str():
            for field in fields:
                if field.name == index:
                    return field.type
            report.add(
                "E0414",
                span,
                f"there is no field '{index}' in {show(type_)}",
                help=report.suggest(index, [field.name for field in fields]),
            )
            return None
        case Product(items), int():
            report.add("E0413", span, f"{show(type_)} has {len(items)} items, counted from 0; there is no {index}")
            return None
    wanted = "tuples" if isinstance(index, int) else "records"
    report.add("E0413", span, f"project({index}) needs {wanted}, this is {show(type_)}")
    return None


def _poison(span: Span) -> _Source:
    return _Source(None, JSON, span, "")


def _is_poison(source: _Source) -> bool:
    return source.endpoint is None and not source.is_empty


def _as_ref(element: syntax.Element) -> syntax.Ref:
    assert not isinstance(element, syntax.Group)
    return element if isinstance(element, syntax.Ref) else syntax.Ref(element.word, element.span)


def _words(element: syntax.Element) -> str:
    """Name an element for a message."""
    match element:
        case syntax.Group():
            return "the group"
        case syntax.Inline():
            return f"'{element.word.text}'"
    port = f"@{element.port.text}" if element.port else "".join(f".{field.text}" for field in element.fields)
    return f"'{element.name.text}{port}'"


def _numbered(word: str, count: int) -> list[str]:
    return [word] if count == 1 else [f"{word}_{i}" for i in range(count)]


def _remedy(source: _Source, target: _Target) -> str | None:
    """Return what may have been meant: a field of the message, or one message out of a list or a tuple."""
    after = target.owner or target.what.removeprefix("output ").strip("'")
    before = source.text.strip("'")
    for record in record_variants(source.type)[:1]:
        fits = [field for field in record.fields if is_subtype(field.type, target.type)]
        if fits and after:
            return f"did you mean  {before} ; map({fits[0].name}) ; {after} ?"
    inner, wanted = resolve(source.type), resolve(target.type)
    if isinstance(inner, Product) and any(is_subtype(item, target.type) for item in inner.items):
        position = next(i for i, item in enumerate(inner.items) if is_subtype(item, target.type))
        return f"did you mean  {before} ; project({position}) ; {after} ?"
    if isinstance(wanted, Product) and any(is_subtype(source.type, item) for item in wanted.items):
        return "join several streams into tuples with a barrier: (a * b) ; barrier"
    if isinstance(wanted, Record) and len(wanted.fields) == 1 and is_subtype(source.type, wanted.fields[0].type):
        return f"did you mean  {before} ; map({{ {wanted.fields[0].name}: value }}) ; {after} ?"
    return None
