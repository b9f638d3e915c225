"""Print a plan."""

from __future__ import annotations

__all__ = ["render_plan"]

import shlex
from collections.abc import Mapping

from fabric.graph.ir import End
from fabric.lang.typed import Wire
from fabric.plan.bound import Bound, bound_of
from fabric.plan.channels import end_name
from fabric.plan.endpoints import endpoint_variables
from fabric.plan.place import say_insecure, unsecured
from fabric.plan.plan import Check, Emit, Plan, ServerPlan, Step, WorkerPlan
from fabric.wire.payload import encode_json, show, show_stream
from fabric.wire.spec import INPUT_PORTS


def render_plan(plan: Plan, output: str, prices: Mapping[str, float] | None = None) -> str:
    """Return the plan as ``text`` or ``json``.

    Args:
        plan: to print.
        output: how.
        prices: dollars for a million tokens of a reply, by agent, where they are known.
    """
    return (_json if output == "json" else _text)(plan, bound_of(plan), prices or {})


def _text(plan: Plan, bound: Bound, prices: Mapping[str, float]) -> str:
    loops = sum(component.loop for component in plan.components)
    lines = [f"{plan.path}: {_count(plan.workers, 'worker')}, {_count(plan.graph.channels, 'channel')}, {loops} loops"]
    lines += [said] if (said := say_insecure(unsecured(plan))) else []
    for number, worker in enumerate(plan.workers, 1):
        model = "/".join(str(worker.spec.config[key]) for key in ("provider", "model") if key in worker.spec.config)
        lines += [
            "",
            f"{number}. {worker.name}  {worker.spec.kind} {model}".rstrip(),
            f"   types    {show_stream(worker.spec.input)} -> {show_stream(worker.spec.output)}",
            f"   command  {shlex.join(worker.command)}",
            f"   window   {worker.window}",
        ]
        if worker.transport == "stdio":
            lines.append("   ports    JSON lines on stdin and stdout")
        lines += [f"   {name}={value}" for name, value in endpoint_variables(worker.endpoints).items()]
        lines += _placed(worker)
        if worker.mcp_tools:
            lines.append(f"   PLUMB_MCP_TOOLS={worker.mcp_tools}")
        if worker.pass_on:
            lines.append(f"   passes on {', '.join(worker.pass_on)}")
    lines += ["", "tools"] if plan.tools else []
    lines += [
        f"   {tool.name}  for {', '.join(tool.callers)}" + ", asks for approval" * tool.effects
        for tool in plan.tools.values()
    ]
    lines += ["", "servers"] if plan.servers else []
    lines += [f"   {_server(server)}" for server in plan.servers.values()]
    wires = [node for node in plan.graph.nodes.values() if node.wire is not None]
    lines += ["", "wires"] if wires else []
    lines += [f"   {node.id}  {_wire(node.wire)}" for node in wires if node.wire is not None]
    lines += ["", "routes"]
    for route in plan.routes:
        lines.append(f"   {_source(plan, route.source)} {show_stream(route.type)}")
        lines += [f"      {line}" for line in _steps(plan, route.steps)] or ["      discarded"]
    starts = [worker.name for worker in plan.workers]
    ends = _ends(plan)
    if starts:
        lines += ["", f"start: {', '.join(starts)}", f"stop: {', '.join(ends)}"]
    return "\n".join(lines + _bound_text(bound, prices))


def _ends(plan: Plan) -> list[str]:
    """Return the workers in the order in which they end."""
    nodes = [node for component in plan.components for node in component.nodes]
    return [worker.name for node in nodes for worker in plan.workers if worker.node == node]


def _placed(worker: WorkerPlan) -> list[str]:
    """Say who starts a worker that is no process beside the coordinator, and who binds what."""
    if worker.runner == "process":
        return []
    keys = "with keys" if worker.secured else "no keys: INSECURE"
    lines = [f"   runner   {worker.runner} on {worker.host}, {keys}"]
    for port, address in worker.endpoints.items():
        binder = "here" if port in INPUT_PORTS else "there"
        lines.append(f"   {port}  bound {binder} at {address.bind}, reached at {address.connect}")
    return lines


def _bound_text(bound: Bound, prices: Mapping[str, float]) -> list[str]:
    """Say how many calls of models one message can bring about."""
    if bound.unbounded:
        return ["", f"calls of models: no bound: {bound.unbounded}"]
    if not bound.agents:
        return []
    lines = ["", "calls of models, for one message, at most"]
    for port in bound.inputs:
        usd = bound.output_usd(port, prices)
        cost = "dollars unknown" if usd is None else f"${usd:.4g} for these tokens"
        lines.append(f"   {port}: {bound.calls(port)} calls, {bound.output_tokens(port)} tokens of replies, {cost}")
        for agent in bound.agents:
            messages = agent.messages.get(port, 0)
            if messages:
                lines.append(f"      {agent.name}: {_times(messages, 'message')} of {_times(agent.calls_each, 'call')}")
    lines.append("   attempts that are repeated because a provider was busy come on top: a budget counts those")
    return lines


