"""What the checker makes of a program: every name resolved, every channel typed, positions kept.

The checker builds these; ``fabric.graph`` reads them and nothing else of the language but the typed expressions.
"""

from __future__ import annotations

__all__ = [
    "BOUNDARY",
    "Binary",
    "Binding",
    "Body",
    "Choice",
    "Connection",
    "Done",
    "Endpoint",
    "Exchange",
    "Expr",
    "Index",
    "Input",
    "Instance",
    "Kind",
    "Literal_",
    "MakeList",
    "MakeProduct",
    "MakeRecord",
    "Module",
    "Port",
    "Protocol",
    "Select",
    "State",
    "Unary",
    "Way",
    "Wire",
]

from typing import Any, Literal, TypeAlias

import msgspec

from fabric.lang.source import Source, Sources, Span
from fabric.wire.payload import Type

Kind: TypeAlias = Literal[
    "agent", "python", "worker", "handler",  # run in a process of their own
    "tool",  # called by agents
    "map", "filter", "id", "copy", "merge", "merge_any", "barrier", "project", "discard", "empty",  # morphisms
    "plumb",  # a nested body
    "monitor",  # of a session wire
]  # fmt: skip


# --- Expressions --------------------------------------------------------------------------------------------------
# A tree in which every node knows its type. `Input` is the whole message.


class Literal_(msgspec.Struct, frozen=True, tag="literal", tag_field="kind", gc=False):  # noqa: N801  # Literal is of typing
    """A constant: str, int, float, bool or None."""

    value: Any
    type: Type
    span: Span


class Input(msgspec.Struct, frozen=True, tag="input", tag_field="kind", gc=False):
    """The message itself (``value``, or the record whose field a bare name selects)."""

    type: Type
    span: Span


class Select(msgspec.Struct, frozen=True, tag="select", tag_field="kind", gc=False):
    """A field of a record, of a sum in which some variants have it, or of ``json``."""

    of: Expr
    field: str
    type: Type
    span: Span


class Index(msgspec.Struct, frozen=True, tag="index", tag_field="kind", gc=False):
    """An element of a product, a list or ``json``, counted from 0."""

    of: Expr
    index: int
    type: Type
    span: Span


class MakeRecord(msgspec.Struct, frozen=True, tag="record", tag_field="kind", gc=False):
    """A record constructor; ``type`` is a ``payload.Record`` with the fields in this order."""

    fields: tuple[tuple[str, Expr], ...]
    type: Type
    span: Span


class MakeList(msgspec.Struct, frozen=True, tag="list", tag_field="kind", gc=False):
    """A list constructor."""

    items: tuple[Expr, ...]
    type: Type
    span: Span


class MakeProduct(msgspec.Struct, frozen=True, tag="product", tag_field="kind", gc=False):
    """A tuple constructor, at least two items."""

    items: tuple[Expr, ...]
    type: Type
    span: Span


class Unary(msgspec.Struct, frozen=True, tag="unary", tag_field="kind", gc=False):
    """``!`` on bool, ``-`` on int or number."""

    op: Literal["!", "-"]
    of: Expr
    type: Type
    span: Span


