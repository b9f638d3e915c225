"""Make the plan of a checked program."""

from __future__ import annotations

__all__ = ["Surroundings", "make_plan"]

import difflib
from pathlib import PurePath
from typing import Any

import msgspec

from fabric.errors import ConfigError
from fabric.graph.ir import WORKERS, Graph, Node
from fabric.lang.typed import Binding, Module
from fabric.plan.endpoints import ipc_addresses
from fabric.plan.fuse import fuse
from fabric.plan.order import drain_order, start_order
from fabric.plan.plan import Plan, WorkerPlan
from fabric.plan.tools import called_as, make_tools, tool_spec
from fabric.wire.codec import TOPIC_BYTES_MAX
from fabric.wire.payload import UNIT
from fabric.wire.spec import Document, WorkerSpec

PROVIDERS = ("eliza", "scripted")
"""Providers that an agent of this version can speak to."""

WINDOW_STATELESS = 64
WINDOW_AMNESIAC = 8
WINDOW_STATEFUL = 1

MODULE = ("-P", "-m")
"""How Python runs a module of ours; -P: not one of the same name that lies in the working directory."""

_PROVIDER_KEYS = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}


class Surroundings(msgspec.Struct, frozen=True):
    """What a plan depends on besides the program.

    Attributes:
        python: the interpreter that runs our own workers.
        run_directory: for sockets; short.
        directory: of the program's main file, absolute.
        directories: of the file that declares each binding, absolute.
        provider, model: for agents that do not say theirs.
        docroot: folder of the file tools, absolute; ``None``: that of the program's main file.
        auto_approve: whether tools may do what has effects outside of the session.
        documents: the prompt files that agents name, by binding and name as written.
    """

    python: str
    run_directory: str
    directory: str
    directories: dict[str, str] = {}
    provider: str | None = None
    model: str | None = None
    documents: dict[tuple[str, str], Document] = {}
    docroot: str | None = None
    auto_approve: bool = False


def make_plan(module: Module, graph: Graph, surroundings: Surroundings) -> Plan:
    """Return the plan.

    Raises:
        ConfigError: an agent has no provider, or one that cannot be had; a socket path would be too long.
    """
    workers = tuple(
        _worker(module, graph.nodes[name], number, surroundings) for number, name in enumerate(start_order(graph))
    )
    routes, sinks = fuse(graph)
    nodes = graph.nodes.values()
    return Plan(
        path=str(PurePath(surroundings.directory, PurePath(module.source.path).name)),
        graph=graph,
        workers=workers,
        routes=routes,
        sinks=sinks,
        components=drain_order(graph),
        inputs={node.outputs[0].name: node.id for node in nodes if node.kind == "input"},
        outputs={node.id: node.inputs[0].name for node in nodes if node.kind == "output" and not node.extra},
        extras={node.id: node.extra for node in nodes if node.extra},
        tools=make_tools(graph),
    )


def _worker(module: Module, node: Node, number: int, surroundings: Surroundings) -> WorkerPlan:
    assert node.kind in WORKERS
    assert node.binding is not None
    if len(node.id.encode()) > TOPIC_BYTES_MAX:
        raise ConfigError(f"the name {node.id!r} has more than {TOPIC_BYTES_MAX} bytes: name things shorter")
    binding = module.bindings[node.binding]
    config = binding.config
    directory = surroundings.directories.get(binding.name, surroundings.directory)
    transport = config.get("transport", "zmq")
    ports = ("input", "output", "ctrl_in", "ctrl_out", *(("telemetry",) if node.kind != "python" else ()))
    ports += ("tool_req", "tool_resp") if node.tools else ()
    endpoints = ipc_addresses(surroundings.run_directory, number, ports) if transport == "zmq" else {}
    command, window = (surroundings.python, *MODULE, "fabric.worker"), WINDOW_STATELESS
    match node.kind:
        case "python" if "builtin" in config:
            config = _builtin_config(config["builtin"], surroundings)
        case "agent":
            config = _agent_config(binding, surroundings)
            if node.tool:  # a call is made to a process that knows of no other
                config = {**config, "amnesiac": True}
            command = (surroundings.python, *MODULE, "plumb_agent")
            window = WINDOW_AMNESIAC if config.get("amnesiac") else WINDOW_STATEFUL
        case "worker":
            program, *arguments = config["command"]
            if "/" in program:  # beside the program's file, as everything that it names
                program = str(PurePath(directory, program))
            command = (program, *arguments)
    one_stream = node.tools and transport == "stdio"  # the line behind a call is its result, not another message
    if config.get("state") or config.get("compat") or one_stream:
        window = WINDOW_STATEFUL
    tools = called_as(node.tools)
    spec = WorkerSpec(
        name=node.id,
        kind=node.kind,
        input=node.inputs[0].type,
        output=node.outputs[0].type if node.outputs else UNIT,
        config=config,
        directory=directory,
        documents=tuple(surroundings.documents[binding.name, name] for name in config.get("prompts", ())),
        ports=tuple(port for port in ports if port in endpoints),
        tools=tuple(tool_spec(module, name, tool) for name, tool in tools.items() if name == tool),
        part_of=node.tool,
    )
    return WorkerPlan(
        name=node.id,
        spec=spec,
        command=command,
        transport=transport,
        endpoints=endpoints,
        pass_on=(*config.get("env", ()), *filter(None, [_PROVIDER_KEYS.get(config.get("provider", ""))])),
        window=window,
        markers=bool(config.get("markers")),
        compat=bool(config.get("compat")),
        frames=config.get("frames", "v2"),
        release_early=config.get("release") == "early",
        ours=node.kind != "worker",
        tools=tools,
    )


def _builtin_config(builtin: str, surroundings: Surroundings) -> dict[str, Any]:
    docroot = surroundings.docroot or surroundings.directory
    return {"call": builtin, "builtin": builtin, "docroot": docroot, "approved": surroundings.auto_approve}


def _agent_config(binding: Binding, surroundings: Surroundings) -> dict[str, Any]:
    """Return an agent's configuration with provider and model filled in."""
    provider = binding.config.get("provider") or surroundings.provider
    if not provider:
        raise ConfigError(
            f"agent '{binding.name}' has no provider: add provider: \"eliza\" to it, or give --provider or"
            " PLUMB_PROVIDER"
        )
    if provider not in PROVIDERS:
        near = difflib.get_close_matches(provider, PROVIDERS, 1)
        raise ConfigError(
            f"agent '{binding.name}': provider {provider!r} cannot be used in this version; it has"
            f" {', '.join(PROVIDERS)}" + (f". Did you mean {near[0]!r}?" if near else "")
        )
    model = binding.config.get("model") or ("doctor" if provider == "eliza" else surroundings.model or provider)
    return {**binding.config, "provider": provider, "model": model}
