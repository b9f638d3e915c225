"""The implementation of a binding to a body: the statements of a ``plumb``, or a chain."""

from __future__ import annotations

__all__ = ["Wired", "wire_body", "wire_chain"]

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from fabric.lang import syntax
from fabric.lang.body import BodyBuilder, Scope
from fabric.lang.chains import Chains
from fabric.lang.diagnostic import Report
from fabric.lang.flow import Source, Target, words
from fabric.lang.loose_ends import report_loose_ends
from fabric.lang.signature import Interface
from fabric.lang.source import Span
from fabric.lang.spawns import Spawns
from fabric.lang.typed import BOUNDARY, Body, Endpoint
from fabric.lang.wires import Wires


class Wired(msgspec.Struct, frozen=True):
    """A body.

    Attributes:
        uses: the bindings that it has instances of, each with the first mention.
        channels: the names of those instances that are channels.
        is_whole: every connection that was written is there; what is missing was not written.
    """

    body: Body
    uses: dict[str, Span]
    channels: dict[str, str]
    is_whole: bool


def wire_body(impl: syntax.PlumbImpl, interface: Interface, scope: Scope, report: Report) -> Wired:
    """Return the inside of a ``plumb`` binding."""
    errors = report.error_count
    body = BodyBuilder(interface, scope, report, by_name=True)
    chains = Chains(body)
    spawns = Spawns(body, chains)
    wires = Wires(body, chains)
    for statement in impl.statements:  # first, since the order of statements does not matter
        if isinstance(statement, syntax.ChannelDecl):
            body.declare_channel(statement)
    _note_run_ons(impl.statements, body)
    for statement in impl.statements:
        match statement:
            case syntax.Chain():
                _wire_statement(statement, body, chains)
            case syntax.Spawn():
                spawns.spawn(statement)
            case syntax.SessionWire():
                wires.wire(statement)
    spawns.finish()
    wires.finish()
    return _finish(body, errors, complete=interface.is_sound and not impl.damaged)


def _note_run_ons(statements: Sequence[syntax.Statement], body: BodyBuilder) -> None:
    """Note chains that stand in one line without anything between them, which is allowed, and seldom meant."""
    for before, behind in pairwise(statements):
        if not isinstance(before, syntax.Chain) or not isinstance(behind, syntax.Chain):
            continue
        if body.report.line(before.span) == body.report.line(behind.span):
            last, first = (words(element).strip("'") for element in (before.elements[-1], behind.elements[0]))
            hint = f"is a ';' missing?  {last} ; {first}"
            if before.span.end == behind.span.start and isinstance(behind.elements[0], syntax.Group):
                hint = f"processes are not called, they are joined by ';':  a ; {last} ; b"
            body.runs_on[behind.span.start] = hint
            if len(before.elements) == 1:
                body.runs_on[before.span.start] = hint
                body.excused.add(behind.span.start)


def _wire_statement(chain: syntax.Chain, body: BodyBuilder, chains: Chains) -> None:
    only = chain.elements[0]
    if len(chain.elements) > 1 or isinstance(only, syntax.Group):
        chains.walk(chain.elements, None, ends=True)
        return
    body.report.add(
        "E0504",
        chain.span,
        "this statement wires nothing",
        help=body.runs_on.get(chain.span.start, "a chain has at least two elements: a ; b"),
    )
    if isinstance(only, syntax.Ref):
        body.poison_name(only.name.text)
        if not body.local(only.name.text):
            body.interface_of(only.name)


def wire_chain(chain: syntax.Chain, interface: Interface, scope: Scope, report: Report) -> Wired:
    """Return the inside of a binding whose implementation is a chain: fed by its inputs, read by its outputs."""
    errors = report.error_count
    body = BodyBuilder(interface, scope, report, by_name=False)
    chains = Chains(body)
    first, last = chain.elements[0], chain.elements[-1]
    sources = [
        Source(Endpoint(BOUNDARY, port.name), port.type, first.span, "the signature", port.span)
        for port in interface.inputs
    ]
    feeds = chains.deal(sources, chains.arity(first, len(sources)), first.span, "the signature", words(first))
    results = chains.walk(chain.elements, feeds, ends=False)
    dealt = chains.deal(results, len(interface.outputs), last.span, words(last), "the signature")
    for port, feed in zip(interface.outputs, dealt, strict=True):
        for source in feed:
            end = Endpoint(BOUNDARY, port.name)
            body.connect(source, Target(end, port.type, last.span, "", f"output of '{interface.name}'", port.span))
    return _finish(body, errors, complete=interface.is_sound)


def _finish(body: BodyBuilder, errors: int, *, complete: bool) -> Wired:
    """Return the body.

    Args:
        body: all its statements are wired.
        errors: how many there were before.
        complete: it was read whole, so that what is missing can be reported.
    """
    is_whole = complete and body.report.error_count == errors
    if complete and not body.has_unknown_names:
        report_loose_ends(body)
    channels = {instance: name for name, (instance, _) in body.channels.items()}
    return Wired(body.finish(), body.uses, channels, is_whole)
