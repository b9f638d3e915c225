"""Source text to a checked module.

    parse -> types -> signatures -> configurations and morphisms -> bodies -> main

Each step goes on where the one before found mistakes, as far as they leave anything to check.
"""

from __future__ import annotations

__all__ = ["check_program", "check_source"]

from typing import Any, cast

from fabric.lang import syntax, typed
from fabric.lang.body import Scope
from fabric.lang.config import check_config
from fabric.lang.diagnostic import Diagnostic, Report
from fabric.lang.expr import infer, select_path
from fabric.lang.morphisms import item_type, passing
from fabric.lang.ordering import dependency_order
from fabric.lang.parser import parse
from fabric.lang.signature import Interface, kind_of, ports, read_interface
from fabric.lang.source import Source, Span
from fabric.lang.types import TypeTable, is_consistent, is_subtype, why_not
from fabric.lang.wiring import wire_body, wire_chain
from fabric.wire.payload import Product, Type, show

INSTANCES_MAX = 20_000
"""Processes of the main binding with all nested bodies expanded."""

BODY_DEPTH_MAX = 80
"""Levels of bodies inside bodies; the graph stage recurses over them."""


def check_source(source: Source) -> tuple[typed.Module | None, tuple[Diagnostic, ...]]:
    """Parse and check a program. The module is None if, and only if, there is an error among the diagnostics."""
    report = Report(source)
    program = parse(source, report)
    module = check_program(program, report)
    return module, report.diagnostics()


def check_program(program: syntax.Program, report: Report) -> typed.Module | None:
    """Check a syntax tree; what is wrong goes to the report, and then there is no module."""
    checker = _Checker(program, report)
    module = checker.run()
    return None if report.has_errors else module


