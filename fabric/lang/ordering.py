"""Order names so that each comes after those that it needs, and find those that need themselves."""

from __future__ import annotations

__all__ = ["dependency_order"]

from collections.abc import Iterable, Mapping


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
