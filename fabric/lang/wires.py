"""Session wires ``left <-> right : Protocol`` to monitors.

A wire becomes an instance of kind ``monitor`` with four connections: what each end sends goes in, and comes out for
the other end if it is what the protocol has next. An end is a pair of ports of one process, an output that it sends on
and an input that it receives on. Both belong to the wire alone: a message that is copied, or comes from elsewhere, is
not part of the conversation.
"""

from __future__ import annotations

__all__ = ["Wires"]

from collections.abc import Iterator, Sequence

import msgspec

from fabric.lang import syntax
from fabric.lang.automata import LABEL, Declared, Said
from fabric.lang.body import BodyBuilder
from fabric.lang.chains import Chains
from fabric.lang.flow import Source
from fabric.lang.signature import Interface, PortDecl
from fabric.lang.source import Span
from fabric.lang.typed import Endpoint, Instance, Port, Way, Wire
from fabric.lang.types import is_consistent, is_subtype, why_not
from fabric.lang.wire_ends import Pair, Side, end_text, resolve_end
from fabric.wire.payload import INT, JSON, Field, Record, Sum, Type, resolve, show, show_stream

_WAYS: tuple[Way, Way] = ("there", "back")


class _Misfit(msgspec.Struct, frozen=True):
    message: str
    said: Said
    port: PortDecl


