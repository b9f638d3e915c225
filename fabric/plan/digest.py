"""What a program is, apart from where it lies and runs: by this a session knows its program again."""

from __future__ import annotations

__all__ = ["changes", "digest_of", "parts_of"]

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from fabric.plan.plan import Plan

_ELSEWHERE = frozenset({"endpoint", "detour", "resources", "bucket", "session"})
"""What is in a worker's configuration and says where something is, not what it does."""

_LINE = re.compile(r"@(\d+)")

_encoder = msgspec.json.Encoder(order="deterministic", enc_hook=str)


def parts_of(plan: Plan) -> dict[str, dict[str, str]]:
    """Return what a program consists of: by the name of each part its fields, each as a digest.

    Of a worker also its configuration; of the wiring the channels. Places in the text are left out, and nodes that are
    named by their line are numbered instead: who only adds a comment has the same program.
    """
    lines = sorted({int(line) for node in plan.graph.nodes for line in _LINE.findall(node)})
    ranks = {str(line): str(rank) for rank, line in enumerate(lines, 1)}

    def name_of(node: str) -> str:
        return _LINE.sub(lambda found: "@" + ranks[found[1]], node)

    parts: dict[str, dict[str, Any]] = {}
    for node in plan.graph.nodes.values():
        fields = {
            "kind": node.kind,
            "inputs": [[port.name, port.type] for port in node.inputs],
            "outputs": [[port.name, port.type] for port in node.outputs],
            "expression": _bare(node.expr),
            "select": node.select,
            "index": node.index,
            "wire": _bare(node.wire),
            "calls": _bare(node.calls),
        }
        parts[f"{node.kind} {name_of(node.id)}"] = {
            name: value for name, value in fields.items() if value not in (None, (), [])
        }
    for worker in plan.workers:
        spec, part = worker.spec, parts[f"{worker.spec.kind} {name_of(worker.node)}"]
        part |= {name: value for name, value in spec.config.items() if name not in _ELSEWHERE}
        if spec.documents:
            part["documents"] = [[document.name, document.text] for document in spec.documents]
    for channel in plan.graph.channels:
        source, target = (f"{name_of(end.node)}.{end.port}" for end in (channel.source, channel.target))
        checked = {} if channel.check is None else {"check": channel.check}
        parts[f"channel {source}->{target}"] = {"type": channel.type, **checked}
    return {name: {field: _digest(value) for field, value in part.items()} for name, part in parts.items()}


def digest_of(parts: Mapping[str, Mapping[str, str]]) -> str:
    """Return the digest of a program's parts."""
    return hashlib.sha256(_encoder.encode(parts)).hexdigest()


def changes(before: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return in words what is not what it was."""
    said = [f"{name} is gone" for name in before if name not in now]
    said += [f"{name} is new" for name in now if name not in before]
    for name in (name for name in now if name in before and now[name] != before[name]):
        fields = before[name].keys() | now[name].keys()
        other = sorted(field for field in fields if before[name].get(field) != now[name].get(field))
        said.append(f"{name}: {', '.join(other)}")
    return said


def _digest(value: Any) -> str:
    return hashlib.sha256(_encoder.encode(value)).hexdigest()[:16]


def _bare(value: Any) -> Any:
    """Return data without the places where it was written."""
    if isinstance(value, msgspec.Struct):
        fields = [(name, getattr(value, name)) for name in value.__struct_fields__ if name != "span"]
        return [type(value).__name__, *([name, _bare(field)] for name, field in fields)]
    if isinstance(value, tuple | list):
        return [_bare(one) for one in value]
    if isinstance(value, dict):
        return {str(key): _bare(one) for key, one in value.items()}
    return value
