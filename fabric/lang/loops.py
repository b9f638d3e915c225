"""Loops that messages enter: those that never drain, and those that nothing ever leaves.

A loop never drains if each message on it certainly makes another one on it: every process of some way round answers
every message, and nothing on that way can drop one. A barrier on it drops none if what it gives comes back to all of
its sides. Such a program cannot end, whatever comes in.
"""

from __future__ import annotations

__all__ = ["report_endless_loops", "report_loops_without_exit"]

from collections.abc import Iterator, Mapping

from fabric.lang.diagnostic import Report
from fabric.lang.feeding import RELATED_MAX
from fabric.lang.net import Net
from fabric.lang.ordering import strongly_connected
from fabric.lang.paths import instances_on, path_of, shortest_cycle
from fabric.lang.typed import Instance

BARRIERS_MAX = 100
"""Barriers of a loop from which it is followed."""

_PASSES_ON = {
    "agent": "answers every message",
    "plumb": "every message leads through it",
    "copy": "passes every message on",
    "id": "passes every message on",
    "merge": "passes every message on",
    "barrier": "what it gives comes back to all its sides",
}


def report_endless_loops(net: Net, silent: frozenset[int], names: Mapping[str, str], report: Report) -> None:
    """Report loops on which every message certainly makes another one; arguments as in ``feeding``."""
    for inside, successors in _certain_loops(net, silent):
        start = min(inside, key=lambda n: (_instance(net, n).span.start, n))
        first, *others = instances_on(net, shortest_cycle(start, successors, inside))
        agents = [instance.name for instance in (first, *others) if instance.kind == "agent"]
        limit = f", or max_messages on '{agents[0]}'" if agents else ""
        again = [] if others else [f"'{names.get(first.name, first.name)}' is one process, however often it is named"]
        second = "" if others else "; for a second process of the kind use spawn"
        report.add(
            "E0509",
            first.span,
            f"the loop {path_of([first, *others, first], names)} never ends: each message on it makes another one",
            label=_PASSES_ON.get(first.kind, "gives a message for each that comes"),
            related=[
                (other.span, _PASSES_ON.get(other.kind, "gives a message for each that comes"))
                for other in others[:RELATED_MAX]
                if other.span != first.span
            ],
            notes=again,
            help=f"put a filter on the way back{limit}{second}",
        )


def _certain_loops(net: Net, silent: frozenset[int]) -> Iterator[tuple[set[int], dict[int, list[int]]]]:
    """Yield the ports of each loop, and what certainly follows on what."""
    for part in net.loops():
        certain: dict[int, list[int]] = {n: [] for n in part if n not in silent}
        for n in certain:
            if n in net.ways:
                ports = net.inputs[net.ends[n].instance]
                before = [ports[name] for name in net.ways[n].certain]
            else:
                before = [source for source, connection in net.feeders[n] if not connection.checked]
            for source in before:
                if source in certain:
                    certain[source].append(n)
        found = [set(loop) for loop in strongly_connected(certain, certain) if len(loop) > 1]
        yield from ((loop, certain) for loop in found)
        if not found:
            yield from _barrier_loops(net, certain)


def _barrier_loops(net: Net, certain: Mapping[int, list[int]]) -> Iterator[tuple[set[int], dict[int, list[int]]]]:
    """Yield the first loop of a barrier each tuple of which certainly makes a message at all of its inputs.

    Follows what is certain from the barrier on; at another barrier on the way all inputs have to be.
    """
    barriers = {
        n: set(net.inputs[net.ends[n].instance].values())
        for n in certain
        if n in net.ways and _instance(net, n).kind == "barrier"
    }
    for first in list(barriers)[:BARRIERS_MAX]:
        reached, stack = {first}, [first]
        while stack:
            n = stack.pop()
            fires = (barrier for barrier, inputs in barriers.items() if n in inputs and inputs <= reached)
            for following in (*certain[n], *fires):
                if following not in reached:
                    reached.add(following)
                    stack.append(following)
        if barriers[first] <= reached:
            fed_by = {n: [b for b, inputs in barriers.items() if n in inputs and b in reached] for n in reached}
            yield reached, {n: [*certain[n], *fed_by[n]] for n in reached}
            return


def report_loops_without_exit(net: Net, silent: frozenset[int], names: Mapping[str, str], report: Report) -> None:
    """Warn of loops that messages enter and nothing leaves. For a body of which no error is known."""
    for part in net.loops():
        leads: dict[int, list[int]] = {n: [] for n in part if n not in silent}
        for n in leads:
            for following in net.after[n]:
                if following in leads and _leads(net, n, following):
                    leads[n].append(following)
        for loop in strongly_connected(leads, leads):
            if len(loop) > 1 and not _has_exit(net, set(loop)):
                start = min(loop, key=lambda n: (_instance(net, n).span.start, n))
                first, *others = instances_on(net, shortest_cycle(start, leads, set(loop)))
                report.add(
                    "W0513",
                    first.span,
                    f"nothing ever leaves the loop {path_of([first, *others, first], names)}",
                    label="messages come in, and none goes out",
                    related=[(o.span, "on the loop") for o in others[:RELATED_MAX] if o.span != first.span],
                    help="wire what is done to an output: a ; filter(...) ; output",
                )


def _leads(net: Net, source: int, target: int) -> bool:
    """Whether a message at one port may lead to one at the next; one at a control input does not."""
    return target not in net.ways or net.ends[source].port in net.ways[target].leads


def _has_exit(net: Net, loop: set[int]) -> bool:
    """Whether something leads from a loop to an output of the body or to another process.

    A wire ends by its protocol, and who controls an agent wants nothing but that it is controlled.
    """
    members = {_instance(net, n).name for n in loop}
    seen, stack = set(loop), list(loop)
    while stack:
        n = stack.pop()
        instance = net.instance(n)
        if instance is None or (n in loop and (instance.kind == "monitor" or net.is_control(n))):
            return True
        other = instance.kind in ("agent", "python", "worker", "handler") and instance.name not in members
        if n not in loop and n not in net.ways and (other or instance.kind == "plumb"):
            return True
        for following in net.after[n]:
            if following not in seen and _leads(net, n, following):
                seen.add(following)
                stack.append(following)
    return False


def _instance(net: Net, n: int) -> Instance:
    instance = net.instance(n)
    assert instance is not None, "a port of the body is on no loop"
    return instance
