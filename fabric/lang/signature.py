"""Signatures to ports.

``!A`` is one port and ``(!A, !B)`` two; what they are called depends on the kind of process. ``A -> B`` without ``!``
is allowed for the pure morphisms and means the same as ``!A -> !B`` wherever messages flow.
"""

from __future__ import annotations

__all__ = [
    "CONTROL_FIELDS",
    "Interface",
    "PortDecl",
    "ports",
    "read_interface",
    "unknown_controls",
    "warn_of_control",
]

from typing import cast

import msgspec

from fabric.lang import syntax
from fabric.lang.diagnostic import Report
from fabric.lang.source import Span
from fabric.lang.typed import Kind, Port
from fabric.lang.types import TypeTable, is_consistent
from fabric.wire.payload import JSON, UNIT, Product, Record, Sum, Type, resolve, show_stream

CONTROL_FIELDS = (
    "set_temp", "set_model", "stop", "pause", "resume", "get_memory", "format", "set_memory",
)  # fmt: skip
"""Fields of a control message that agents understand."""

_BARE_ALLOWED = ("tool", "id", "map", "copy", "discard")


class PortDecl(msgspec.Struct, frozen=True, gc=False):
    """A port and where the program says its type."""

    name: str
    type: Type
    span: Span


class Interface(msgspec.Struct, frozen=True, gc=False):
    """How a binding looks from outside.

    Attributes:
        name: as it is written where it is mentioned, as in ``Mem.compact``.
        binding: the name of its binding, unique in the program.
        inputs, outputs: all ports; of an agent also those that its signature only implies.
        positional: the ports that unnamed ``spawn`` arguments mean, in the order of the signature.
        is_stream: written with ``!``.
        is_sound: the signature is right; if not, the implementation is not compared with it.
    """

    name: str
    binding: str
    kind: Kind
    span: Span
    inputs: tuple[PortDecl, ...]
    outputs: tuple[PortDecl, ...]
    positional: tuple[str, ...]
    is_stream: bool = True
    is_sound: bool = True

    def main_inputs(self) -> tuple[PortDecl, ...]:
        """Return the ports that a chain feeds."""
        return self.inputs[:1] if self.kind in ("agent", "worker") else self.inputs

    def main_outputs(self) -> tuple[PortDecl, ...]:
        """Return the ports that a chain reads."""
        return self.outputs[:1] if self.kind in ("agent", "worker", "python", "handler") else self.outputs


def _kind_of(impl: syntax.Impl) -> Kind:
    match impl:
        case syntax.ConfiguredImpl(kind):
            return kind
        case syntax.Chain((syntax.Inline(kind),)):
            return cast("Kind", {"merge_all": "merge", "mux": "id"}.get(kind, kind))
    return "plumb"


class _Side(msgspec.Struct, frozen=True):
    types: tuple[tuple[Type, Span], ...]
    is_stream: bool


def read_interface(decl: syntax.BindingDecl, prefix: str, types: TypeTable, report: Report) -> Interface:
    """Return the ports of a binding; a wrong signature is reported and leaves as many ports as make sense.

    ``prefix`` makes its name that of its binding.
    """
    kind = _kind_of(decl.impl)
    interface = _Reader(decl, kind, types, report).read(prefix)
    for port in (*interface.inputs, *interface.outputs):
        if port.name != "ctrl_in" or kind != "agent":
            continue
        for name in unknown_controls(port.type)[:1]:
            warn_of_control(name, port.span, report)
    return interface


def unknown_controls(type_: Type) -> list[str]:
    """Return the fields of a control message that agents do not know."""
    return [name for name in _field_names(type_) if name not in CONTROL_FIELDS]


def warn_of_control(name: str, span: Span, report: Report) -> None:
    """Warn of such a field."""
    report.add(
        "W0611",
        span,
        f"agents do not know the control field '{name}'",
        notes=[f"they know: {', '.join(CONTROL_FIELDS)}"],
        help=report.suggest(name, CONTROL_FIELDS),
    )


def _field_names(type_: Type) -> list[str]:
    match resolve(type_):
        case Record(fields):
            return [field.name for field in fields]
        case Sum(variants):
            return [name for variant in variants for name in _field_names(variant)]
    return []


