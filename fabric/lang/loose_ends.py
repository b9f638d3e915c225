"""What is missing in a body once it has been read whole."""

from __future__ import annotations

__all__ = ["report_loose_ends"]

from fabric.lang.body import BodyBuilder
from fabric.lang.signature import PortDecl
from fabric.lang.typed import BOUNDARY, Endpoint
from fabric.wire.payload import show_stream


def report_loose_ends(body: BodyBuilder) -> None:
    """Report inputs that nothing feeds and outputs of the body that nothing reaches, and warn of what goes nowhere."""
    channels = dict(body.channels.values())
    unread = [name for name in body.inputs if Endpoint(BOUNDARY, name) not in body.read]
    giver = next(iter([*unread, *body.inputs]), "a")
    for instance in body.instances.values():
        for port in instance.inputs:
            end = Endpoint(instance.name, port.name)
            if end in body.written or end in body.optional:
                continue
            if instance.name in channels:
                _report_loose_channel(body, channels[instance.name], Endpoint(instance.name, "output"))
                continue
            if instance.span.start in body.excused:
                continue
            what = f"'{instance.binding or instance.kind}'"
            selected = f"@{port.name}" if len(instance.inputs) > 1 else ""
            where = f"input '{port.name}' of {what}" if len(instance.inputs) > 1 else what
            body.report.add(
                "E0501",
                instance.span,
                f"nothing feeds {where}",
                label=f"needs {show_stream(port.type)}",
                help=body.runs_on.get(instance.span.start)
                or (f"wire something to it: {giver} ; {instance.binding}{selected}" if instance.binding else None),
            )
    for name, (instance_name, decl) in body.channels.items():
        if Endpoint(instance_name, "output") not in body.read and Endpoint(instance_name, "input") in body.written:
            body.report.add("W0511", decl.span, f"nothing reads channel '{name}'; its messages are discarded")
    for port_decl in body.interface.outputs:
        if Endpoint(BOUNDARY, port_decl.name) not in body.written:
            body.report.add(
                "E0505",
                port_decl.span,
                f"nothing feeds the output '{port_decl.name}' of '{body.interface.name}'",
                help=f"end a chain with it: ... ; {port_decl.name}" if body.outputs else None,
            )
    for port_decl in body.interface.inputs:
        if Endpoint(BOUNDARY, port_decl.name) not in body.read:
            body.report.add(
                "W0510",
                port_decl.span,
                f"nothing reads the input '{port_decl.name}' of '{body.interface.name}'; its messages are discarded",
            )


def _report_loose_channel(body: BodyBuilder, decl: PortDecl, output: Endpoint) -> None:
    if output in body.read:
        body.report.add("E0501", decl.span, f"nothing writes to channel '{decl.name}'")
    else:
        body.report.add(
            "W0511", decl.span, f"channel '{decl.name}' is not used", help="remove it, or wire something to it"
        )
