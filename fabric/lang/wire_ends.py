"""The ends of a session wire: which two ports of a process are meant.

``p@(a, b)`` says it, in any order. ``p@ctrl`` is ``ctrl_in`` and ``ctrl_out``: of an agent its control pair, of a body
that looks after one the same mirrored. Plain ``p`` has to be clear by itself.
"""

from __future__ import annotations

__all__ = ["Pair", "Refusal", "Side", "end_text", "resolve_end"]

from typing import Literal, TypeAlias

import msgspec

from fabric.lang import syntax
from fabric.lang.signature import Interface, PortDecl
from fabric.lang.source import Span

Side: TypeAlias = Literal["left", "right"]


class Pair(msgspec.Struct, frozen=True):
    """The ports of an end, and the process that they are of."""

    name: str
    span: Span
    sends: PortDecl
    takes: PortDecl

    @property
    def acknowledges(self) -> bool:
        """Whether it is an agent's control pair, which answers more than it is asked."""
        return self.sends.name == "ctrl_out" and self.takes.name == "ctrl_in"


class Refusal(msgspec.Struct, frozen=True):
    """Why an end means no ports; ``port``: the one that the process does not have."""

    message: str
    notes: tuple[str, ...] = ()
    help: str | None = None
    port: syntax.Name | None = None


def end_text(end: syntax.WireEnd) -> str:
    """Return an end as it is written."""
    names = [port.text for port in end.ports]
    ports = "" if not names else f"@{names[0]}" if len(names) == 1 else f"@({', '.join(names)})"
    return end.name.full + ports


def resolve_end(interface: Interface, end: syntax.WireEnd, side: Side) -> Pair | Refusal:
    """Return the ports that an end means, or why there are none."""
    outputs = {port.name: port for port in interface.outputs}
    inputs = {port.name: port for port in interface.inputs}

    def pair(sends: PortDecl, takes: PortDecl) -> Pair:
        return Pair(interface.name, end.span, sends, takes)

    mirrored = "ctrl_in" in outputs and "ctrl_out" in inputs
    controlled = "ctrl_out" in outputs and "ctrl_in" in inputs
    match [port.text for port in end.ports]:
        case []:
            if side == "right" and controlled and interface.kind in ("agent", "worker"):
                return pair(outputs["ctrl_out"], inputs["ctrl_in"])
            if mirrored:
                return pair(outputs["ctrl_in"], inputs["ctrl_out"])
            main_inputs, main_outputs = interface.main_inputs(), interface.main_outputs()
            if len(main_inputs) == len(main_outputs) == 1:
                return pair(main_outputs[0], main_inputs[0])
            return _which(interface, f"which ports of '{interface.name}' does this wire mean?")
        case ["ctrl"] if controlled:
            return pair(outputs["ctrl_out"], inputs["ctrl_in"])
        case ["ctrl"] if mirrored:
            return pair(outputs["ctrl_in"], inputs["ctrl_out"])
        case [one] if one in outputs or one in inputs:
            return _which(interface, f"a wire needs two ports of '{interface.name}', '{one}' is one")
        case [first, second] if first in outputs and second in inputs:
            return pair(outputs[first], inputs[second])
        case [first, second] if first in inputs and second in outputs:
            return pair(outputs[second], inputs[first])
        case [first, second] if first in outputs and second in outputs:
            return _which(interface, f"'{first}' and '{second}' are both outputs; one end also receives")
        case [first, second] if first in inputs and second in inputs:
            return _which(interface, f"'{first}' and '{second}' are both inputs; one end also sends")
        case names if "ctrl" in names and (controlled or mirrored):
            message = f"'ctrl' means two ports already: write {interface.name}@ctrl"
            return _which(interface, message)
        case names if len(names) > 2:
            return _which(interface, f"a wire needs two ports of '{interface.name}', here are {len(names)}")
    unknown = next(port for port in end.ports if port.text not in outputs and port.text not in inputs)
    return Refusal("", port=unknown)


def _which(interface: Interface, message: str) -> Refusal:
    inputs = [port.name for port in interface.inputs]
    outputs = [port.name for port in interface.outputs]
    notes = tuple(
        f"its {what}s are: {', '.join(names)}" if names else f"it has no {what}"
        for what, names in (("input", inputs), ("output", outputs))
    )
    write = (
        f"name an output and an input: {interface.name}@({outputs[0]}, {inputs[-1]})" if inputs and outputs else None
    )
    return Refusal(message, notes, write)
