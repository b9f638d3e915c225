"""Ways through a body, as the processes on them, for messages to a reader."""

from __future__ import annotations

__all__ = ["instances_on", "path_of", "shortest_cycle"]

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence

from fabric.lang.net import Net
from fabric.lang.typed import Instance

SHOWN_MAX = 12
"""Of a longer path the middle is left out."""


def shortest_cycle(
    start: int, successors: Mapping[int, Sequence[int]], inside: Collection[int], *, last: int | None = None
) -> list[int]:
    """Return the ports of a shortest cycle, from its start on.

    Args:
        start: a port of the component; it lies on a cycle.
        successors: of each port.
        inside: the ports of the component.
        last: the port from which it has to come back; any if None.
    """
    came_from: dict[int, int] = {}
    queue = deque([start])
    while queue:
        port = queue.popleft()
        for following in successors[port]:
            if following == start and last in (None, port):
                cycle = [port]
                while cycle[-1] != start:
                    cycle.append(came_from[cycle[-1]])
                return cycle[::-1]
            if following in inside and following != start and following not in came_from:
                came_from[following] = port
                queue.append(following)
    raise AssertionError("a component that is no loop")


def instances_on(net: Net, ports: Iterable[int]) -> list[Instance]:
    """Return the processes that ports belong to, each once where several follow each other; a cycle is not closed.

    What looks after a session wire is left out: the program names its two ends.
    """
    found: list[Instance] = []
    for port in ports:
        instance = net.instance(port)
        if instance is not None and instance.kind != "monitor" and (not found or found[-1] is not instance):
            found.append(instance)
    if len(found) > 1 and found[0] is found[-1]:
        found.pop()
    return found


def path_of(instances: Sequence[Instance], names: Mapping[str, str]) -> str:
    """Write a path as ``a -> b -> a``. ``names``: what instances are called in the text, if something else."""
    shown = [names.get(instance.name, instance.name) for instance in instances]
    if len(shown) > SHOWN_MAX:
        shown[SHOWN_MAX // 2 : -SHOWN_MAX // 2] = ["..."]
    return " -> ".join(shown)
