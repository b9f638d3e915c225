"""What a session counts for whoever measures it, as data: beside its snapshot, which tells how it stands."""

from __future__ import annotations

__all__ = ["CallOutcome", "Figures", "Look", "Places", "ToolFigures", "Waiting"]

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from fabric.graph.ir import End
from fabric.plan.plan import Plan, sinks_of
from fabric.session.delivery import Message
from fabric.session.durations import Durations

CallOutcome: TypeAlias = Literal["ok", "error"]


class ToolFigures(msgspec.Struct, frozen=True):
    """Calls of one tool by one worker that came to an end in the same way.

    Attributes:
        tool: its name; empty for calls of what is no tool of the worker: such names are of its choice.
        took: of those that were run.
    """

    worker: str
    tool: str
    outcome: CallOutcome
    calls: int
    took: Durations


class Waiting(NamedTuple):
    """Messages of one channel that its reader is not done with.

    Attributes:
        messages: how many.
        oldest_s: when the oldest came into being, by the session's clock; ``None``: there is none.
    """

    messages: int = 0
    oldest_s: float | None = None


class Figures(msgspec.Struct, frozen=True):
    """What was counted. Tuples are as ``Plan.sinks``.

    Attributes:
        size_bytes: of the messages that came there.
        waiting: those of them that are still before their reader, or with it.
        blocked_s: how long the place was full while somebody was held back by it, so far.
        invalid: frames and messages that were refused, by the port that they came from and the reason.
        latency: of each worker.
        tools: calls that are done.
        context_tokens: of the prompt of each worker's last call of a model.
        unanswered_s: of each worker that was asked whether it lives and has not answered: since when.
    """

    size_bytes: tuple[int, ...]
    waiting: tuple[Waiting, ...]
    blocked_s: tuple[float, ...]
    invalid: dict[tuple[End, str], int] = {}
    latency: dict[str, Durations] = {}
    tools: tuple[ToolFigures, ...] = ()
    context_tokens: dict[str, int] = {}
    unanswered_s: dict[str, float] = {}


Look: TypeAlias = Callable[[], Iterable[Message]]
"""Gives the messages of a place."""


class Places:
    """Where messages wait, and by which sink they came there.

    A place does not remember this. So where several channels lead to one place it is told by who sent the message; what
    came through a merge or a monitor, which send nothing of their own, belongs to the first of those that are left.

    Args:
        plan: what runs.
        places: what waits at each of ``Plan.sinks``; nothing waits at the others. Several sinks may have the same.
    """

    def __init__(self, plan: Plan, places: Mapping[int, Iterable[tuple[object, Look]]]) -> None:
        self._count = len(plan.sinks)
        ports = {node: port for port, node in plan.inputs.items()}
        found: dict[object, tuple[Look, list[tuple[str, int]]]] = {}
        for route in plan.routes:
            topic = ports.get(route.source.node, route.source.node)
            for sink in sinks_of(route.steps):
                for key, look in places.get(sink, ()):
                    found.setdefault(key, (look, []))[1].append((topic, sink))
        self._places = [(look, dict(reversed(by)), _rest(plan, by)) for look, by in found.values()]

    def look(self) -> tuple[Waiting, ...]:
        """Return what waits, by sink."""
        counts = [0] * self._count
        oldest_s: list[float | None] = [None] * self._count
        for messages, by_topic, rest in self._places:
            for message in messages():
                sink = by_topic.get(message.topic, rest)
                counts[sink] += 1
                since_s = oldest_s[sink]
                if since_s is None or message.at_s < since_s:
                    oldest_s[sink] = message.at_s
        return tuple(map(Waiting, counts, oldest_s))


def _rest(plan: Plan, by: list[tuple[str, int]]) -> int:
    """Return the sink to which belongs what none of the senders has sent."""
    silent = ("merge", "monitor", "call")
    nodes = plan.graph.nodes
    return next((sink for topic, sink in by if topic in nodes and nodes[topic].kind in silent), by[0][1])