class _Checker:
    def __init__(self, program: syntax.Program, report: Report) -> None:
        self._program = program
        self._report = report
        self._types = TypeTable(program, report)
        self._decls: dict[str, syntax.BindingDecl] = {}
        self._interfaces: dict[str, Interface] = {}
        self._bindings: dict[str, typed.Binding] = {}
        self._unusable: set[str] = set(program.broken)

    def run(self) -> typed.Module | None:
        self._refuse_unsupported()
        self._collect()
        for name, decl in self._decls.items():
            kind = kind_of(decl.impl)
            if kind is None:
                self._report.add(
                    "E0902", decl.name.span, "tools are not supported yet by this version", label=f"'{name}' is a tool"
                )
                self._unusable.add(name)
                continue
            interface = read_interface(decl, kind, self._types, self._report)
            self._interfaces[name] = interface
            if kind != "plumb":
                self._bindings[name] = self._simple(decl, interface)
        self._bodies()
        main = self._main()
        if main is None:
            return None
        in_order = {name: self._bindings[name] for name in self._decls if name in self._bindings}
        return typed.Module(self._report.source, self._types.types, in_order, main)

    def _refuse_unsupported(self) -> None:
        seen: dict[str, Span] = {}
        for decl in self._program.declarations:
            match decl:
                case syntax.UseDecl(name, span=span):
                    self._report.add("E0901", span, f"modules are not supported yet by this version: 'use {name}'")
                case syntax.ProtocolDecl(name, span=span):
                    if name.text in seen:
                        self._report.add(
                            "E0205",
                            name.span,
                            f"protocol '{name.text}' is declared twice",
                            related=[(seen[name.text], "first declared here")],
                        )
                        continue
                    seen[name.text] = name.span
                    self._report.add(
                        "E0903", name.span, f"protocols are not supported yet by this version: '{name.text}'"
                    )

    def _collect(self) -> None:
        for decl in self._program.declarations:
            if not isinstance(decl, syntax.BindingDecl):
                continue
            name = decl.name
            if name.text in self._decls:
                self._report.add(
                    "E0205",
                    name.span,
                    f"process '{name.text}' is declared twice",
                    related=[(self._decls[name.text].name.span, "first declared here")],
                    help="each name stands for one process",
                )
                continue
            if name.text[0].isupper():
                self._report.add("W0210", name.span, f"names of processes start with a small letter: '{name.text}'")
            self._decls[name.text] = decl

    # --- bindings without a body ---

    def _simple(self, decl: syntax.BindingDecl, interface: Interface) -> typed.Binding:
        config: dict[str, Any] = {}
        expr: typed.Expr | None = None
        select: tuple[str, ...] = ()
        index: int | str | None = None
        match decl.impl:
            case syntax.ConfiguredImpl() as impl:
                config = check_config(decl.name.text, impl, self._decls.keys(), self._report)
            case syntax.Chain((syntax.Inline() as inline,)):
                select = tuple(field.text for field in inline.fields)
                index = inline.index
                if interface.inputs and inline.expr is not None:
                    use = cast("Any", interface.kind)
                    expr = infer(inline.expr, interface.inputs[0].type, use, self._report)
                if interface.is_sound:
                    self._check_morphism(decl, inline, interface, expr)
        return typed.Binding(
            decl.name.text,
            interface.kind,
            ports(interface.inputs),
            ports(interface.outputs),
            decl.name.span,
            config,
            None,
            expr,
            select,
            index,
            interface.positional,
        )

    def _check_morphism(
        self, decl: syntax.BindingDecl, inline: syntax.Inline, interface: Interface, expr: typed.Expr | None
    ) -> None:
        """Compare what a morphism makes of its inputs with its declared outputs."""
        inputs = [port.type for port in interface.inputs]
        gives: list[Type] = []
        match interface.kind:
            case "map":
                assert expr is not None
                gives = [select_path(expr.type, inline.fields, self._report)]
            case "filter":
                assert expr is not None
                gives = self._filtered(inline, interface, expr)
            case "project":
                assert inline.index is not None
                item = item_type(inputs[0], inline.index, inline.span, self._report)
                gives = [] if item is None else [item]
            case "id" | "copy" | "merge" | "merge_any":
                gives = inputs
            case "barrier":
                gives = [Product(tuple(inputs))]
        for output in interface.outputs:
            for given in gives:
                if not is_consistent(given, output.type):
                    self._report.add(
                        "E0412",
                        expr.span if expr is not None else inline.span,
                        f"'{decl.name.text}' declares !{show(output.type)} but gives !{show(given)}",
                        label=f"gives !{show(given)}",
                        related=[(output.span, f"declared as !{show(output.type)}")],
                        notes=why_not(given, output.type),
                    )

    def _filtered(self, inline: syntax.Inline, interface: Interface, expr: typed.Expr) -> list[Type]:
        """Return what a declared filter gives; it may declare a part of its input as its output (a typed selector)."""
        input_, output = interface.inputs[0].type, interface.outputs[0].type
        result = passing(expr, input_, self._report)
        if result is None:
            return []
        if inline.fields:
            return [select_path(result, inline.fields, self._report)]
        return [] if is_subtype(output, input_) else [result]

    # --- bodies ---

    def _bodies(self) -> None:
        modules = {d.name[:1].upper() + d.name[1:] for d in self._program.declarations if isinstance(d, syntax.UseDecl)}
        scope = Scope(
            self._interfaces, dict(self._bindings), frozenset(self._unusable), frozenset(modules), self._types
        )
        uses: dict[str, dict[str, Span]] = {}
        for name, interface in self._interfaces.items():
            if interface.kind != "plumb":
                continue
            impl = self._decls[name].impl
            if isinstance(impl, syntax.PlumbImpl):
                if len(impl.header) != len(interface.inputs) + len(interface.outputs):
                    continue  # reported; its names would mean the wrong ports
                wired = wire_body(impl, interface, scope, self._report)
            else:
                assert isinstance(impl, syntax.Chain)
                wired = wire_chain(impl, interface, scope, self._report)
            uses[name] = wired.uses
            self._bindings[name] = typed.Binding(
                name,
                "plumb",
                ports(interface.inputs),
                ports(interface.outputs),
                interface.span,
                body=wired.body,
            )
        order, cycles = dependency_order(uses)
        for cycle in cycles:
            path = " -> ".join([*cycle, cycle[0]])
            next_name = cycle[1] if len(cycle) > 1 else cycle[0]
            self._report.add(
                "E0506",
                self._interfaces[cycle[0]].span,
                f"process '{cycle[0]}' contains itself" + (f": {path}" if len(cycle) > 1 else ""),
                related=[(uses[cycle[0]][next_name], f"'{next_name}' is used here")],
                help="wire a loop with channels inside one body: a ; b ; a",
            )
        if not cycles:
            self._check_sizes(order)

    def _check_sizes(self, order: list[str]) -> None:
        """Refuse bodies that become too many processes, or too deep, when nested ones are expanded."""
        sizes: dict[str, tuple[int, int]] = {}
        for name in order:
            body = self._bindings[name].body
            assert body is not None
            inner = [sizes.get(instance.binding or "", (1, 0)) for instance in body.instances]
            size, depth = sum(i[0] for i in inner), 1 + max((i[1] for i in inner), default=0)
            if size > INSTANCES_MAX or depth > BODY_DEPTH_MAX:
                what = f"{size} processes" if size > INSTANCES_MAX else f"bodies nested {depth} deep"
                limit = INSTANCES_MAX if size > INSTANCES_MAX else BODY_DEPTH_MAX
                self._report.add(
                    "E0507", self._interfaces[name].span, f"'{name}' is too large: {what}, at most {limit} are allowed"
                )
                size, depth = 1, 0
            sizes[name] = (size, depth)

    # --- main ---

    def _main(self) -> str | None:
        if "main" in self._interfaces:
            if self._interfaces["main"].is_stream or not self._interfaces["main"].is_sound:
                return "main"
            decl = self._decls["main"]
            self._report.add(
                "E0405",
                Span(decl.input.span.start, decl.output.span.end),
                "'main' takes and gives streams",
                help="write '!' on both sides: !A -> !B",
            )
            return None
        if "main" in self._decls or self._program.broken:
            return None
        streams = [name for name, interface in self._interfaces.items() if interface.is_stream]
        if len(streams) == 1:
            return streams[0]
        end = Span(len(self._report.source.text), len(self._report.source.text))
        if not streams:
            self._report.add(
                "E0206",
                end,
                "there is no process to run",
                help="add one: let main : !string -> !string = plumb(input, output) { ... }",
            )
        else:
            some = ", ".join(f"'{name}'" for name in streams[:5]) + (", ..." if len(streams) > 5 else "")
            self._report.add(
                "E0206",
                end,
                f"which process is to run? There is no 'main', and there are {len(streams)}: {some}",
                help="name one of them 'main'",
            )
        return None
