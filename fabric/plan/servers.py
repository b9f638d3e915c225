"""Which MCP servers a program needs, and who may call them by which name."""

from __future__ import annotations

__all__ = ["listed", "make_servers"]

from collections.abc import Mapping
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

import msgspec

from fabric.graph.ir import Graph
from fabric.lang.typed import Module
from fabric.plan.plan import Plan, ServerPlan

NO_TOOLS: Mapping[str, frozenset[str]] = MappingProxyType({})


def make_servers(module: Module, graph: Graph, directories: Mapping[str, str], directory: str) -> dict[str, ServerPlan]:
    """Return the servers that agents declare, by key.

    Args:
        module: the program.
        graph: of it.
        directories: of the file that declares each binding, absolute.
        directory: of the others.
    """
    found: dict[ServerPlan, list[str]] = {}
    for node in graph.nodes.values():
        if node.kind == "agent" and node.binding is not None:
            for said in module.bindings[node.binding].config.get("mcp", ()):
                server = _server(said, directories.get(node.binding, directory))
                found.setdefault(server, []).append(node.id)
    servers: dict[str, ServerPlan] = {}
    for server, callers in found.items():
        key, number = server.name, 1
        while key in servers:
            number += 1
            key = f"{server.name}-{number}"
        servers[key] = msgspec.structs.replace(server, key=key, callers=tuple(callers))
    return servers


def _server(said: Mapping[str, Any], directory: str) -> ServerPlan:
    if "url" in said:
        return ServerPlan("", said["name"], url=said["url"])
    program = said["command"]
    if "/" in program:  # beside the program's file, as everything that it names
        program = str(PurePath(directory, program))
    command = (program, *said.get("args", ()))
    return ServerPlan("", said["name"], command, env=tuple(said.get("env", ())), directory=directory)


def listed(
    plan: Plan, tools: Mapping[str, tuple[str, ...]], repeatable: Mapping[str, frozenset[str]] = NO_TOOLS
) -> Plan:
    """Return a plan whose servers are known to have these tools, by key; and which of them may be run twice."""
    servers = {
        key: msgspec.structs.replace(server, tools=tools[key], repeatable=repeatable.get(key, frozenset()))
        for key, server in plan.servers.items()
        if key in tools
    }
    return msgspec.structs.replace(plan, servers=plan.servers | servers)
