"""Chains ``a ; b ; c`` to instances and connections.

A chain is walked from the left. What flows out of an element is a list of sources, one a port; the next element has a
number of inputs, and the sources are dealt out to them: pairwise if they are as many, a single one to each input
(fan-out), all to a single input (fan-in), else the arities do not match. Inline morphisms take their types from what
flows in, which is why the walk goes from left to right, and why an ``empty`` at the start is made only when it is
known what it feeds.
"""

from __future__ import annotations

__all__ = ["Chains"]

from collections.abc import Iterable, Sequence

from fabric.lang import syntax, typed
from fabric.lang.body import BodyBuilder
from fabric.lang.expr import select_path
from fabric.lang.flow import Source, Target, as_ref, is_poison, poison, words
from fabric.lang.morphisms import Shape, joined, shape
from fabric.lang.signature import Interface, PortDecl
from fabric.lang.source import Span
from fabric.lang.typed import BOUNDARY, Endpoint, Port
from fabric.lang.types import record_variants
from fabric.wire.payload import JSON, resolve, show


class Chains:
    """Wires the chains of one body."""

    def __init__(self, body: BodyBuilder) -> None:
        self._body = body

    def walk(self, elements: Sequence[syntax.Element], feeds: list[list[Source]] | None, *, ends: bool) -> list[Source]:
        """Wire the elements one after the other; ``feeds``: for each input of the first one, or None if it starts.

        Returns what flows out of the last one; nothing if the chain ends there.
        """
        sources: list[Source] = []
        for i, element in enumerate(elements):
            last = i == len(elements) - 1
            if i > 0:
                previous = elements[i - 1]
                count = self.arity(element, len(sources))
                feeds = self.deal(sources, count, element.span, words(previous), words(element))
            sources = self._element(element, feeds, wants_outputs=not (last and ends))
        return sources

    def deal(self, sources: list[Source], count: int, span: Span, left: str, right: str) -> list[list[Source]]:
        """Deal sources out to so many inputs."""
        if len(sources) == count:
            return [[source] for source in sources]
        if len(sources) == 1 and count > 1:
            return [sources] * count
        if count == 1 and len(sources) > 1:
            return [sources]
        if not any(is_poison(source) for source in sources):
            if not sources:
                message = f"{left} has no output to wire to {right}"
            elif count == 0:
                message = f"{right} has no input"
            else:
                message = f"cannot wire {len(sources)} outputs of {left} to {count} inputs of {right}"
            self._body.report.add(
                "E0410",
                span,
                message,
                help="as many outputs as inputs, or one on one side" if sources and count else None,
            )
        for source in sources:
            self._body.mark_read(source)
        return [[poison(span)] for _ in range(count)]

    def arity(self, element: syntax.Element, available: int) -> int:
        """Return how many inputs an element has; ``barrier`` and the merges take what there is, two at least."""
        match element:
            case syntax.Group(branches):
                if len(branches) == 1:
                    return self.arity(branches[0].elements[0], available)
                return sum(self._group_arities(element, available))
            case syntax.Inline(kind) if not self._body.is_name(element):
                if kind in ("barrier", "merge", "merge_all", "merge_any"):
                    return max(available, 2)
                return 1
        return max(1, len(self._targets(as_ref(element))))

    def _group_arities(self, group: syntax.Group, available: int) -> list[int]:
        """Return the inputs of each branch; a single barrier or merge takes what the others leave."""
        firsts = [branch.elements[0] for branch in group.branches]
        arities = [self.arity(first, 2) for first in firsts]
        open_ended = [
            i
            for i, first in enumerate(firsts)
            if isinstance(first, syntax.Inline)
            and first.kind in ("barrier", "merge", "merge_all", "merge_any")
            and not self._body.is_name(first)
        ]
        if len(open_ended) == 1:
            rest = available - sum(arities) + arities[open_ended[0]]
            arities[open_ended[0]] = max(2, rest)
        return arities

    def _element(
        self, element: syntax.Element, feeds: list[list[Source]] | None, *, wants_outputs: bool
    ) -> list[Source]:
        match element:
            case syntax.Group():
                return self._group(element, feeds, wants_outputs=wants_outputs)
            case syntax.Inline() if not self._body.is_name(element):
                if feeds is None:
                    return self._start(element)
                return self.pass_through(element, feeds)
        ref = as_ref(element)
        if feeds is not None:
            self._reach(ref, feeds)
        return self.sources(ref) if wants_outputs else []

    def _group(self, group: syntax.Group, feeds: list[list[Source]] | None, *, wants_outputs: bool) -> list[Source]:
        sources: list[Source] = []
        arities = [len(feeds or ())] if len(group.branches) == 1 else self._group_arities(group, len(feeds or ()))
        at = 0
        for branch, arity in zip(group.branches, arities, strict=True):
            share = None if feeds is None else feeds[at : at + arity]
            at += arity
            sources += self.walk(branch.elements, share, ends=not wants_outputs)
        return sources

    def _reach(self, ref: syntax.Ref, feeds: list[list[Source]]) -> None:
        targets = self._targets(ref)
        if not targets:
            self._refuse_target(ref)
            for feed in feeds:
                for source in feed:
                    self._body.mark_read(source)
        for target, feed in zip(targets, feeds, strict=False):
            for source in feed:
                self._body.connect(source, target)

    def _targets(self, ref: syntax.Ref) -> list[Target]:
        """Return the inputs that a name means; none if it has no input; one poisoned if it is unknown."""
        name = ref.name.full
        if ref.name.module is None:
            if name in self._body.inputs and not ref.port:
                return []
            if name in self._body.outputs and not ref.port:
                port = self._body.outputs[name]
                return [Target(Endpoint(BOUNDARY, name), port.type, ref.span, "", f"output '{name}'", port.span)]
            if name in self._body.channels and not ref.port:
                instance, port = self._body.channels[name]
                return [Target(Endpoint(instance, "input"), port.type, ref.span, name, f"channel '{name}'", port.span)]
        interface = self.mention(ref)
        if interface is None:
            return [Target(None, JSON, ref.span, name, name)]
        wanted: Iterable[PortDecl] = interface.main_inputs()
        if ref.port:
            port_name = "ctrl_in" if ref.port.text == "ctrl" else ref.port.text
            wanted = [port for port in interface.inputs if port.name == port_name]
            if not wanted and not any(port.name == port_name for port in interface.outputs):
                self._body.unknown_port(ref.port, interface)
                return [Target(None, JSON, ref.span, name, name)]
        return [self.target(name, port, ref.span, name) for port in wanted]

    def target(self, instance: str, port: PortDecl, span: Span, owner: str) -> Target:
        """Return an input of an instance as a target."""
        return Target(Endpoint(instance, port.name), port.type, span, owner, port.name, port.span)

    def _refuse_target(self, ref: syntax.Ref) -> None:
        name = ref.name.full
        if name in self._body.inputs and not ref.port:
            message = f"'{name}' is an input of this body: messages come from it, none can go there"
            hint: str | None = f"send them to the process that '{name}' feeds:  {name} ; a  makes  b ; a"
        elif ref.port:
            message = f"'{name}@{ref.port.text}' is an output port: messages come from it, none can go there"
            hint = f"end the chain before it, and start another one with '{name}@{ref.port.text}'"
        else:
            message, hint = f"'{name}' has no input", None
        self._body.report.add("E0504", ref.span, message, help=hint)

    def sources(self, ref: syntax.Ref) -> list[Source]:
        """Return what flows out of a name: its main outputs, one port, or a field."""
        name, fields = ref.name.full, ref.fields
        text = words(ref)
        if ref.name.module is None and not ref.port:
            if name in self._body.inputs:
                port = self._body.inputs[name]
                source = Source(Endpoint(BOUNDARY, name), port.type, ref.span, text, port.span)
                return self._project_fields([source], ref, fields)
            if name in self._body.outputs:
                self._body.report.add(
                    "E0504",
                    ref.span,
                    f"'{name}' is an output of this body: messages go there, none come from it",
                    help=f"take what '{name}' gets from where it comes:  a ; {name}  and  a ; b",
                )
                return [poison(ref.span)]
            if name in self._body.channels:
                instance, port = self._body.channels[name]
                source = Source(Endpoint(instance, "output"), port.type, ref.span, text, port.span)
                return self._project_fields([source], ref, fields)
        interface = self.mention(ref)
        if interface is None:
            return [poison(ref.span)]
        wanted: Iterable[PortDecl] = interface.main_outputs()
        port_name = ref.port.text if ref.port else fields[0].text if fields else None
        by_name = [port for port in interface.outputs if port.name == port_name]
        if ref.port:
            wanted = by_name
            if not wanted:
                if not any(port.name == ("ctrl_in" if port_name == "ctrl" else port_name) for port in interface.inputs):
                    self._body.unknown_port(ref.port, interface)
                else:
                    self._body.report.add(
                        "E0504",
                        ref.span,
                        f"'{name}@{ref.port.text}' is an input port: messages go there, none come from it",
                        help=f"end the chain here, and start another one with '{name}'",
                    )
                return [poison(ref.span)]
        elif by_name:
            wanted, fields = by_name, fields[1:]
        sources = [Source(Endpoint(name, port.name), port.type, ref.span, text, port.span) for port in wanted]
        if not sources:
            self._body.report.add("E0410", ref.span, f"'{name}' has no output")
            return [poison(ref.span)]
        return self._project_fields(sources, ref, fields)

    def _project_fields(self, sources: list[Source], ref: syntax.Ref, fields: tuple[syntax.Name, ...]) -> list[Source]:
        """Return the sources with fields selected, each by a map of its own."""
        if not fields:
            return sources
        out = []
        for source in sources:
            if not record_variants(source.type) and resolve(source.type) != JSON:
                self._body.report.add(
                    "E0414",
                    fields[0].span,
                    f"'{ref.name.full}' has neither an output port nor a field '{fields[0].text}'",
                    notes=[f"its messages are {show(source.type)}"],
                )
                out.append(poison(ref.span))
                continue
            type_ = select_path(source.type, fields, self._body.report)
            select = tuple(field.text for field in fields)
            made = Shape(
                "map",
                (Port("input", source.type),),
                (Port("output", type_),),
                typed.Input(source.type, ref.span),
                select,
            )
            instance = self._body.new(made, ref.span)
            self._body.link(source, Endpoint(instance, "input"), ref.span)
            out.append(Source(Endpoint(instance, "output"), type_, ref.span, source.text, source.declared))
        return out

    def mention(self, ref: syntax.Ref) -> Interface | None:
        """Return the interface of a process that is mentioned, and see to its instance; None if there is none."""
        interface = self._body.interface_of(ref.name)
        if interface is None:
            if ref.port and self._body.local(ref.name.text):
                self._body.report.add("E0203", ref.port.span, f"'{ref.name.text}' is no process, and has no ports")
            return None
        name = ref.name.full
        if name in self._body.spawned:
            self._body.twice(ref.span, name, self._body.spawned[name])
            return None
        self._body.in_chains.setdefault(name, ref.span)
        if name not in self._body.instances:
            self._body.instantiate(name, interface, ref.name.span)
        return interface

    def _start(self, inline: syntax.Inline) -> list[Source]:
        """Return what flows out of an inline morphism at the start of a chain."""
        if inline.kind == "empty":
            return [Source(None, JSON, inline.span, "'empty'", is_empty=True)]
        self._body.report.add(
            "E0501",
            inline.word.span,
            f"nothing feeds this '{inline.kind}': it starts its chain",
            help=f"write what feeds it before it: a ; {inline.kind}{'(...)' if inline.expr else ''}",
        )
        return [poison(inline.span)]

    def pass_through(self, inline: syntax.Inline, feeds: list[list[Source]]) -> list[Source]:
        """Make the instance of an inline morphism, connect what feeds it, and return what flows out of it."""
        ends = [poison(inline.span)] if inline.kind not in ("discard", "empty") else []
        if inline.source is not None and not self._body.local(inline.source.text):
            self._body.interface_of(inline.source)
        everything = [source for feed in feeds for source in feed]
        types = [type_ for feed in feeds if (type_ := joined(feed, inline, self._body.report)) is not None]
        made = None
        if len(types) == len(feeds) and not all(map(is_poison, everything)):
            made = shape(inline, types, self._body.report)
        if made is None:
            for source in everything:
                self._body.mark_read(source)
            return ends
        word = inline.word
        instance = self._body.new(made, inline.span)
        for feed, port in zip(feeds, made.inputs, strict=True):
            for source in feed:
                end = Endpoint(instance, port.name)
                self._body.connect(source, Target(end, port.type, word.span, word.text, port.name))
        text = f"'{word.text}'"
        return [Source(Endpoint(instance, port.name), port.type, inline.span, text) for port in made.outputs]
