"""Order things so that each comes after those that it needs, and find those that need themselves."""

from __future__ import annotations

__all__ = ["dependency_order", "strongly_connected"]

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

_Node = TypeVar("_Node", bound=Hashable)


def dependency_order(needs: Mapping[str, Iterable[str]]) -> tuple[list[str], list[list[str]]]:
    """Return all names in order, and the cycles found, each as the names along it.

    A cycle is entered once; where several share names, some are found only after the first is mended. Without
    recursion: chains of ten thousand names are allowed.
    """
    order: list[str] = []
    cycles: list[list[str]] = []
    done: set[str] = set()
    for root in needs:
        if root in done:
            continue
        path: dict[str, None] = {root: None}  # ordered, for slicing a cycle out of it
        stack = [(root, iter(needs[root]))]
        while stack:
            name, rest = stack[-1]
            for needed in rest:
                if needed in path:
                    names = list(path)
                    cycles.append(names[names.index(needed) :])
                elif needed not in done and needed in needs:
                    path[needed] = None
                    stack.append((needed, iter(needs[needed])))
                    break
            else:
                stack.pop()
                del path[name]
                done.add(name)
                order.append(name)
    return order, cycles


def strongly_connected(nodes: Iterable[_Node], successors: Mapping[_Node, Sequence[_Node]]) -> list[list[_Node]]:
    """Return the strongly connected components, each before those that it feeds.

    Source: Tarjan 1972, with an explicit stack, since a long chain would exhaust Python's.
    """
    index: dict[_Node, int] = {}
    low: dict[_Node, int] = {}
    stack: list[_Node] = []
    on_stack: set[_Node] = set()
    found: list[list[_Node]] = []
    for root in nodes:
        if root in index:
            continue
        todo = [(root, iter(successors.get(root, ())))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while todo:
            node, rest = todo[-1]
            for following in rest:
                if following not in index:
                    index[following] = low[following] = len(index)
                    stack.append(following)
                    on_stack.add(following)
                    todo.append((following, iter(successors.get(following, ()))))
                    break
                if following in on_stack:
                    low[node] = min(low[node], index[following])
            else:
                todo.pop()
                if todo:
                    low[todo[-1][0]] = min(low[todo[-1][0]], low[node])
                if low[node] == index[node]:
                    component: list[_Node] = []
                    while not component or component[-1] != node:
                        component.append(stack.pop())
                        on_stack.discard(component[-1])
                    found.append(component[::-1])
    return found[::-1]
