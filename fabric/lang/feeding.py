"""Loops that no message can enter.

Messages start at the body's inputs and at processes without inputs. What they cannot reach is a loop, or comes behind
one. Control inputs do not count: a control message makes nobody speak. On a session wire neither do control outputs:
they say something only when they are asked.
"""

from __future__ import annotations

__all__ = ["unfed_cycles"]

from collections import defaultdict, deque
from collections.abc import Collection

from fabric.lang.typed import BOUNDARY, Body, Endpoint, Instance


def unfed_cycles(body: Body, written: Collection[Endpoint]) -> list[tuple[Instance, ...]]:
    """Return the loops that nothing feeds, each from its first process in the text on.

    ``written``: inputs that something feeds, also if it is a mistake that left no connection; those are taken as fed.
    """
    readers: defaultdict[str, list[str]] = defaultdict(list)
    connected: set[Endpoint] = set()
    monitors = {instance.name for instance in body.instances if instance.kind == "monitor"}
    asked = set(monitors)  # of which both ends only answer
    for connection in body.connections:
        source, target = connection.source, connection.target
        answers = source.port == "ctrl_out" and target.instance in monitors
        if target.port != "ctrl_in" and not answers:
            readers[source.instance].append(target.instance)
            asked.discard(target.instance)
        connected.add(target)
    reached = {BOUNDARY} | asked
    for instance in body.instances:
        ends = [Endpoint(instance.name, port.name) for port in instance.inputs if port.name != "ctrl_in"]
        if not ends or any(end not in connected for end in ends):  # a source, or reported already
            reached.add(instance.name)
    queue = deque(reached)
    while queue:
        for name in readers[queue.popleft()]:
            if name not in reached:
                reached.add(name)
                queue.append(name)
    by_name = {instance.name: instance for instance in body.instances}
    unreached = {name: None for name in by_name if name not in reached}
    writers: defaultdict[str, list[str]] = defaultdict(list)
    for name in unreached:
        for reader in readers[name]:
            if reader in unreached:
                writers[reader].append(name)
    return [tuple(by_name[name] for name in cycle) for cycle in _root_cycles(unreached, writers)]


def _root_cycles(names: Collection[str], writers: dict[str, list[str]]) -> list[list[str]]:
    """Walk up from each name, always to the first writer, until the walk repeats itself: there is a loop.

    Every unreached process has a writer that is unreached, or it would be reached. Each name is walked over once.
    """
    cycles: list[list[str]] = []
    seen: set[str] = set()
    for start in names:
        path: dict[str, None] = {}
        name = start
        while name not in seen:
            seen.add(name)
            path[name] = None
            name = writers[name][0]
        if name in path:
            order = list(path)
            cycle = order[order.index(name) :][::-1]
            first = min(range(len(cycle)), key=lambda i: list(names).index(cycle[i])) if len(cycle) < 50 else 0
            cycles.append(cycle[first:] + cycle[:first])
    return cycles
