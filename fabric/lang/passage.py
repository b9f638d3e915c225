"""How messages get through one process: from which of its inputs to which of its outputs, and whether certainly."""

from __future__ import annotations

__all__ = ["Way", "Ways", "may_halt", "ways_of"]

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from fabric.lang.typed import Instance
from fabric.wire.payload import JSON, Record, Sum, Type, resolve


class Way(msgspec.Struct, frozen=True):
    """How messages come to one output of a process. The sets are names of inputs.

    Attributes:
        stirs: their messages may bring about one here, be they data or control.
        leads: their messages may lead to one here; a control message leads to no more than its reply.
        needs: each of these has to get messages, or none comes out.
        certain: each message on one of these makes at least one here.
        source: some come out even if none goes in, as far as is known.
    """

    stirs: frozenset[str] = frozenset()
    leads: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    certain: frozenset[str] = frozenset()
    source: bool = False


Ways: TypeAlias = Mapping[str, Way]
"""The way to each output, by its name."""

_INPUT = frozenset({"input"})
_LEFT, _RIGHT = frozenset({"left"}), frozenset({"right"})
_NONE: frozenset[str] = frozenset()

_ALWAYS = frozenset({"map", "id", "copy", "project", "merge"})
"""Kinds that make a message, or one on each output, of every message."""


def ways_of(instance: Instance, bodies: Mapping[str, Ways], *, reticent: bool) -> Ways:
    """Return how messages come to the outputs of a process.

    Args:
        instance: the process.
        bodies: what is known of nested bodies, by binding. Of one that is missing anything may be expected.
        reticent: of an agent: it may leave a message without an answer.
    """
    inputs = frozenset([port.name for port in instance.inputs])
    match instance.kind:
        case "agent" | "worker" as kind:  # what is sent on output has to be an answer, on the side ports it need not
            told = inputs - _INPUT
            replies = Way(told, told, source=kind == "worker")
            remarks = Way(inputs, _INPUT, source=True)  # the first thing that an agent says is its configuration
            answers = Way(_INPUT, _INPUT, certain=_INPUT if kind == "agent" and not reticent else _NONE)
            return {"output": answers, "ctrl_out": replies, "telemetry": remarks}
        case "plumb" if instance.binding is not None and instance.binding in bodies:
            return bodies[instance.binding]
        case "barrier":
            way = Way(inputs, inputs, inputs)
        case "empty" | "discard" | "tool":
            way = Way()
        case "monitor":
            return {"to_right": Way(_LEFT, _LEFT), "to_left": Way(_RIGHT, _RIGHT)}
        case "plumb":  # what is wrong inside is not known
            way = Way(inputs, inputs, source=True)
        case kind:
            way = Way(inputs, inputs, certain=inputs if kind in _ALWAYS else _NONE)
    return {port.name: way for port in instance.outputs}


def may_halt(control: Type) -> bool:
    """Whether control messages of this type may tell an agent to stop, or to pause."""
    match resolve(control):
        case Record(fields):
            return any(field.name in ("stop", "pause") for field in fields)
        case Sum(variants):
            return any(map(may_halt, variants))
        case other:
            return other == JSON