class Wires:
    """Wires the session wires of one body."""

    def __init__(self, body: BodyBuilder, chains: Chains) -> None:
        self._body = body
        self._chains = chains
        self._used: dict[Endpoint, syntax.SessionWire] = {}
        self._wired: dict[Endpoint, syntax.SessionWire] = {}  # of these the sound ones

    def wire(self, wire: syntax.SessionWire) -> None:
        """Wire one statement; what is wrong is reported, and its processes count as wired."""
        declared = self._protocol_of(wire)
        left, right = self._pair(wire.left, "left"), self._pair(wire.right, "right")
        if left is not None and right is not None and left.name == right.name:
            self._body.report.add(
                "E0703",
                wire.span,
                f"both ends of this wire are '{left.name}'",
                help="a protocol is between two processes",
            )
        elif declared is not None and left is not None and right is not None and self._claim(wire, left, right):
            tags, misfits = _fit(left, right, declared)
            if not misfits:
                self._connect(wire, left, right, tags, declared)
                return
            self._report_misfits(wire, left, right, declared, misfits)
        self._poison(wire.left)
        self._poison(wire.right)

    def finish(self) -> None:
        """Report what else touches the ports of wires, once all statements are wired."""
        for connection in tuple(self._body.connections.values()):
            source, target = connection.source, connection.target
            if source in self._wired and self._kind(target) != "monitor":
                how = "discarded" if self._kind(target) == "discard" else "copied"
                self._report_shared(source, connection.span, how)
            if target in self._wired and self._kind(source) != "monitor":
                self._report_shared(target, connection.span, "fed twice")

    def _kind(self, endpoint: Endpoint) -> str:
        return self._body.instances[endpoint.instance].kind if endpoint.instance else "boundary"

    # --- ends ---

    def _protocol_of(self, wire: syntax.SessionWire) -> Declared | None:
        if wire.protocol is not None:
            return self._body.scope.protocols.find(wire.protocol)
        ends = f"{end_text(wire.left)} <-> {end_text(wire.right)}"
        known = list(self._body.scope.protocols.declared)
        self._body.report.add(
            "E0707",
            wire.span,
            "this wire names no protocol",
            help=f"write  {ends} : {known[0] if len(known) == 1 else 'Protocol'}",
        )
        return None

    def _pair(self, end: syntax.WireEnd, side: Side) -> Pair | None:
        """Return what an end means, or report that it means nothing."""
        interface = self._process(end)
        if interface is None:
            return None
        found = resolve_end(interface, end, side)
        if isinstance(found, Pair):
            return found
        if found.port is not None:
            self._body.unknown_port(found.port, interface)
        else:
            related = [(interface.span, f"'{interface.name}' is declared here")]
            self._body.report.add("E0707", end.span, found.message, related=related, notes=found.notes, help=found.help)
        return None

    def _process(self, end: syntax.WireEnd) -> Interface | None:
        """Return the process at an end, and see to its instance."""
        name, report = end.name, self._body.report
        local = self._body.local(name.text) if name.module is None else None
        if local:
            report.add(
                "E0707",
                name.span,
                f"'{name.text}' is {local}; a session wire is between two processes",
                help="messages go both ways on a wire: name the process that says and hears them",
            )
            return None
        interface = self._body.scope.interfaces.get(name.full)
        if interface is not None and interface.kind == "tool":
            report.add(
                "E0707",
                name.span,
                f"'{interface.name}' is a tool: agents call it, no messages flow through it",
                related=[(interface.span, "declared here")],
                help=f"give it to an agent: tools: [{interface.name}]",
            )
            return None
        return self._chains.mention(syntax.Ref(name, name.span))

    def _claim(self, wire: syntax.SessionWire, left: Pair, right: Pair) -> bool:
        """Take the four ports for a wire; False if another wire has one of them."""
        free = True
        for pair in (left, right):
            for port in (pair.sends, pair.takes):
                endpoint = Endpoint(pair.name, port.name)
                if endpoint in self._used and free:
                    free = False
                    self._body.report.add(
                        "E0706",
                        pair.span,
                        f"port '{port.name}' of '{pair.name}' is used twice: it is an end of another wire",
                        related=[(self._used[endpoint].span, "of this one")],
                        help="a conversation has two ends; give the process a pair of ports for each",
                    )
                self._used.setdefault(endpoint, wire)
        return free

    def _poison(self, end: syntax.WireEnd) -> None:
        """Count the ports of a process as wired, after a mistake about them."""
        interface = self._body.scope.interfaces.get(end.name.full)
        if interface is not None:
            self._body.written |= {Endpoint(end.name.full, port.name) for port in interface.inputs}
            self._body.read |= {Endpoint(end.name.full, port.name) for port in interface.outputs}
        if end.name.module is None:
            self._body.poison_name(end.name.text)

    # --- what is reported ---

    def _report_misfits(
        self, wire: syntax.SessionWire, left: Pair, right: Pair, declared: Declared, misfits: Sequence[_Misfit]
    ) -> None:
        if self._fits_turned(wire, declared, {misfit.said.way for misfit in misfits}):
            first, name = misfits[0], declared.protocol.name
            self._body.report.add(
                "E0703",
                wire.span,
                f"the ends are the wrong way round: '{right.name}' can run {name}, and '{left.name}' its dual",
                related=[(first.said.span, first.message)],
                help=f"write  {end_text(wire.right)} <-> {end_text(wire.left)} : {name}",
            )
            return
        told: set[PortDecl] = set()
        for misfit in misfits:
            said, port = misfit.said, misfit.port
            if port in told:
                continue
            told.add(port)
            self._body.report.add(
                "E0704",
                wire.span,
                misfit.message,
                related=[(said.span, "said here"), (port.span, f"declared as {show_stream(port.type)}")],
                notes=why_not(said.type, port.type),
                help="this branch is chosen by its label; add  { label: string }  to the types of the port"
                if said.type == LABEL
                else "change the type of the message in the protocol, or that of the port",
            )

    def _fits_turned(self, wire: syntax.SessionWire, declared: Declared, ways: set[Way]) -> bool:
        """Say whether the wire fits the other way round, and not just because ``json`` fits everything."""
        interfaces = self._body.scope.interfaces
        left = resolve_end(interfaces[wire.right.name.full], wire.right, "left")
        right = resolve_end(interfaces[wire.left.name.full], wire.left, "right")
        if not isinstance(left, Pair) or not isinstance(right, Pair) or _fit(left, right, declared)[1]:
            return False
        senders = [left if way == "there" else right for way in ways]
        return all(sender.acknowledges or resolve(sender.sends.type) != JSON for sender in senders)

    def _report_shared(self, endpoint: Endpoint, span: Span, how: str) -> None:
        port = f"'{endpoint.instance}@{endpoint.port}'"
        message = {
            "copied": f"what {port} sends is copied: it is also read here",
            "discarded": f"what {port} sends is discarded here, and the other end of its wire waits for it",
            "fed twice": f"{port} is fed twice: by its wire, and here",
        }[how]
        self._body.report.add(
            "E0706",
            span,
            message,
            related=[(self._wired[endpoint].span, "its wire")],
            help=f"the ports of a wire belong to it alone; name the port that is meant: {endpoint.instance}@port",
        )

    # --- the monitor ---

    def _connect(
        self, wire: syntax.SessionWire, left: Pair, right: Pair, tags: tuple[Way, ...], declared: Declared
    ) -> None:
        for pair in (left, right):
            self._wired |= {Endpoint(pair.name, port.name): wire for port in (pair.sends, pair.takes)}
        watched = Wire(declared.protocol, tags, _swallows(left, right), left.name, right.name)
        monitor = self._body.fresh(declared.protocol.name, wire.span)
        to_right, right_checked = _delivered(declared, "there", right, watched)
        to_left, left_checked = _delivered(declared, "back", left, watched)
        self._body.instances[monitor] = Instance(
            monitor,
            "monitor",
            None,
            (Port("left", left.sends.type), Port("right", right.sends.type)),
            (Port("to_left", to_left), Port("to_right", to_right)),
            wire.span,
            wire=watched,
        )
        self._link(Endpoint(left.name, left.sends.name), Endpoint(monitor, "left"), left)
        self._link(Endpoint(right.name, right.sends.name), Endpoint(monitor, "right"), right)
        self._link(Endpoint(monitor, "to_left"), Endpoint(left.name, left.takes.name), left, checked=left_checked)
        self._link(Endpoint(monitor, "to_right"), Endpoint(right.name, right.takes.name), right, checked=right_checked)

    def _link(self, source: Endpoint, target: Endpoint, pair: Pair, *, checked: bool = False) -> None:
        self._body.link(Source(source, JSON, pair.span, ""), target, pair.span, checked=checked)