class Binary(msgspec.Struct, frozen=True, tag="binary", tag_field="kind", gc=False):
    """Two operands. ``=`` and ``!=`` compare JSON values; ``&&`` and ``||`` are evaluated from the left and stop early.

    Arithmetic whose ``type`` is ``number`` yields a float; ``+`` on strings concatenates.
    """

    op: Literal["&&", "||", "=", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%"]
    left: Expr
    right: Expr
    type: Type
    span: Span


Expr: TypeAlias = Literal_ | Input | Select | Index | MakeRecord | MakeList | MakeProduct | Unary | Binary


# --- Protocols ----------------------------------------------------------------------------------------------------


class Exchange(msgspec.Struct, frozen=True, tag_field="state", tag=True):
    """A message of ``type`` goes ``there`` (from the left end of the wire to the right one) or ``back``.

    ``then`` is the state after it, as an index into :attr:`Protocol.states`.
    """

    way: Way
    type: Type
    then: int


class Choice(msgspec.Struct, frozen=True, tag_field="state", tag=True):
    """Whoever speaks ``way`` chooses a branch: label and state.

    Attributes:
        told: the labels of the branches that are chosen by ``{"label": ...}``. The others begin with a message that
            goes this way, and are chosen by it.
    """

    way: Way
    branches: tuple[tuple[str, int], ...]
    told: tuple[str, ...] = ()


class Done(msgspec.Struct, frozen=True, tag_field="state", tag=True):
    """Nothing more may be said."""


Way: TypeAlias = Literal["there", "back"]
State: TypeAlias = Exchange | Choice | Done


class Protocol(msgspec.Struct, frozen=True):
    """A declared protocol as an automaton, seen from the end that declares: ``send`` is ``there``. Begins in state 0.

    ``loop`` leads back to the state where its declaration began.

    Attributes:
        name: as the wire, or the declaration, has it.
        rests: states in which a declaration begins: a conversation that stands there is not cut short.
    """

    name: str
    states: tuple[State, ...]
    rests: tuple[int, ...] = (0,)


# --- Bodies -------------------------------------------------------------------------------------------------------


class Port(msgspec.Struct, frozen=True, gc=False):
    """One port and the type of each message on it."""

    name: str
    type: Type


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """A port of an instance, or (instance ``BOUNDARY``) of the body itself."""

    instance: str
    port: str


BOUNDARY = ""


class Wire(msgspec.Struct, frozen=True):
    """What a ``monitor`` looks after. Its inputs are ``left`` and ``right``, its outputs ``to_left`` and ``to_right``.

    Attributes:
        protocol: what the left end runs; the right one runs its dual.
        tags: ways on which messages are wrapped as ``{"__step": N, "payload": message}``.
        swallows: ways on which what comes after the end is dropped instead of refused: acknowledgements of an agent.
        left, right: the processes at its ends, as the program names them.
    """

    protocol: Protocol
    tags: tuple[Way, ...] = ()
    swallows: tuple[Way, ...] = ()
    left: str = ""
    right: str = ""


class Instance(msgspec.Struct, frozen=True, gc=False):
    """A process of a body.

    Attributes:
        name: unique in its body. A named process mentioned in chains has its binding's name; an inline one, a channel
            or a second ``spawn`` gets a name from its kind and line, such as ``filter@12`` (``filter@12.2`` for the
            second).
        binding: the binding that it is an instance of; ``None`` for an inline morphism or a channel (kind ``id``).
        inputs: in order. A main input is called ``input`` on agents, ``input`` or ``input_0`` … on morphisms.
        outputs: in order.
        expr: of ``map`` and ``filter`` (and, for ``filter(e).f``, see ``select``); None otherwise.
        select: fields to descend into after the filter or map, outermost first; the output port's type is the last
            one's.
        index: of ``project``: position in a product or name of a field.
        wire: of a ``monitor``.
    """

    name: str
    kind: Kind
    binding: str | None
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    span: Span
    expr: Expr | None = None
    select: tuple[str, ...] = ()
    index: int | str | None = None
    wire: Wire | None = None


class Connection(msgspec.Struct, frozen=True, gc=False):
    """An edge as written: from a source endpoint to a target endpoint. Fan-out and fan-in are many connections.

    A body input is a source, a body output a target. ``checked`` says that the source's type is only *consistent*
    with the target's (``json`` into something precise), so each message has to be validated against the target's
    type.
    """

    source: Endpoint
    target: Endpoint
    span: Span
    checked: bool = False


class Body(msgspec.Struct, frozen=True):
    """The inside of a ``plumb`` binding. Outputs of instances that no connection mentions are discarded."""

    instances: tuple[Instance, ...]
    connections: tuple[Connection, ...]


class Binding(msgspec.Struct, frozen=True):
    """A named process.

    Attributes:
        name: as declared; of an imported file behind its namespace, as in ``Mem.compact``.
        inputs: port names and types; header names for a ``plumb`` binding.
        outputs: likewise. An agent always also has ``ctrl_out`` and ``telemetry`` (type json) as far as its signature
            admits them, listed after ``output``.
        config: keys and plain JSON values as written, of agent, tool, python, worker and handler; checked, defaults not
            filled in. Names of processes and tools are names of bindings.
        body: of kind ``plumb``.
        expr: of kinds ``map`` and ``filter``, as in :class:`Instance`.
        declared: the ports that the signature names, in its order; an agent may have more.
    """

    name: str
    kind: Kind
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    span: Span
    config: dict[str, Any] = {}
    body: Body | None = None
    expr: Expr | None = None
    select: tuple[str, ...] = ()
    index: int | str | None = None
    declared: tuple[str, ...] = ()


class Module(msgspec.Struct, frozen=True):
    """A checked program.

    Attributes:
        sources: its files; a binding's span tells where it is from.
        types: the declared types by name; not those of imported files.
        protocols: likewise.
        bindings: by name, in the order of the text; behind them those of imported files.
        main: the binding that runs: ``main``, or the only binding there is.
    """

    sources: Sources
    types: dict[str, Type]
    protocols: dict[str, Protocol]
    bindings: dict[str, Binding]
    main: str

    @property
    def source(self) -> Source:
        """The main file."""
        return self.sources.main