def _times(count: int, name: str) -> str:
    return f"{count} {name}{'s' * (count != 1)}"


def _bound_json(bound: Bound, prices: Mapping[str, float]) -> dict[str, object]:
    inputs = {
        port: {
            "calls": bound.calls(port),
            "output_tokens": bound.output_tokens(port),
            "output_usd": bound.output_usd(port, prices),
            "messages": {agent.name: agent.messages.get(port, 0) for agent in bound.agents},
        }
        for port in bound.inputs
    }
    return {"unbounded": bound.unbounded or None, "inputs": inputs}


def _server(server: ServerPlan) -> str:
    passed = f", passes on {', '.join(server.env)}" if server.env else ""
    where = server.url or f"{shlex.join(server.command)}, in {server.directory}{passed}"
    return f"{server.key}  for {', '.join(server.callers)}, asks for approval: {where}"


def _wire(wire: Wire) -> str:
    """Say what a monitor looks after; a tagged side gets each message with the number of its step."""
    tagged = [name for way, name in (("back", wire.left), ("there", wire.right)) if way in wire.tags]
    states = _count(wire.protocol.states, "state")
    return f"{wire.left} <-> {wire.right} : {wire.protocol.name}, {states}" + "".join(
        f", steps told to {name}" for name in tagged
    )


def _steps(plan: Plan, steps: tuple[Step, ...]) -> list[str]:
    lines = []
    for step in steps:
        if isinstance(step, Emit):
            sink = plan.sinks[step.sink]
            end = f"{sink.kind} {sink.end.node}.{sink.end.port}"
            where = end_name(plan, sink.end) if sink.kind == "result" else end
            lines.append(f"-> {where}" + " (feedback)" * sink.feedback + " (into a loop)" * sink.entry)
            continue
        rest = _steps(plan, step.then)
        here = f"check {show_stream(step.type)}" if isinstance(step, Check) else step.node
        lines += (
            [f"; {here} {rest[0]}", *(f"  {line}" for line in rest[1:])]
            if len(rest) == 1
            else [f"; {here}"] + [f"  {line}" for line in rest]
        )
    return lines


def _source(plan: Plan, source: End) -> str:
    is_call = plan.graph.nodes[source.node].kind == "call"
    return source.node if is_call else f"{source.node}.{source.port}"


def _count(things: tuple[object, ...], name: str) -> str:
    return f"{len(things)} {name}{'s' * (len(things) != 1)}"


def _json(plan: Plan, bound: Bound, prices: Mapping[str, float]) -> str:
    workers = [
        {
            "name": worker.name,
            "node": worker.node,
            "kind": worker.spec.kind,
            "command": worker.command,
            "transport": worker.transport,
            "ports": list(worker.endpoints),
            "environment": endpoint_variables(worker.endpoints),
            "passes_on": worker.pass_on,
            "secured": worker.secured,
            "window": worker.window,
            "input": show(worker.spec.input),
            "output": show(worker.spec.output),
            "config": worker.spec.config,
            "part_of": worker.spec.part_of or None,
            "runner": worker.runner,
            "host": worker.host or None,
            "endpoints": {port: {"bind": at.bind, "connect": at.connect} for port, at in worker.endpoints.items()},
        }
        for worker in plan.workers
    ]
    routes = [
        {
            "from": _source(plan, route.source),
            "type": show(route.type),
            "steps": _steps(plan, route.steps),
        }
        for route in plan.routes
    ]
    wires = [
        {
            "node": node.id,
            "left": node.wire.left,
            "right": node.wire.right,
            "protocol": node.wire.protocol.name,
            "states": len(node.wire.protocol.states),
            "tags": node.wire.tags,
        }
        for node in plan.graph.nodes.values()
        if node.wire is not None
    ]
    tools = [{"name": tool.name, "callers": tool.callers, "approval": tool.effects} for tool in plan.tools.values()]
    servers = [
        {
            "name": server.key,
            "callers": server.callers,
            "approval": True,
            **({"url": server.url} if server.url else {"command": server.command, "directory": server.directory}),
            "passes_on": server.env,
        }
        for server in plan.servers.values()
    ]
    names = [worker.name for worker in plan.workers]
    stop = _ends(plan)
    return encode_json(
        {
            "v": 1,
            "spec": plan.path,
            "workers": workers,
            "tools": tools,
            "servers": servers,
            "wires": wires,
            "routes": routes,
            "start": names,
            "stop": stop,
            "bound": _bound_json(bound, prices),
        }
    ).decode()