# --- Types --------------------------------------------------------------------------------------------------------


def _tagged(type_: Type) -> Type:
    return Record((Field("__step", INT), Field("payload", type_)))


def _swallows(left: Pair, right: Pair) -> tuple[Way, ...]:
    ends: tuple[tuple[Way, Pair], ...] = (("there", left), ("back", right))
    return tuple(way for way, sender in ends if sender.acknowledges)


def _fit(left: Pair, right: Pair, declared: Declared) -> tuple[tuple[Way, ...], list[_Misfit]]:
    """Return the ways on which messages are tagged, and which messages do not fit the ports."""
    tags: list[Way] = []
    misfits: list[_Misfit] = []
    for way in _WAYS:
        sender, receiver = (left, right) if way == "there" else (right, left)
        messages = [said for said in declared.messages if said.way == way]
        asked = bool(messages) and sender.acknowledges and not receiver.acknowledges
        if asked and _wants_tags(messages, receiver.takes.type):
            tags.append(way)
        misfits += _misfits(messages, sender, receiver, tagged=way in tags)
    return tuple(tags), misfits


def _wants_tags(messages: Sequence[Said], type_: Type) -> bool:
    """Say whether the reader of a control pair takes messages with their step; if either would do, it does."""
    if all(is_subtype(_tagged(said.type), type_) for said in messages):
        return True
    if all(is_subtype(said.type, type_) for said in messages):
        return False
    return all(is_consistent(_tagged(said.type), type_) for said in messages)


def _misfits(messages: Sequence[Said], sender: Pair, receiver: Pair, *, tagged: bool) -> Iterator[_Misfit]:
    for said in messages:
        if not _can_give(sender.sends.type, said.type):
            gives = show_stream(sender.sends.type)
            message = f"'{sender.name}' cannot send {show(said.type)}: its port '{sender.sends.name}' gives {gives}"
            yield _Misfit(message, said, sender.sends)
        if not is_consistent(_tagged(said.type) if tagged else said.type, receiver.takes.type):
            takes = show_stream(receiver.takes.type)
            message = f"'{receiver.name}' cannot take {show(said.type)}: its port '{receiver.takes.name}' takes {takes}"
            yield _Misfit(message, said, receiver.takes)


def _can_give(port: Type, message: Type) -> bool:
    """Say whether some message of a port may be of this type."""
    inner = resolve(port)
    variants = inner.variants if isinstance(inner, Sum) else (port,)
    return any(is_consistent(variant, message) or is_consistent(message, variant) for variant in variants)


def _delivered(declared: Declared, way: Way, receiver: Pair, wire: Wire) -> tuple[Type, bool]:
    """Return the type of what the monitor gives an end, and whether each message has to be looked at."""
    tagged = way in wire.tags
    types = [_tagged(said.type) if tagged else said.type for said in declared.messages if said.way == way]
    fits = all(is_subtype(type_, receiver.takes.type) for type_ in types)
    return (receiver.takes.type, False) if fits else (JSON, True)
