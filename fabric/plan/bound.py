"""How often agents can call their models for one message from outside, at most, where the wiring tells.

A message is counted along the graph: a copy makes two of one, a merge adds, a barrier gives no more pairs than one of
its sides gets, a filter no more than it takes. Functions and agents answer each message once. So the bound is a number
for each input of the boundary, and what a session does with several inputs is at most the sum.

    barrier   the side that gets least, the same for all inputs: pairs need both, so either side is a bound
    loop      none: how often a message goes round is not in the wiring
    worker    none behind a program, which may answer as often as it likes; nor behind what is said on ctrl_out or
              telemetry, nor in a tool, which a model may call as often as it likes in one reply

An agent calls its model once, again for each answer that does not have the type (``max_retries``), and again for each
round of tools; a round has one call of a tool or more, and ``max_tool_calls`` limits their number for one message. An
agent that has tools and no such limit has no bound. One without tools can still pin and unpin, but has nothing to pin:
rounds in which it tries count only if it has the limit. Attempts that are repeated because a provider was busy come on
top: a budget counts those.
"""

from __future__ import annotations

__all__ = ["AgentBound", "Bound", "bound_of"]

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from fabric.graph.analysis import callings
from fabric.graph.ir import MONITORED, WORKERS, End
from fabric.lang.config import DEFAULT_MAX_TOKENS
from fabric.plan.plan import Component, Plan, WorkerPlan

MAX_RETRIES = 3
"""Of an agent that does not say it."""

_TOOL_KEYS = ("tools", "mcp")
"""Either gives an agent tools."""


class AgentBound(msgspec.Struct, frozen=True):
    """One agent.

    Attributes:
        messages: that come to it for one message on each input of the boundary, by input.
        calls_each: of its model, for one of these.
        max_tokens: of each reply.
    """

    name: str
    provider: str
    model: str
    messages: dict[str, int]
    calls_each: int
    max_tokens: int


class Bound(msgspec.Struct, frozen=True):
    """What one message can bring about, at most.

    Attributes:
        agents: in the order of the program; empty if there is no bound.
        unbounded: why there is none, in words; empty if there is.
        inputs: of the boundary.
    """

    agents: tuple[AgentBound, ...] = ()
    unbounded: str = ""
    inputs: tuple[str, ...] = ()

    def calls(self, port: str) -> int:
        """Return the calls of models for one message on an input."""
        return sum(agent.messages.get(port, 0) * agent.calls_each for agent in self.agents)

    def output_tokens(self, port: str) -> int:
        """Return the tokens of their replies."""
        return sum(agent.messages.get(port, 0) * agent.calls_each * agent.max_tokens for agent in self.agents)

    def output_usd(self, port: str, prices: Mapping[str, float]) -> float | None:
        """Return what these tokens cost, in dollars; ``None``: nobody knows.

        Args:
            port: of the boundary.
            prices: dollars for a million tokens of a reply, by agent.
        """
        total = 0.0
        for agent in self.agents:
            tokens = agent.messages.get(port, 0) * agent.calls_each * agent.max_tokens
            if tokens and agent.name not in prices:
                return None
            total += tokens * prices.get(agent.name, 0.0) / 1_000_000
        return total


class _Unbounded(msgspec.Struct, frozen=True):
    """There may be any number of messages; ``why`` in words."""

    why: str


_Count: TypeAlias = dict[str, int] | _Unbounded
"""Messages at a port for one message on each input, those that get any; or any number."""


def bound_of(plan: Plan) -> Bound:
    """Return the bound of a plan."""
    at = _messages(plan)
    agents = []
    for worker in {worker.node: worker for worker in reversed(plan.workers)}.values():
        if worker.spec.kind != "agent":
            continue
        messages = at.get(End(worker.node, "input"), {})
        if isinstance(messages, _Unbounded):
            return Bound(unbounded=messages.why)
        calls = _calls_each(worker)
        if calls is None and messages:
            return Bound(unbounded=f"'{worker.node}' has tools, and no max_tool_calls")
        config = worker.spec.config
        agents.append(
            AgentBound(
                worker.node,
                str(config.get("provider", "")),
                str(config.get("model", "")),
                messages,
                calls or 0,
                config.get("max_tokens", DEFAULT_MAX_TOKENS),
            )
        )
    return Bound(tuple(agents), inputs=tuple(plan.inputs))


def _calls_each(worker: WorkerPlan) -> int | None:
    """Return how often an agent calls its model for one message; ``None``: as often as it likes."""
    config = worker.spec.config
    rounds = config.get("max_tool_calls", None if any(config.get(key) for key in _TOOL_KEYS) else 0)
    return None if rounds is None else 1 + config.get("max_retries", MAX_RETRIES) + rounds


def _messages(plan: Plan) -> dict[End, _Count]:
    """Return how many messages come to each input port of the graph."""
    graph = plan.graph
    at: dict[End, _Count] = {}
    readers = {channel.source: channel.target for channel in graph.channels}
    called = {call: caller for caller, call in callings(graph)}
    for component in plan.components:
        loop = _loop(plan, component, at)
        for name in component.nodes:
            node = graph.nodes[name]
            for port in node.outputs:
                out = End(name, port.name)
                count = loop if loop is not None else _leaves(plan, out, at, called)
                if out in readers and count != {}:
                    at[readers[out]] = count
        if loop is not None:
            at |= {End(name, port.name): loop for name in component.nodes for port in graph.nodes[name].inputs}
    return at


def _loop(plan: Plan, component: Component, at: Mapping[End, _Count]) -> _Count | None:
    """Return how many messages are on a loop; ``None`` if it is none."""
    if not component.loop:
        return None
    nodes = [plan.graph.nodes[name] for name in component.nodes]
    if all(not at.get(End(node.id, port.name)) for node in nodes for port in node.inputs):
        return {}
    workers = [node.id for node in nodes if node.kind in WORKERS]
    return _Unbounded(f"loop through {', '.join(workers or component.nodes)}")


def _leaves(plan: Plan, out: End, at: Mapping[End, _Count], called: Mapping[str, str]) -> _Count:
    """Return how many messages leave an output port of a node that is on no loop."""
    node = plan.graph.nodes[out.node]
    came = [at.get(End(node.id, port.name), {}) for port in node.inputs]
    match node.kind:
        case "input":
            return {node.outputs[0].name: 1}
        case "call":
            caller = called.get(node.id)
            return _Unbounded(f"'{caller}' may call {node.tool} as often as it likes") if caller else {}
        case "agent" | "python" | "worker" | "handler":
            taken = at.get(End(node.id, "input"), {})
            if not taken or (out.port == "output" and node.kind not in ("worker", "handler")):
                return taken
            return _Unbounded(f"'{node.id}' may say any number of messages on {out.port}")
        case "monitor":
            return at.get(End(node.id, next(port for port, to in MONITORED.items() if to.output == out.port)), {})
        case "barrier":
            return _least(came)
        case "empty":
            return {}
    return _sum(came)  # one that passes on what it takes, or drops it


def _sum(counts: list[_Count]) -> _Count:
    total: dict[str, int] = {}
    for count in counts:
        if isinstance(count, _Unbounded):
            return count
        for port, messages in count.items():
            total[port] = total.get(port, 0) + messages
    return total


def _least(counts: list[_Count]) -> _Count:
    """Return what the side of a barrier gets that gets least."""
    known = [count for count in counts if not isinstance(count, _Unbounded)]
    return min(known, key=lambda count: sum(count.values())) if known else counts[0]
