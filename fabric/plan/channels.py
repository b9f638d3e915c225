"""Names for the ways that messages take: ``composer.output→checker.input``.

A channel of this kind leads from where a message comes into being (a worker, a barrier, an input of the boundary) to
where it waits or leaves. What lies between is fused and has no message of its own.
"""

from __future__ import annotations

__all__ = ["channels", "end_name", "find_channels"]

import difflib

from fabric.errors import UnknownName
from fabric.graph.ir import End
from fabric.plan.plan import Plan, sinks_of

ARROWS = ("→", "->")


def channels(plan: Plan) -> dict[str, tuple[int, ...]]:
    """Return every channel by its name, in the order of the program: its sinks, as indexes into ``Plan.sinks``."""
    found: dict[str, tuple[int, ...]] = {}
    for route in plan.routes:
        for index in sinks_of(route.steps):
            name = f"{end_name(plan, route.source)}→{end_name(plan, plan.sinks[index].end)}"
            found[name] = (*found.get(name, ()), index)
    return found


def find_channels(plan: Plan, wanted: str) -> dict[str, tuple[int, ...]]:
    """Return the channels that are meant: ``a→b`` (or ``a->b``), with nodes or ports; ``a``: all that leave it.

    Raises:
        UnknownName: there is none.
    """
    known = channels(plan)
    arrow = next((arrow for arrow in ARROWS if arrow in wanted), None)
    if arrow is not None:
        source, target = (part.strip() for part in wanted.split(arrow, 1))
        found = {
            name: sinks
            for name, sinks in known.items()
            if _fits(name.split("→")[0], source) and _fits(name.split("→")[1], target)
        }
    else:
        found = {name: sinks for name, sinks in known.items() if _fits(name.split("→")[0], wanted)}
        found = found or {name: sinks for name, sinks in known.items() if _fits(name.split("→")[1], wanted)}
    if not found:
        near = difflib.get_close_matches(wanted.replace("->", "→"), known, 1, cutoff=0.3)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UnknownName(f"there is no channel {wanted!r}; the channels are: {', '.join(known)}.{hint}")
    return found


def _fits(end: str, wanted: str) -> bool:
    """Whether a name is that of an end, or of its node."""
    return wanted in ("", end, end.rpartition(".")[0])


def end_name(plan: Plan, end: End) -> str:
    """Return the name of a place where messages wait or come into being: a port of the boundary by its own.

    Where calls of a tool come in, and where its results go, is named as its node: it has one port.
    """
    kind = plan.graph.nodes[end.node].kind
    if kind in ("call", "result"):
        return end.node
    return end.port if kind in ("input", "output") else f"{end.node}.{end.port}"
