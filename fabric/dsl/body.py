"""The inside of a process that is made of others."""

from __future__ import annotations

__all__ = ["PlumbBody", "WireEnd"]

import re
from typing import Self

from fabric.dsl.elements import Element, PortRef, chain_of, element_of
from fabric.dsl.names import name_at, qname_at
from fabric.dsl.origin import Immutable, Origin, fill, here
from fabric.dsl.printing import Printer
from fabric.dsl.raw import Raw, nodes_of
from fabric.dsl.types import stream_of
from fabric.errors import ConfigError
from fabric.lang import syntax
from fabric.wire import payload

_WIRE_END = re.compile(r"(?P<name>[\w.]+)(@(?P<port>\w+)|@\((?P<ports>[\w\s,]*)\))?", re.ASCII)


class WireEnd(Immutable):
    """One side of a session wire: ``p``, ``p@ctrl``, ``p@(asks, answers)``."""

    __slots__ = ("node",)

    node: syntax.WireEnd

    def __init__(self, process: str, *ports: str) -> None:
        at = here()
        names = tuple(name_at(port, "the name of a port", at) for port in ports)
        fill(self, node=syntax.WireEnd(qname_at(process, "the name of a process", at), names, at))

    def __repr__(self) -> str:
        ports = "".join(f", {port.text!r}" for port in self.node.ports)
        return f"WireEnd({self.node.name.full!r}{ports})"


class PlumbBody:
    """``plumb(input, output) { ... }``: ports, and statements that are added one by one.

    Args:
        header: the names of its ports, inputs first.
    """

    def __init__(self, *header: str) -> None:
        self._origin = here()
        self._header = tuple(name_at(port, "the name of a port", self._origin) for port in header)
        self._statements: list[syntax.Statement] = []
        self._classes: dict[payload.Alias, Origin] = {}

    def wire(self, *elements: object) -> Self:
        """Add a chain: names of processes, of channels and of ports, ``p@port``, ``p.field``, and elements."""
        (first, *others) = elements or (None,)
        if first is None:
            raise ConfigError("a chain has at least one element, got none")
        self._statements.append(chain_of((first, *others)).chain)
        return self

    def raw(self, text: str) -> Self:
        """Add statements as text.

        Raises:
            CheckError: they cannot be read.
        """
        self._statements += nodes_of(Raw(text), "statement")
        return self

    def channel(self, name: str, of: object) -> Self:
        """Declare a channel: ``let name : !T = channel``."""
        at = here()
        type_ = stream_of(of)
        self._statements.append(syntax.ChannelDecl(name_at(name, "the name of a channel", at), type_.node, at))
        self._classes |= {alias: self._classes.get(alias, at) for alias in type_.classes}
        return self

    def spawn(self, target: object, /, *channels: str | tuple[str, str], **ports: str) -> Self:
        """Make a new process: ``spawn p(a, port=b)``.

        Args:
            target: the process, or an element such as ``COPY``.
            channels: in the order of its signature; a pair is a port and what is put on it.
            ports: what is put on ports, by their names.
        """
        at = here()
        (element, *more) = element_of(target).chain.elements
        if more or isinstance(element, syntax.Group):
            raise ConfigError(f"one process is spawned at a time, got {target!r}")
        if isinstance(element, syntax.Ref) and element.name.full in ("map", "filter", "project", "mux"):
            raise ConfigError(f"'{element.name.text}' cannot be spawned by its name: write Map(...), Filter(...) …")
        given = [*channels, *ports.items()]
        pairs = ((None, one) if isinstance(one, str) else one for one in given)
        arguments = tuple(_argument(port, channel, at) for port, channel in pairs)
        self._statements.append(syntax.Spawn(element, arguments, at))
        return self

    def session(
        self, left: str | PortRef | WireEnd, right: str | PortRef | WireEnd, protocol: str | None = None
    ) -> Self:
        """Bind two processes to a protocol: ``left <-> right : protocol``.

        Args:
            left, right: a process, ``"p@ctrl"``, ``"p@(asks, answers)"``, or a :class:`WireEnd`.
        """
        at = here()
        named = None if protocol is None else qname_at(protocol, "the name of a protocol", at)
        self._statements.append(syntax.SessionWire(_end(left), _end(right), named, at))
        return self

    @property
    def node(self) -> syntax.PlumbImpl:
        """What the parser would make of it, as it is now."""
        return syntax.PlumbImpl(self._header, tuple(self._statements), self._origin)

    @property
    def classes(self) -> dict[payload.Alias, Origin]:
        """The types of Python classes that its channels have, and where."""
        return self._classes

    def __repr__(self) -> str:
        return f"<PlumbBody {Printer().implementation(self.node)}>"


def _argument(port: str | None, channel: object, at: Origin) -> syntax.Argument:
    named = None if port is None else name_at(port, "the name of a port", at)
    if isinstance(channel, Element):
        channel = Printer().chain(channel.chain)
    return syntax.Argument(named, name_at(channel, "the name of a channel", at), at)


def _end(given: str | PortRef | WireEnd) -> syntax.WireEnd:
    if isinstance(given, WireEnd):
        return given.node
    text = Printer().chain(given.chain) if isinstance(given, PortRef) else given
    found = _WIRE_END.fullmatch(text)
    if found is None:
        raise ConfigError(f"{text!r} is no side of a session wire: write 'p', 'p@ctrl' or 'p@(asks, answers)'")
    ports = [found["port"]] if found["port"] else [port.strip() for port in (found["ports"] or "").split(",")]
    return WireEnd(found["name"], *(port for port in ports if port)).node
