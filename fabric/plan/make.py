"""Make the plan of a checked program."""

from __future__ import annotations

__all__ = ["Surroundings", "make_plan"]

import difflib
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

import msgspec

from fabric.errors import ConfigError
from fabric.graph.ir import WORKERS, Graph, Node
from fabric.lang.config import PROVIDERS
from fabric.lang.typed import Binding, Module
from fabric.plan.endpoints import ipc_addresses
from fabric.plan.fuse import fuse
from fabric.plan.order import drain_order, start_order
from fabric.plan.plan import Plan, ServerPlan, WorkerPlan
from fabric.plan.servers import make_servers
from fabric.plan.tools import called_as, make_tools, tool_spec
from fabric.wire.codec import TOPIC_BYTES_MAX
from fabric.wire.payload import UNIT
from fabric.wire.spec import Document, WorkerSpec

WINDOW_STATELESS = 64
WINDOW_AMNESIAC = 8
WINDOW_STATEFUL = 1

MODULE = ("-P", "-m")
"""How Python runs a module of ours; -P: not one of the same name that lies in the working directory."""

_PROVIDER_KEYS = {
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_API_KEY_FILE"),
    "openai": ("OPENAI_API_KEY", "OPENAI_API_KEY_FILE"),
}
"""What a worker gets of the environment for its provider, and no other does."""


class Surroundings(msgspec.Struct, frozen=True):
    """What a plan depends on besides the program.

    Attributes:
        python: the interpreter that runs our own workers.
        run_directory: for sockets; short.
        directory: of the program's main file, absolute.
        directories: of the file that declares each binding, absolute.
        provider, model: for agents that do not say theirs.
        endpoint: where the providers are, for agents that do not say it.
        metered: whether agents have to ask for each call of a model.
        docroot: folder of the file tools, absolute; ``None``: that of the program's main file.
        detour: of a test: where agents that do say their endpoint are sent instead; see :func:`detoured`.
        documents: the prompt files that agents name, by binding and name as written.
    """

    python: str
    run_directory: str
    directory: str
    directories: dict[str, str] = {}
    provider: str | None = None
    model: str | None = None
    endpoint: str | None = None
    metered: bool = False
    documents: dict[tuple[str, str], Document] = {}
    docroot: str | None = None
    detour: str | None = None


def make_plan(module: Module, graph: Graph, surroundings: Surroundings) -> Plan:
    """Return the plan.

    Raises:
        ConfigError: an agent has no provider, or one that cannot be had; a socket path would be too long.
    """
    servers = make_servers(module, graph, surroundings.directories, surroundings.directory)
    workers = tuple(
        _worker(module, graph.nodes[name], number, surroundings, servers)
        for number, name in enumerate(start_order(graph))
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
        tools=make_tools(module, graph),
        servers=servers,
    )


def _worker(
    module: Module, node: Node, number: int, surroundings: Surroundings, servers: Mapping[str, ServerPlan]
) -> WorkerPlan:
    assert node.kind in WORKERS
    assert node.binding is not None
    if len(node.id.encode()) > TOPIC_BYTES_MAX:
        raise ConfigError(f"the name {node.id!r} has more than {TOPIC_BYTES_MAX} bytes: name things shorter")
    binding = module.bindings[node.binding]
    config = binding.config
    directory = surroundings.directories.get(binding.name, surroundings.directory)
    transport = config.get("transport", "zmq")
    tells = node.kind not in ("python", "handler") or any(port.name == "telemetry" for port in node.outputs)
    ports = ("input", "output", "ctrl_in", "ctrl_out", *(("telemetry",) if tells else ()))
    metered = surroundings.metered and node.kind == "agent"
    calls = bool(node.tools or config.get("mcp") or metered)
    ports += ("tool_req", "tool_resp") if calls else ()
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
        case "handler":
            command = (surroundings.python, *MODULE, "fabric.handlers.serving")
            config = {**config, **_own_session(node.id, surroundings)}
            window = WINDOW_STATEFUL  # its log is one decision after the other
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
        metered=metered,
    )
    return WorkerPlan(
        name=node.id,
        spec=spec,
        command=command,
        transport=transport,
        endpoints=endpoints,
        pass_on=(*config.get("env", ()), *_PROVIDER_KEYS.get(config.get("provider", ""), ())),
        window=window,
        markers=bool(config.get("markers")),
        compat=bool(config.get("compat")),
        frames=config.get("frames", "v2"),
        release_early=config.get("release") == "early",
        ours=node.kind != "worker",
        tools=tools,
        servers={server.name: server.key for server in servers.values() if node.id in server.callers},
        mcp_tools=f"{surroundings.run_directory}/mcp-{number}.json" if config.get("mcp") else "",
        calls=calls,
    )


def _builtin_config(builtin: str, surroundings: Surroundings) -> dict[str, Any]:
    docroot = surroundings.docroot or surroundings.directory
    return {"call": builtin, "builtin": builtin, "docroot": docroot}


def _own_session(node: str, surroundings: Surroundings) -> dict[str, Any]:
    """Return where a handler's session is kept unless the run is: as long as the run.

    Its id follows from a directory that no other run has: what a handler does outside has keys that begin with it.
    """
    directory = surroundings.run_directory
    return {"bucket": f"file:{directory}/sessions", "session": f"run-{PurePath(directory).name}/{node}"}


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
            f"agent '{binding.name}': there is no provider {provider!r}; there are {', '.join(PROVIDERS)}"
            + (f". Did you mean {near[0]!r}?" if near else "")
        )
    model = binding.config.get("model") or surroundings.model
    if provider == "eliza":
        model = "doctor"
    elif provider == "scripted":
        model = model or provider
    elif not model:
        raise ConfigError(
            f"agent '{binding.name}' has no model: add model: \"...\" to it, or give --model or PLUMB_MODEL"
        )
    filled = {"provider": provider, "model": model}
    endpoint = binding.config.get("endpoint")
    if endpoint and surroundings.detour:
        endpoint = detoured(endpoint, surroundings.detour)
    if provider in _PROVIDER_KEYS and (endpoint or surroundings.endpoint):
        filled["endpoint"] = endpoint or surroundings.endpoint
    return binding.config | filled


def detoured(endpoint: str, detour: str) -> str:
    """Return where an agent asks instead of at its own endpoint. The server there learns from the path which it is."""
    return f"{detour.rstrip('/')}/for/{quote(endpoint, safe='')}"
