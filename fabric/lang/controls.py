"""What is wired to an agent's ``ctrl_in`` where its declared type does not say what comes."""

from __future__ import annotations

__all__ = ["report_unknown_controls"]

from fabric.lang.diagnostic import Report
from fabric.lang.net import Net
from fabric.lang.signature import unknown_controls, warn_of_control
from fabric.wire.payload import JSON, resolve

_PASSING = ("id", "copy", "merge", "merge_any", "filter")
"""Kinds whose messages are those that they get, so that a type may be looked up before them."""


def report_unknown_controls(net: Net, report: Report) -> None:
    """Warn of control messages with a field that no agent knows, on control inputs that take any JSON."""
    types = {
        (instance.name, port.name): port.type
        for instance in net.instances.values()
        for port in (*instance.inputs, *instance.outputs)
    } | {("", port.name): port.type for port in net.binding.inputs}
    for instance in net.instances.values():
        told = net.inputs[instance.name].get("ctrl_in") if instance.kind == "agent" else None
        if told is None or resolve(types[instance.name, "ctrl_in"]) != JSON:
            continue
        seen = {told}
        stack = [told]
        while stack:
            for source, connection in net.feeders[stack.pop()]:
                end = net.ends[source]
                of = net.instance(source)
                for name in unknown_controls(types[end.instance, end.port])[:1]:
                    warn_of_control(name, connection.span, report)
                if of is not None and of.kind in _PASSING and not of.select and source not in seen:
                    seen.add(source)
                    stack += [port for port in net.inputs[of.name].values() if port not in seen]
