"""The implementation of a binding to a body: the statements of a ``plumb``, or a chain."""

from __future__ import annotations

__all__ = ["Wired", "wire_body", "wire_chain"]

import msgspec

from fabric.lang import syntax
from fabric.lang.body import BodyBuilder, Scope
from fabric.lang.chains import Chains
from fabric.lang.diagnostic import Report
from fabric.lang.flow import Source, Target, words
from fabric.lang.loose_ends import report_loose_ends, report_unfed_cycles
from fabric.lang.signature import Interface
from fabric.lang.source import Span
from fabric.lang.spawns import Spawns
from fabric.lang.typed import BOUNDARY, Body, Endpoint


class Wired(msgspec.Struct, frozen=True):
    """A body, and the bindings that it has instances of, each with the first mention."""

    body: Body
    uses: dict[str, Span]

    def statements(self, statements: tuple[syntax.Statement, ...]) -> None:
        for statement in statements:
            if isinstance(statement, syntax.ChannelDecl):
                self._body.declare_channel(statement)
        for statement in statements:
            match statement:
                case syntax.Chain():
                    self._statement_chain(statement)
                case syntax.Spawn():
                    self._spawn(statement)
                case syntax.SessionWire(span=span):
                    self._body.report.add(
                        "E0904",
                        span,
                        "session wires '<->' are not supported yet by this version",
                        help="wire the control ports by chains: a ; b@ctrl_in",
                    )
        for spawn in self._empty_spawns:
            self._spawn_empty(spawn)

    def _statement_chain(self, chain: syntax.Chain) -> None:
        if len(chain.elements) == 1 and not isinstance(chain.elements[0], syntax.Group):
            self._body.report.add(
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
            Source(Endpoint(BOUNDARY, port.name), port.type, chain.span, "the input", port.span)
            for port in self._body.interface.inputs
        ]
        targets = [
            Target(Endpoint(BOUNDARY, port.name), port.type, chain.span, "", "the output", port.span)
            for port in self._body.interface.outputs
        ]
        first = chain.elements[0]
        feeds = self._deal(sources, self._arity(first, len(sources)), chain.span, "the signature", words(first))
        results = self._chain(chain.elements, feeds, ends=False)
        last = words(chain.elements[-1])
        for target, feed in zip(
            targets, self._deal(results, len(targets), chain.elements[-1].span, last, "the signature"), strict=True
        ):
            for source in feed:
                self._body.connect(source, target)

    def poison(self, element: syntax.Element) -> None:
        """Count everything that a useless statement mentions as wired."""
        if isinstance(element, syntax.Ref):
            self._body.poison_name(element.name.text)
            if not self._body.local(element.name.text):
                self._body.interface_of(element.name)
