"""What agents and workers may call: their tools, and what a tool that is made of a process calls in turn."""

from __future__ import annotations

__all__ = ["calls_of"]

from collections import deque
from collections.abc import Iterator

from fabric.graph.ir import SERVER, Call
from fabric.lang import typed


def calls_of(module: typed.Module, caller: str) -> tuple[Call, ...]:
    """Return all that a process may call, directly or by way of a tool, each once and by the fewest calls."""
    found: dict[str, Call] = {}
    looked_at: set[str] = set()
    waiting: deque[tuple[str, tuple[str, ...]]] = deque([(caller, ())])
    while waiting:
        name, through = waiting.popleft()
        for binding in _parts(module, name, looked_at):
            config = binding.config
            for tool in config.get("tools", ()):
                made_of = module.bindings[tool].config
                if tool not in found:
                    process = made_of.get("process")
                    opaque = process is not None and any(b.kind == "python" for b in _parts(module, process, set()))
                    found[tool] = Call(tool, made_of.get("builtin", ""), through, opaque)
                    if process is not None:
                        waiting.append((process, (*through, tool)))
            for server in config.get("mcp", ()):
                found.setdefault(
                    f"{SERVER}{server['name']}", Call(f"{SERVER}{server['name']}", "", through, opaque=True)
                )
    return tuple(found.values())


def _parts(module: typed.Module, name: str, looked_at: set[str]) -> Iterator[typed.Binding]:
    """Yield what a process is, and has inside, but for those that were looked at before."""
    stack = [name]
    while stack:
        name = stack.pop()
        if name in looked_at:
            continue
        looked_at.add(name)
        binding = module.bindings[name]
        yield binding
        if binding.body is not None:
            stack += [instance.binding for instance in binding.body.instances[::-1] if instance.binding is not None]
