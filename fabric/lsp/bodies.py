"""What the words of a body mean, and what flows between them."""

from __future__ import annotations

__all__ = ["Inside", "flows_of", "inside_of"]

from collections.abc import Mapping, Sequence

import msgspec

from fabric.lang import syntax, typed
from fabric.lang.signature import Interface, PortDecl
from fabric.lang.source import Span
from fabric.lang.typed import BOUNDARY
from fabric.wire.payload import JSON, Type, show_stream

FLOWS_MAX = 6
"""Neighbours that are named; a process may have hundreds."""


class Inside(msgspec.Struct, frozen=True):
    """What the words of a body mean. ``channels``: type and declaration; ``made``: instances by where they stand."""

    interface: Interface | None
    ports: Mapping[str, tuple[str, PortDecl, Span]]
    channels: Mapping[str, tuple[Type, Span]]
    made: Mapping[Span, typed.Instance]
    body: typed.Body | None


def inside_of(
    interface: Interface | None,
    header: Sequence[syntax.Name],
    statements: Sequence[syntax.Statement],
    binding: typed.Binding | None,
) -> Inside:
    """Return what the words mean in a body with this header and these statements; a chain has none of both."""
    names = {name.text: name.span for name in header}
    sides = (("input", interface.inputs), ("output", interface.outputs)) if interface else ()
    ports = {port.name: (word, port, names[port.name]) for word, side in sides for port in side if port.name in names}
    body = binding.body if binding is not None else None
    made = {instance.span: instance for instance in body.instances} if body is not None else {}
    channels = {
        statement.name.text: (made[statement.name.span].outputs[0].type, statement.name.span)
        for statement in statements
        if isinstance(statement, syntax.ChannelDecl) and statement.name.span in made
    }
    return Inside(interface, ports, channels, made, body)


def flows_of(inside: Inside, body: typed.Body, instance: str) -> str:
    """Say what comes to a process and what goes out of it in a body."""
    own = inside.interface.inputs if inside.interface else ()
    given = {(BOUNDARY, port.name): port.type for port in own}
    given |= {(each.name, port.name): port.type for each in body.instances for port in each.outputs}
    channels = {inside.made[span].name: name for name, (_, span) in inside.channels.items()}
    lines: dict[str, None] = {}
    for connection in body.connections:
        source, target = connection.source, connection.target
        if instance not in (source.instance, target.instance):
            continue
        type_ = given.get((source.instance, source.port), JSON)
        verb, join_word, other = ("gets", "from", source) if target.instance == instance else ("gives", "to", target)
        name = other.port if other.instance == BOUNDARY else channels.get(other.instance, other.instance)
        lines[f"{verb} `{show_stream(type_)}` {join_word} `{name}`  "] = None
    shown = list(lines)[:FLOWS_MAX]
    return "\n".join([*shown, *(["…"] if len(lines) > FLOWS_MAX else [])])
