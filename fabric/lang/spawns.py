"""``spawn process(channels)`` to instances and connections."""

from __future__ import annotations

__all__ = ["Spawns"]

import msgspec

from fabric.lang import syntax
from fabric.lang.body import BodyBuilder
from fabric.lang.chains import Chains
from fabric.lang.flow import Source, Target, as_ref, poison
from fabric.lang.morphisms import Shape
from fabric.lang.signature import Interface, PortDecl
from fabric.lang.source import Span
from fabric.lang.typed import BOUNDARY, Endpoint, Port
from fabric.wire.payload import JSON


class Spawns:
    """Wires the spawn statements of one body."""

    def __init__(self, body: BodyBuilder, chains: Chains) -> None:
        self._body = body
        self._chains = chains
        self._empty: list[syntax.Spawn] = []

    def finish(self) -> None:
        """Wire what had to wait until all other statements were wired."""
        for statement in self._empty:
            self._spawn_empty(statement)

    def spawn(self, spawn: syntax.Spawn) -> None:
        """Wire one statement."""
        target = spawn.target
        if isinstance(target, syntax.Inline) and not self._body.is_name(target):
            if target.kind == "empty":
                self._empty.append(spawn)
            else:
                self._spawn_inline(spawn, target)
            return
        ref = as_ref(target)
        if ref.port or ref.fields:
            self._body.report.add("E0504", ref.span, "'spawn' takes the name of a process, without a port or field")
        interface = self._body.interface_of(ref.name)
        if interface is None:
            local = self._body.local(ref.name.text)
            if local:
                self._body.report.add("E0504", ref.span, f"'{ref.name.text}' is {local}, not a process")
            self._poison_arguments(spawn)
            return
        name = ref.name.full
        if name in self._body.in_chains:
            self._body.twice(ref.span, name, self._body.in_chains[name])
        instance = name if name not in self._body.instances else self._body.fresh(name, ref.span)
        self._body.spawned.setdefault(name, ref.span)
        self._body.instantiate(instance, interface, ref.name.span)
        decls = {port.name: port for port in (*interface.inputs, *interface.outputs)}
        is_input = {port.name: True for port in interface.inputs}
        given: dict[str, Span] = {}
        if len(spawn.arguments) > len(interface.positional) and all(a.port is None for a in spawn.arguments):
            self._body.report.add(
                "E0410",
                spawn.span,
                f"'{name}' has {len(interface.positional)} ports, this gives {len(spawn.arguments)}",
                related=[(interface.span, f"'{name}' is declared here")],
                notes=[f"in order: {', '.join(interface.positional)}"],
            )
            self._poison_arguments(spawn)
            self._body.written |= {Endpoint(instance, port.name) for port in interface.inputs}
            return
        for position, argument in enumerate(spawn.arguments):
            port_name = self._argument_port(argument, position, interface, decls)
            if port_name is None:
                self._body.poison_name(argument.channel.text)
                self._body.written |= {Endpoint(instance, port.name) for port in interface.inputs}
                continue
            if port_name in given:
                self._body.report.add(
                    "E0205",
                    argument.span,
                    f"port '{port_name}' is given twice",
                    related=[(given[port_name], "first given here")],
                )
                continue
            given[port_name] = argument.span
            port = decls[port_name]
            if port_name in is_input:
                self._feed_port(argument, self._chains.target(instance, port, ref.span, name))
            else:
                source = Source(Endpoint(instance, port_name), port.type, argument.channel.span, f"'{name}'", port.span)
                self._drain_port(argument, source, port_name)

    def _argument_port(
        self, argument: syntax.Argument, position: int, interface: Interface, decls: dict[str, PortDecl]
    ) -> str | None:
        if argument.port is None:
            if position < len(interface.positional):
                return interface.positional[position]
            self._body.report.add(
                "E0410", argument.span, f"'{interface.name}' has only {len(interface.positional)} ports"
            )
            return None
        name = "ctrl_in" if argument.port.text == "ctrl" else argument.port.text
        if name in decls:
            return name
        self._body.unknown_port(argument.port, interface)
        return None

    def _feed_port(self, argument: syntax.Argument, target: Target) -> None:
        """Connect the channel of an argument to an input."""
        source = self._channel_source(argument.channel)
        if target.endpoint is not None and source is None:
            self._body.written.add(target.endpoint)
        if source is not None:
            self._body.connect(source, target)

    def _channel_source(self, name: syntax.Name) -> Source | None:
        if name.text in self._body.inputs:
            port = self._body.inputs[name.text]
            return Source(Endpoint(BOUNDARY, name.text), port.type, name.span, f"'{name.text}'", port.span)
        if name.text in self._body.channels:
            instance, port = self._body.channels[name.text]
            return Source(Endpoint(instance, "output"), port.type, name.span, f"'{name.text}'", port.span)
        if name.text in self._body.outputs:
            self._body.report.add(
                "E0504", name.span, f"'{name.text}' is an output of this body: nothing can be read from it"
            )
            self._body.poison_name(name.text)
        else:
            self._not_a_channel(name)
        return None

    def _drain_port(self, argument: syntax.Argument, source: Source, port: str) -> None:
        """Connect an output to the channel of an argument."""
        name = argument.channel
        if name.text in self._body.outputs:
            decl = self._body.outputs[name.text]
            what = f"output '{name.text}'"
            self._body.connect(source, Target(Endpoint(BOUNDARY, name.text), decl.type, name.span, "", what, decl.span))
        elif name.text in self._body.channels:
            instance, decl = self._body.channels[name.text]
            what = f"channel '{name.text}'"
            self._body.connect(source, Target(Endpoint(instance, "input"), decl.type, name.span, "", what, decl.span))
        elif name.text in self._body.inputs:
            self._body.report.add(
                "E0504",
                name.span,
                f"'{name.text}' is an input of this body: the output '{port}' cannot be sent to it",
            )
            self._body.poison_name(name.text)
        else:
            self._not_a_channel(name)

    def _not_a_channel(self, name: syntax.Name) -> None:
        if name.text in self._body.scope.interfaces:
            self._body.report.add(
                "E0504",
                name.span,
                f"'{name.text}' is a process, not a channel",
                help="declare a channel: let c : !T = channel",
            )
            return
        self._body.has_unknown_names = True
        candidates = [*self._body.inputs, *self._body.outputs, *self._body.channels]
        self._body.report.add(
            "E0202",
            name.span,
            f"there is no channel or port '{name.text}'",
            help=self._body.report.suggest(name.text, candidates) or f"declare it: let {name.text} : !T = channel",
        )

    def _spawn_inline(self, spawn: syntax.Spawn, inline: syntax.Inline) -> None:
        """Spawn a morphism: its inputs first, then its outputs; named arguments give the same by name."""
        many_in = inline.kind in ("merge", "merge_all", "merge_any", "barrier")
        count = len(spawn.arguments)
        least = 3 if many_in or inline.kind == "copy" else 1 if inline.kind == "discard" else 2
        exact = inline.kind not in ("copy", "merge", "merge_all", "merge_any", "barrier")
        if count < least or (exact and count > least):
            self._body.report.add(
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
                self._body.report.add(
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
            feeds.append([source or poison(argument.span)])
        results = self._chains.pass_through(inline, feeds)
        if inline.kind == "copy" and results and results[0].endpoint is not None:
            results = self._widen_copy(results[0], count - inputs)
        for argument, result in zip(arguments[inputs:], results, strict=False):
            self._drain_port(argument, result, "output")

    def _widen_copy(self, first: Source, outputs: int) -> list[Source]:
        """Give a copy as many outputs as were asked for."""
        assert first.endpoint is not None
        copy = self._body.instances[first.endpoint.instance]
        wide = tuple(Port(f"output_{i}", first.type) for i in range(outputs))
        self._body.instances[copy.name] = msgspec.structs.replace(copy, outputs=wide)
        return [Source(Endpoint(copy.name, port.name), port.type, first.span, first.text) for port in wide]

    def _spawn_empty(self, spawn: syntax.Spawn) -> None:
        """Close a channel at once, or drain it if something else writes to it; by direction of use."""
        for argument in spawn.arguments:
            name = argument.channel
            channel = self._body.channels.get(name.text)
            drains = name.text in self._body.inputs
            if channel is not None:
                drains = Endpoint(channel[0], "input") in self._body.written
            if drains:
                source = self._channel_source(name)
                assert source is not None
                instance = self._body.new(Shape("discard", (Port("input", source.type),), ()), spawn.span)
                self._body.link(source, Endpoint(instance, "input"), spawn.span)
            else:
                self._drain_port(argument, Source(None, JSON, name.span, "'empty'", is_empty=True), "output")

    def _poison_arguments(self, spawn: syntax.Spawn) -> None:
        for argument in spawn.arguments:
            self._body.poison_name(argument.channel.text)


def _numbered(word: str, count: int) -> list[str]:
    return [word] if count == 1 else [f"{word}_{i}" for i in range(count)]