class _Reader:
    def __init__(self, decl: syntax.BindingDecl, kind: Kind, types: TypeTable, report: Report) -> None:
        self._decl = decl
        self._kind = kind
        self._types = types
        self._report = report
        self._sound = True

    def read(self, prefix: str) -> Interface:
        ins, outs = self._side(self._decl.input), self._side(self._decl.output)
        if self._is_diagonal(ins, outs):
            self._kind = "map"
        if ins.is_stream != outs.is_stream:
            self._bad(
                f"the signature of '{self._decl.name.text}' mixes a stream and a bare type",
                help="write '!' on both sides: !A -> !B",
            )
        elif not ins.is_stream:
            self._bare()
        elif self._kind == "tool":
            self._bad("a tool takes one value and gives one, not streams", help="write it without '!': A -> B")
        if not self._sound:
            outs = _Side(outs.types[:1], outs.is_stream)
        inputs, outputs, declared = self._ports(ins.types, outs.types)
        decl = self._decl
        return Interface(
            decl.name.text,
            prefix + decl.name.text,
            self._kind,
            decl.name.span,
            inputs,
            outputs,
            (*(port.name for port in inputs), *declared),
            ins.is_stream or self._kind in ("agent", "worker"),
            self._sound,
        )

    def _is_diagonal(self, ins: _Side, outs: _Side) -> bool:
        """Say whether this is a copy without ``!``: of one value it makes one pair, as a map would."""
        if self._kind != "copy" or ins.is_stream or outs.is_stream:
            return False
        given, result = ins.types[0][0], resolve(outs.types[0][0])
        return isinstance(result, Product) and all(is_consistent(given, item) for item in result.items[:2])

    def _bad(self, message: str, *, span: Span | None = None, help: str | None = None) -> None:  # noqa: A002
        self._sound = False
        where = span or Span(self._decl.input.span.start, self._decl.output.span.end)
        self._report.add("E0405", where, message, help=help)

    def _bare(self) -> None:
        where = Span(self._decl.input.span.start, self._decl.output.span.end)
        if self._kind in ("agent", "worker"):
            self._report.add(
                "W0112",
                where,
                f"the signature of '{self._decl.name.text}' without '!' is an old form",
                help="write '!' on both sides: !A -> !B",
            )
        elif self._kind not in _BARE_ALLOWED:
            article = "an" if self._kind[0] in "aeiou" else "a"
            self._bad(
                f"{article} {self._kind} takes and gives streams, this signature has bare types",
                help="write '!' on both sides: !A -> !B",
            )

    def _side(self, type_: syntax.TypeSyntax) -> _Side:
        match type_:
            case syntax.StreamType(of):
                return _Side(((self._types.value_type(of), type_.span),), True)
            case syntax.SumType(variants) if isinstance(variants[0], syntax.StreamType):
                plain = tuple(part.of if isinstance(part, syntax.StreamType) else part for part in variants)
                self._bad(
                    "'!' stands before a whole sum, not before one of its variants",
                    span=type_.span,
                    help="write parentheses: !(A | B)",
                )
                return _Side(((self._types.value_type(syntax.SumType(plain, type_.span)), type_.span),), True)
            case syntax.ProductType(items) if any(isinstance(item, syntax.StreamType) for item in items):
                types = []
                for item in items:
                    if isinstance(item, syntax.StreamType):
                        types.append((self._types.value_type(item.of), item.span))
                    else:
                        self._bad(
                            "either every part of this side is a stream or none is",
                            span=item.span,
                            help="(!A, !B) are two ports; !(A, B) is one port of pairs",
                        )
                        types.append((self._types.value_type(item), item.span))
                return _Side(tuple(types), True)
        return _Side(((self._types.value_type(type_), type_.span),), False)

    def _ports(
        self, ins: tuple[tuple[Type, Span], ...], outs: tuple[tuple[Type, Span], ...]
    ) -> tuple[tuple[PortDecl, ...], tuple[PortDecl, ...], tuple[str, ...]]:
        """Return inputs, outputs, and the names of the outputs that the signature shows."""
        impl = self._decl.impl
        match self._kind:
            case "agent" | "worker":
                return self._worker_ports(ins, outs)
            case "plumb" if isinstance(impl, syntax.PlumbImpl):
                inputs, outputs = self._header_ports(impl, ins, outs)
            case "plumb":
                inputs, outputs = _numbered("input", ins), _numbered("output", outs)
            case "copy":
                self._count(ins, 1, 1, "input")
                outputs = _numbered("output", outs if len(outs) > 1 else outs * 2)
                inputs = _numbered("input", ins[:1])
            case "merge" | "merge_any":
                self._count(outs, 1, 1, "output")
                inputs, outputs = _numbered("input", ins if len(ins) > 1 else ins * 2), _numbered("output", outs[:1])
            case "barrier":
                self._count(ins, 2, None, "input")
                self._count(outs, 1, 1, "output")
                inputs = tuple(PortDecl(f"input_{i}", *part) for i, part in enumerate(ins))
                outputs = _numbered("output", outs[:1])
            case "discard":
                self._count(ins, 1, 1, "input")
                inputs, outputs = _numbered("input", ins[:1]), ()
                if resolve(outs[0][0]) != UNIT and self._sound:
                    self._bad("a discard gives nothing", span=outs[0][1], help="write '!unit' as its output")
            case "empty":
                self._count(outs, 1, 1, "output")
                inputs, outputs = (), _numbered("output", outs[:1])
            case "python" | "handler" if len(outs) > 1:
                self._count(ins, 1, 1, "input")
                self._check_telemetry(f"a {self._kind}", outs)
                inputs = _numbered("input", ins[:1])
                outputs = (PortDecl("output", *outs[0]), PortDecl("telemetry", JSON, outs[1][1]))
            case _:
                self._count(ins, 1, 1, "input")
                self._count(outs, 1, 1, "output")
                inputs, outputs = _numbered("input", ins[:1]), _numbered("output", outs[:1])
        return inputs, outputs, tuple(port.name for port in outputs)

    def _count(self, side: tuple[tuple[Type, Span], ...], least: int, most: int | None, what: str) -> None:
        if len(side) < least or (most is not None and len(side) > most):
            wanted = f"at least {least} {what}s" if most is None else f"{least} {what}"
            self._bad(
                f"a {self._kind} has {wanted}, this signature has {len(side)}",
                span=Span(side[0][1].start, side[-1][1].end),
            )

    def _worker_ports(
        self, ins: tuple[tuple[Type, Span], ...], outs: tuple[tuple[Type, Span], ...]
    ) -> tuple[tuple[PortDecl, ...], tuple[PortDecl, ...], tuple[str, ...]]:
        article = "an agent" if self._kind == "agent" else "a worker"
        if len(ins) > 2:
            self._bad(
                f"{article} has at most two inputs, input and ctrl_in; this signature has {len(ins)}",
                span=ins[2][1],
                help="merge messages of several types on one input: !(A | B)",
            )
        self._check_telemetry(article, outs)
        inputs = tuple(PortDecl(name, *part) for name, part in zip(("input", "ctrl_in"), ins, strict=False))
        outputs = [PortDecl("output", *outs[0])]
        name_span = self._decl.name.span
        if len(inputs) > 1:
            outputs.append(PortDecl("ctrl_out", JSON, name_span))
        outputs.append(PortDecl("telemetry", JSON, outs[1][1] if len(outs) > 1 else name_span))
        return inputs, tuple(outputs), ("output", "telemetry") if len(outs) > 1 else ("output",)

    def _check_telemetry(self, article: str, outs: tuple[tuple[Type, Span], ...]) -> None:
        if len(outs) > 2:
            self._bad(
                f"{article} has at most two declared outputs, output and telemetry; this signature has {len(outs)}",
                span=outs[2][1],
            )
        if len(outs) > 1 and resolve(outs[1][0]) != JSON:
            self._bad(
                f"the second output of {article} is its telemetry, of type !json, not {show_stream(outs[1][0])}",
                span=outs[1][1],
                help="write (!A, !json)",
            )

    def _header_ports(
        self, impl: syntax.PlumbImpl, ins: tuple[tuple[Type, Span], ...], outs: tuple[tuple[Type, Span], ...]
    ) -> tuple[tuple[PortDecl, ...], tuple[PortDecl, ...]]:
        names: dict[str, Span] = {}
        for name in impl.header:
            if name.text in names:
                self._sound = False
                self._report.add(
                    "E0205",
                    name.span,
                    f"two ports are called '{name.text}'",
                    related=[(names[name.text], "the first one")],
                )
            names.setdefault(name.text, name.span)
        if len(impl.header) != len(ins) + len(outs):
            self._sound = False
            span = (
                Span(impl.header[0].span.start, impl.header[-1].span.end)
                if impl.header
                else Span(impl.span.start, impl.span.start + len("plumb"))
            )
            self._report.add(
                "E0410",
                span,
                f"this header names {len(impl.header)} ports, the signature has {len(ins)} in and {len(outs)} out",
                related=[(Span(self._decl.input.span.start, self._decl.output.span.end), "the signature")],
                help="name the inputs first, then the outputs",
            )
        header = list(names)
        header += [f"port_{i}" for i in range(len(header), len(ins) + len(outs))]  # so that its users see ports
        inputs = tuple(PortDecl(name, *part) for name, part in zip(header, ins, strict=False))
        outputs = tuple(PortDecl(name, *part) for name, part in zip(header[len(ins) :], outs, strict=False))
        return inputs, outputs


def _numbered(word: str, side: tuple[tuple[Type, Span], ...]) -> tuple[PortDecl, ...]:
    if len(side) == 1:
        return (PortDecl(word, *side[0]),)
    return tuple(PortDecl(f"{word}_{i}", *part) for i, part in enumerate(side))


def ports(decls: tuple[PortDecl, ...]) -> tuple[Port, ...]:
    """Return ports without their places."""
    return tuple(Port(decl.name, decl.type) for decl in decls)
