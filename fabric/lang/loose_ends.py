"""What is missing in a body once it has been read whole."""

from __future__ import annotations

__all__ = ["report_loose_ends", "report_unfed_cycles"]

from fabric.lang.body import BodyBuilder
from fabric.lang.feeding import unfed_cycles
from fabric.lang.signature import PortDecl
from fabric.lang.typed import BOUNDARY, Body, Endpoint
from fabric.wire.payload import show

    def _report_loose_ends(self) -> None:
        channels = dict(self._body.channels.values())
        for instance in self._body.instances.values():
            for port in instance.inputs:
                end = Endpoint(instance.name, port.name)
                if end in self._body.written or end in self._body.optional:
                    continue
                if instance.name in channels:
                    self._report_loose_channel(channels[instance.name], Endpoint(instance.name, "output"))
                    continue
                what = f"'{instance.binding or instance.kind}'"
                where = f"input '{port.name}' of {what}" if len(instance.inputs) > 1 else what
                self._body.report.add(
                    "E0501",
                    instance.span,
                    f"nothing feeds {where}",
                    label=f"needs !{show(port.type)}",
                    help=f"wire something to it: a ; {instance.binding}{'@' + port.name if len(instance.inputs) > 1 else ''}"
                    if instance.binding
                    else None,
                )
        for name, (instance_name, decl) in self._body.channels.items():
            if (
                Endpoint(instance_name, "output") not in self._body.read
                and Endpoint(instance_name, "input") in self._body.written
            ):
                self._body.report.add("W0511", decl.span, f"nothing reads channel '{name}'; its messages are discarded")
        for port_decl in self._body.interface.outputs:
            if Endpoint(BOUNDARY, port_decl.name) not in self._body.written:
                self._body.report.add(
                    "E0505",
                    self._header_span(port_decl),
                    f"nothing feeds the output '{port_decl.name}' of '{self._body.interface.name}'",
                    help=f"end a chain with it: a ; {port_decl.name}" if self._body.outputs else None,
                )
        for port_decl in self._body.interface.inputs:
            if Endpoint(BOUNDARY, port_decl.name) not in self._body.read:
                self._body.report.add(
                    "W0510",
                    self._header_span(port_decl),
                    f"nothing reads the input '{port_decl.name}' of '{self._body.interface.name}'; its messages are discarded",
                )

    def _report_loose_channel(self, decl: PortDecl, output: Endpoint) -> None:
        if output in self._body.read:
            self._body.report.add("E0501", decl.span, f"nothing writes to channel '{decl.name}'")
        else:
            self._body.report.add(
                "W0511", decl.span, f"channel '{decl.name}' is not used", help="remove it, or wire something to it"
            )
