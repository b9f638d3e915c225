"""Several workers for one node of the graph, which share its input: ``[workers.NAME] replicas = N``.

The coordinator deals: each message goes to one of them, and what they answer goes on in the order of the input, as if
there was one. That is right only where it makes no difference which of them gets a message, so who remembers, or takes
turns with somebody, cannot have replicas.

    memory      an agent that is not amnesiac, a function or a program with state: each would remember a part
    compat      what it had cannot be given to another, and it has no markers to tell what it has answered
    wire        a session wire is a conversation between two: the order of turns
    alone       a tool that is called once at a time gives the others nothing to do
    asked       a program that asks on ctrl_in and reads the replies would get one from each
"""

from __future__ import annotations

__all__ = ["MARK", "Replicas", "known_names", "meant", "node_of", "replicated"]

from collections.abc import Iterable, Mapping

import msgspec

from fabric.errors import ConfigError
from fabric.graph.ir import End
from fabric.plan.endpoints import ipc_addresses
from fabric.plan.plan import Address, Plan, WorkerPlan, sinks_of

MARK = "#"
"""Between the name of a node and the number of a replica. No name in a program has it."""


ONE = "replicas = 1"


class Replicas(msgspec.Struct, frozen=True):
    """How many of one worker there are to be.

    Attributes:
        count: at least one; one is what there is without being said.
        where: the place that says it, for complaints.
    """

    count: int
    where: str = ""


def node_of(worker: str) -> str:
    """Return the node that a worker runs, by the worker's name."""
    return worker.partition(MARK)[0]


def known_names(workers: Iterable[str]) -> list[str]:
    """Return the names by which workers may be meant: their own, and before those of replicas the one of all."""
    return list(dict.fromkeys(name for worker in workers for name in (node_of(worker), worker)))


def meant(name: str, workers: Iterable[str]) -> list[str]:
    """Return the workers that are meant by a name: one, or all replicas of a node."""
    return [worker for worker in workers if name in (worker, node_of(worker))]


def replicated(plan: Plan, wanted: Mapping[str, Replicas]) -> Plan:
    """Return the plan with so many of each worker: ``NAME#1`` to ``NAME#N`` where there is more than one.

    Args:
        plan: with one worker for each node.
        wanted: by node; of others there is one.

    Raises:
        ConfigError: it would make a difference which replica gets a message; a path of a socket would be too long.
    """
    workers: list[WorkerPlan] = []
    number = len(plan.workers)  # of sockets: the first replica has those of the one
    for worker in plan.workers:
        said = wanted.get(worker.node, Replicas(1))
        if said.count == 1:
            workers.append(worker)
            continue
        reason = _why_not(plan, worker)
        if reason is not None:
            raise ConfigError(f"{said.where}: {reason}" if said.where else reason)
        for index in range(1, said.count + 1):
            endpoints = worker.endpoints if index == 1 else _endpoints(worker, number)
            number += index > 1
            workers.append(msgspec.structs.replace(worker, name=f"{worker.node}{MARK}{index}", endpoints=endpoints))
    return msgspec.structs.replace(plan, workers=tuple(workers))


def _endpoints(worker: WorkerPlan, number: int) -> dict[str, Address]:
    """Return addresses beside those of the first."""
    if not worker.endpoints:
        return {}
    path = next(iter(worker.endpoints.values())).bind.removeprefix("ipc://")
    return ipc_addresses(path.rpartition("/")[0], number, worker.endpoints)


def _why_not(plan: Plan, worker: WorkerPlan) -> str | None:
    """Say why there can be only one of a worker, if so."""
    config, kind = worker.spec.config, worker.spec.kind
    what = f"{'agent' if kind == 'agent' else 'worker'} '{worker.node}'"
    if kind == "agent" and not config.get("amnesiac"):
        return f"{what} remembers what it was told: each replica would remember a part; say amnesiac: true, or {ONE}"
    if config.get("state"):
        return f"{what} has state: true: each replica would have a state of its own; say state: false, or {ONE}"
    if kind == "handler":
        return f"{what} is a handler: each replica would have a log of its own; say {ONE}"
    if worker.compat:
        return f"{what} has compat: true: without markers nobody knows what a replica has answered; say {ONE}"
    tool = plan.tools.get(worker.spec.part_of)
    if tool is not None and tool.alone:
        return f"{what} is part of the tool {tool.name}, of which one call is run at a time; say {ONE}"
    if worker.node in _on_wires(plan):
        return f"{what} is on a session wire, where the order of turns counts; say {ONE}"
    if {"ctrl_in", "ctrl_out"} <= _wired(plan, worker.node):
        return f"the program asks {what} on ctrl_in and reads its ctrl_out: each replica would reply; say {ONE}"
    return None


def _on_wires(plan: Plan) -> set[str]:
    """Return the nodes that a monitor hears or speaks to."""
    kinds = {name: node.kind for name, node in plan.graph.nodes.items()}
    ends = [(route.source, plan.sinks[index].end) for route in plan.routes for index in sinks_of(route.steps)]
    return {name for pair in ends if "monitor" in _kinds(kinds, pair) for name in (pair[0].node, pair[1].node)}


def _kinds(kinds: Mapping[str, str], ends: Iterable[End]) -> set[str]:
    return {kinds[end.node] for end in ends}


def _wired(plan: Plan, node: str) -> set[str]:
    """Return the control ports of a node that the program uses; who only looks at one uses none."""
    used: set[str] = set()
    for route in plan.routes:
        sinks = [plan.sinks[index] for index in sinks_of(route.steps)]
        used |= {sink.end.port for sink in sinks if sink.end.node == node}
        if route.source.node == node and any(sink.end.node not in plan.extras for sink in sinks):
            used.add(route.source.port)
    return used
