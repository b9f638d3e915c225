"""The wiring graph as data."""

from __future__ import annotations

__all__ = ["MONITORED", "SERVER", "WORKERS", "Call", "Channel", "End", "Graph", "Kind", "Monitored", "Node", "Port"]

from typing import Literal, NamedTuple, TypeAlias

import msgspec

from fabric.lang.source import Span
from fabric.lang.typed import Expr, Port, Way, Wire
from fabric.wire.payload import Type

Kind: TypeAlias = Literal[
    "input", "output",  # a port of the whole graph
    "agent", "python", "worker", "handler",  # a process
    "monitor",  # of a session wire
    "call", "result",  # where calls of a tool come in, and where what comes of them goes
    "map", "filter", "project", "id", "copy", "merge", "merge_all", "merge_any", "barrier", "discard", "empty",
]  # fmt: skip

SERVER = "mcp:"
"""What a server's name begins with among the calls."""

WORKERS: frozenset[Kind] = frozenset({"agent", "python", "worker", "handler"})
"""Kinds that run in a process of their own."""


class Monitored(NamedTuple):
    """Where what comes to an input of a monitor goes: the way through the wire, and the output."""

    way: Way
    output: str


MONITORED = {"left": Monitored("there", "to_right"), "right": Monitored("back", "to_left")}
"""The inputs of a ``monitor``."""


class End(msgspec.Struct, frozen=True, order=True, gc=False):
    """A port of a node."""

    node: str
    port: str


class Call(msgspec.Struct, frozen=True, gc=False):
    """Something that an agent or a program on the wire may call.

    Attributes:
        name: of the tool, or ``mcp:NAME`` for a server, whose tools are its own.
        builtin: what the tool is made of, if it is something that the fabric itself can do, such as ``fs.read``.
        through: tools made of processes by way of which it is called, the caller's own first.
        opaque: a program of its own is run: it is a server, or made of a python function.
    """

    name: str
    builtin: str = ""
    through: tuple[str, ...] = ()
    opaque: bool = False


class Node(msgspec.Struct, frozen=True, gc=False):
    """A process of the flat graph.

    Attributes:
        id: unique; nested bodies prefix theirs, as in ``review.judge``.
        inputs, outputs: an ``input`` has one output and an ``output`` one input, under the name of the boundary's port.
        binding: name of the binding that a worker is an instance of.
        runs: of a worker: what runs it, in the words of its configuration, such as ``eliza/doctor`` or ``tally:count``.
        expr, select, index: as in ``lang.typed.Instance``.
        span: where the program wrote it; None for a node that a pass made.
        wire: as in ``lang.typed.Instance``, its ends prefixed as ids are.
        calls: of an agent or a worker: all that it may call.
        tool: the tool that it is a part of. Only the parts of one tool are wired to each other.
        extra: of an output that the program does not have: the name of the ports that are observed there.
    """

    id: str
    kind: Kind
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    binding: str | None = None
    expr: Expr | None = None
    select: tuple[str, ...] = ()
    index: int | str | None = None
    span: Span | None = None
    runs: str = ""
    wire: Wire | None = None
    calls: tuple[Call, ...] = ()
    extra: str = ""
    tool: str = ""

    @property
    def tools(self) -> tuple[str, ...]:
        """The tools that it may call itself."""
        return tuple(call.name for call in self.calls if not (call.through or call.name.startswith(SERVER)))


class Channel(msgspec.Struct, frozen=True, gc=False):
    """An edge.

    Attributes:
        source: an output port.
        target: an input port.
        type: of each message, as the source declares it.
        check: the target's type where the source's is only consistent with it (``json``), so that messages are
            validated.
    """

    source: End
    target: End
    type: Type
    check: Type | None = None


class Graph(msgspec.Struct, frozen=True):
    """A wiring graph. After the passes every port of every node has exactly one channel.

    Attributes:
        name: of the program's file, without its suffix.
        nodes: by id, in the order of the program.
        channels: in the order of the program.
    """

    name: str
    nodes: dict[str, Node]
    channels: tuple[Channel, ...]
