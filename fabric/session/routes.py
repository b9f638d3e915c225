"""The routes of a plan as a session takes them, and the places where they end.

Who looks at a place (``fabric tail``) is put around what puts messages there, so a place that nobody looks at costs
nothing.
"""

from __future__ import annotations

__all__ = ["CompiledRoute", "Ends", "Put", "observed_sources", "passing_through", "repeating_sinks", "sinks_behind"]

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeAlias

from fabric.graph.ir import MONITORED, End
from fabric.plan.plan import Emit, Plan, Route, Step, sinks_of
from fabric.session.delivery import Message
from fabric.session.morphisms import compile_route

Put: TypeAlias = Callable[[Message], None]
"""Puts a message where its route ends."""


class CompiledRoute:
    """A route and its function; ``taken`` counts the messages that took it."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self.taken = 0
        self.take = compile_route(route)


class Ends:
    """Where routes end, by the index of the sink in the plan.

    Args:
        puts: one for each sink.

    Attributes:
        put: the same, but those that are looked at show what comes first.
        arrived: how many messages came; ``size_bytes``: of them. Who puts one counts it.
    """

    def __init__(self, puts: Iterable[Put]) -> None:
        self._plain = tuple(puts)
        self.put = list(self._plain)
        self.arrived = [0] * len(self._plain)
        self.size_bytes = [0] * len(self._plain)

    def tap(self, tapped: frozenset[int], show: Callable[[int, Message], None]) -> None:
        """Show what comes to these sinks, and to no others."""
        for index, put in enumerate(self._plain):
            self.put[index] = partial(_show_and_put, show, index, put) if index in tapped else put


def _show_and_put(show: Callable[[int, Message], None], index: int, put: Put, message: Message) -> None:
    show(index, message)
    put(message)


def passing_through(plan: Plan, tapped: frozenset[int] = frozenset()) -> frozenset[str]:
    """Return the inputs whose messages leave at once, seen by nobody on their way."""
    leaves = {index for index, sink in enumerate(plan.sinks) if sink.kind == "output"} - tapped
    steps = {route.source: route.steps for route in plan.routes}
    inputs = plan.inputs.items()
    return frozenset(port for port, node in inputs if leaves.issuperset(sinks_of(steps[End(node, port)])))


def observed_sources(plan: Plan) -> frozenset[End]:
    """Return the ports that somebody only looks at."""
    extras = {index for index, sink in enumerate(plan.sinks) if sink.end.node in plan.extras}
    return frozenset(route.source for route in plan.routes if not extras.isdisjoint(sinks_of(route.steps)))


def repeating_sinks(plan: Plan) -> frozenset[int]:
    """Return where a message comes a second time to a worker or a barrier that it reaches on another way, too.

    There it has to be another message, with an id of its own: by its id a worker tells a message that is delivered once
    more from one that it has not done yet.
    """
    steps = {route.source: route.steps for route in plan.routes}

    def places(index: int, passed: frozenset[int]) -> frozenset[End]:
        """Return the ends to which a message goes on from a sink, with nothing in between that makes another of it."""
        sink = plan.sinks[index]
        if index in passed or sink.kind in ("output", "result"):
            return frozenset()
        onward = sink.end
        if sink.kind == "monitor":
            onward = End(sink.end.node, MONITORED[sink.end.port].output)
        elif sink.kind != "merge":
            return frozenset([sink.end])
        return frozenset(end for other in sinks_of(steps[onward]) for end in places(other, passed | {index}))

    repeating = set[int]()
    for route in plan.routes:
        reached: frozenset[End] = frozenset()
        for index in sinks_of(route.steps):
            found = places(index, frozenset())
            if not reached.isdisjoint(found):
                repeating.add(index)
            reached |= found
    return frozenset(repeating)


def sinks_behind(route: Route, node: str) -> frozenset[int]:
    """Return where a message may have gone that a node on a route refused; all sinks if that is its source."""
    if node == route.source.node:
        return frozenset(sinks_of(route.steps))
    return frozenset(sink for step in _steps_at(route.steps, node) for sink in sinks_of(step))


def _steps_at(steps: tuple[Step, ...], node: str) -> Iterator[tuple[Step, ...]]:
    for step in steps:
        if isinstance(step, Emit):
            continue
        if step.node == node:
            yield (step,)
        else:
            yield from _steps_at(step.then, node)
