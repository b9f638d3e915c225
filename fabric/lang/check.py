"""Source text to a checked module.

    files -> for each: types -> protocols -> signatures -> configurations and morphisms -> bodies -> their loops; then
    main, and what it does without

Each step goes on where the one before found mistakes, as far as they leave anything to check.
"""

from __future__ import annotations

__all__ = ["Analysis", "FileAnalysis", "analyse", "check_source"]

from collections.abc import Iterator, Mapping
from typing import Any, cast

import msgspec

from fabric.lang import syntax, typed
from fabric.lang.body import Scope
from fabric.lang.config import check_config
from fabric.lang.diagnostic import Diagnostic, Report
from fabric.lang.expr import infer, select_path
from fabric.lang.flows import FOLLOWS_FROM_ERRORS, Flows
from fabric.lang.modules import NO_LIBRARY, Library, ParsedFile, load_files, namespace_of
from fabric.lang.morphisms import item_type, passing
from fabric.lang.ordering import dependency_order
from fabric.lang.protocols import ProtocolTable
from fabric.lang.signature import Interface, ports, read_interface
from fabric.lang.source import Source, Sources, Span
from fabric.lang.tools import check_tool
from fabric.lang.types import TypeTable, is_consistent, is_subtype, why_not
from fabric.lang.unused import report_unused
from fabric.lang.wiring import Wired, wire_body, wire_chain
from fabric.wire.payload import Product, Type, show_stream

INSTANCES_MAX = 20_000
"""Processes of the main binding with all nested bodies expanded."""

BODY_DEPTH_MAX = 80
"""Levels of bodies inside bodies; the graph stage recurses over them."""


class FileAnalysis(msgspec.Struct, frozen=True):
    """What is known of one file, as far as its mistakes leave anything to know.

    Attributes:
        uses: namespace to path, of the files that could be had.
        types: those it declares, by name.
        table: reads types as they are written in it.
        processes: what it may name, those of other files behind their namespaces.
        bindings: its own that were read, by name; a body has what could be wired of it.
    """

    source: Source
    program: syntax.Program
    uses: Mapping[str, str]
    types: Mapping[str, Type]
    table: TypeTable
    processes: Mapping[str, Interface]
    bindings: Mapping[str, typed.Binding]


class Analysis(msgspec.Struct, frozen=True):
    """A program with or without mistakes. ``files``: by path, the main one last; ``module``: if there is no error."""

    sources: Sources
    files: Mapping[str, FileAnalysis]
    module: typed.Module | None
    diagnostics: tuple[Diagnostic, ...]


def check_source(source: Source, library: Library = NO_LIBRARY) -> tuple[typed.Module | None, tuple[Diagnostic, ...]]:
    """Parse and check a program. The module is None if, and only if, there is an error among the diagnostics.

    Args:
        source: the main file.
        library: finds the files that it uses.
    """
    analysis = analyse(source, library)
    return analysis.module, analysis.diagnostics


def analyse(source: Source, library: Library = NO_LIBRARY) -> Analysis:
    """Do the same, and return what was found on the way, which is there also for a program with errors."""
    report = Report(source)
    checked: dict[str, _Checker] = {}
    for path, file in load_files(source, report, library).items():
        imports = {space: checked[used] for space, used in file.uses.items()}
        checked[path] = _Checker(file, imports, report)
        checked[path].check()
    *others, main = checked.values()
    name = main.find_main()
    main.warn(name)
    module = None
    if not report.has_errors and name is not None:
        bindings = {binding.name: binding for checker in (main, *others) for binding in checker.typed_bindings()}
        module = typed.Module(report.sources, main.types.types, main.protocols.typed(), bindings, name)
    files = {path: checker.analysis() for path, checker in checked.items()}
    return Analysis(report.sources, files, module, report.diagnostics())


class _Checker:
    """Checks one file.

    Attributes:
        interfaces: of its processes by name.
        unusable: names that are known to be wrong.
    """

    def __init__(self, file: ParsedFile, imports: Mapping[str, _Checker], report: Report) -> None:
        self._file = file
        self._program = file.program
        self._imports = imports
        self._report = report
        self._decls: dict[str, syntax.BindingDecl] = {}
        self._bindings: dict[str, typed.Binding] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._uses: dict[str, dict[str, Span]] = {}
        self._flows = Flows()
        self._mentioned: set[str] = set()  # namespaces
        self.interfaces: dict[str, Interface] = {}
        self.unusable: frozenset[str] = file.program.broken
        self.types: TypeTable = TypeTable(
            file.program,
            {space: checker.types for space, checker in imports.items()},
            file.damaged,
            self._mentioned,
            report,
        )
        self.protocols: ProtocolTable = ProtocolTable(
            file.program,
            self.types,
            {space: checker.protocols for space, checker in imports.items()},
            file.damaged,
            self._mentioned,
            report,
        )

    def check(self) -> None:
        """Check everything but whether there is something to run."""
        self._collect()
        for name, decl in self._decls.items():
            self.interfaces[name] = read_interface(decl, self._file.prefix, self.types, self._report)
        self._known = self.interfaces | {
            f"{space}.{name}": msgspec.structs.replace(interface, name=f"{space}.{name}")
            for space, checker in self._imports.items()
            for name, interface in checker.interfaces.items()
        }
        scope = self._scope()
        for name, interface in self.interfaces.items():
            if interface.kind != "plumb":
                self._bindings[name] = self._simple(self._decls[name], interface, scope)
        self._bodies(msgspec.structs.replace(scope, morphisms=self._morphisms()))
        self._report_unused_files()

    def warn(self, main: str | None) -> None:
        """Warn of what a program without errors does without. For the main file; ``main``: the process that runs."""
        if self._report.has_errors or main is None:
            self._report.forget(FOLLOWS_FROM_ERRORS)
            return
        if main == "main":  # or else the file is one process, and perhaps a library
            places = {name: interface.span for name, interface in self.interfaces.items()}
            report_unused(main, places, self._uses, self._report)

    def analysis(self) -> FileAnalysis:
        """Return what was found, for those who look into one file."""
        file, table = self._file, self.types
        return FileAnalysis(file.source, file.program, file.uses, table.types, table, self._known, self._bindings)

    def typed_bindings(self) -> list[typed.Binding]:
        """Return the file's bindings in the order of the text."""
        return [self._bindings[name] for name in self._decls if name in self._bindings]

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

    def _simple(self, decl: syntax.BindingDecl, interface: Interface, scope: Scope) -> typed.Binding:
        config: dict[str, Any] = {}
        expr: typed.Expr | None = None
        select: tuple[str, ...] = ()
        index: int | str | None = None
        match decl.impl:
            case syntax.ConfiguredImpl() as impl:
                config = check_config(decl.name.text, impl, scope, self._report)
                if impl.kind == "tool":
                    check_tool(decl, interface, self._known, self._report)
            case syntax.Chain((syntax.Inline() as inline,)):
                select = tuple(field.text for field in inline.fields)
                index = inline.index
                if interface.inputs and inline.expr is not None:
                    use = cast("Any", interface.kind)
                    expr = infer(inline.expr, interface.inputs[0].type, use, self._report)
                elif interface.kind == "map":  # a copy of a value
                    whole = typed.Input(interface.inputs[0].type, inline.span)
                    expr = typed.MakeProduct((whole, whole), Product((whole.type, whole.type)), inline.span)
                if interface.is_sound:
                    self._check_morphism(decl, inline, interface, expr)
        return typed.Binding(
            interface.binding,
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
                        f"'{decl.name.text}' declares {show_stream(output.type)} but gives {show_stream(given)}",
                        label=f"gives {show_stream(given)}",
                        related=[(output.span, f"declared as {show_stream(output.type)}")],
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

    def _scope(self) -> Scope:
        """Return what may be mentioned here; the morphisms are not known until all bindings without a body are."""
        unusable = {f"{space}.{name}" for space, checker in self._imports.items() for name in checker.unusable}
        return Scope(
            self._known,
            {},
            self.unusable | unusable,
            frozenset(self._imports),
            self._file.damaged,
            self._mentioned,
            self.types,
            self.protocols,
        )

    def _morphisms(self) -> dict[str, typed.Binding]:
        """Return the bindings without a body that this file can name, by the names of bindings."""
        return {
            binding.name: binding
            for checker in (self, *self._imports.values())
            for binding in checker.typed_bindings()
            if binding.kind != "plumb"
        }

    def _bodies(self, scope: Scope) -> None:
        uses = {name: dict(_called(decl)) for name, decl in self._decls.items()}
        wired_bodies: dict[str, Wired] = {}
        for name, interface in self.interfaces.items():
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
            wired_bodies[name] = wired
            self._bindings[name] = typed.Binding(
                interface.binding,
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
                self.interfaces[cycle[0]].span,
                f"process '{cycle[0]}' contains itself" + (f": {path}" if len(cycle) > 1 else ""),
                related=[(uses[cycle[0]][next_name], f"'{next_name}' is used here")],
                help="wire a loop with channels inside one body: a ; b ; a",
            )
        self._uses = uses
        if cycles:
            return
        self._check_sizes(order)
        self._flows.include(checker._flows for checker in self._imports.values())
        simple = self._morphisms()
        for name in order:
            if name in wired_bodies:
                self._flows.check(self._bindings[name], wired_bodies[name], simple, self._report)

    def _check_sizes(self, order: list[str]) -> None:
        """Refuse bodies that become too many processes, or too deep, when nested ones are expanded."""
        for checker in self._imports.values():
            self._sizes |= checker._sizes
        for name in order:
            body = self._bindings[name].body if name in self._bindings else None
            if body is None:
                continue
            inner = [self._sizes.get(instance.binding or "", (1, 0)) for instance in body.instances]
            size, depth = sum(i[0] for i in inner), 1 + max((i[1] for i in inner), default=0)
            if size > INSTANCES_MAX or depth > BODY_DEPTH_MAX:
                what = f"{size} processes" if size > INSTANCES_MAX else f"bodies nested {depth} deep"
                limit = INSTANCES_MAX if size > INSTANCES_MAX else BODY_DEPTH_MAX
                self._report.add(
                    "E0507", self.interfaces[name].span, f"'{name}' is too large: {what}, at most {limit} are allowed"
                )
                size, depth = 1, 0
            self._sizes[self._bindings[name].name] = (size, depth)

    def _report_unused_files(self) -> None:
        for decl in self._program.declarations:
            if isinstance(decl, syntax.UseDecl) and namespace_of(decl.name) not in self._mentioned:
                space = namespace_of(decl.name)
                if space in self._imports and not self._program.broken:
                    message = f"nothing of the module '{space}' is used"
                    self._report.add("W0211", decl.span, message, help="remove the line")

    # --- main ---

    def _outermost(self, streams: list[str]) -> str:
        """Say which one to call 'main': the one that no other has in its body, if there is one."""
        bodies = [binding.body for binding in self._bindings.values() if binding.body is not None]
        inner = {instance.binding for body in bodies for instance in body.instances}
        outer = [name for name in streams if name not in inner]
        return f"give '{outer[0]}' the name 'main'" if len(outer) == 1 else "name one of them 'main'"

    def _lowered(self) -> set[str]:
        """Return the processes that tools are made of, by the names that the tools use."""
        configs = (
            decl.impl.config
            for decl in self._decls.values()
            if isinstance(decl.impl, syntax.ConfiguredImpl) and decl.impl.kind == "tool"
        )
        entries = (entry for config in configs for entry in config.entries if entry.key.text == "process")
        return {entry.value.name.text for entry in entries if isinstance(entry.value, syntax.ConfigName)}

    def find_main(self) -> str | None:
        """Return the process that runs, or report that there is none."""
        if "main" in self.interfaces:
            if self.interfaces["main"].is_stream or not self.interfaces["main"].is_sound:
                return "main"
            decl = self._decls["main"]
            self._report.add(
                "E0405",
                Span(decl.input.span.start, decl.output.span.end),
                "'main' takes and gives streams",
                help="write '!' on both sides: !A -> !B",
            )
            return None
        if "main" in self._decls or self._program.broken or "main" in self.unusable:
            return None
        streams = [name for name, interface in self.interfaces.items() if interface.is_stream]
        runs = [name for name in streams if name not in self._lowered()]
        if len(runs) == 1 or len(streams) == 1:
            return (runs or streams)[0]
        end = self._file.source.end
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
                help=self._outermost(streams),
            )
        return None


def _called(decl: syntax.BindingDecl) -> Iterator[tuple[str, Span]]:
    """Yield the processes and tools of this file that a configuration names, with their places."""
    if not isinstance(decl.impl, syntax.ConfiguredImpl):
        return
    for entry in decl.impl.config.entries:
        match entry.key.text, entry.value:
            case "process", syntax.ConfigName(name) if decl.impl.kind == "tool" and name.module is None:
                yield name.text, name.span
            case "tools", syntax.ConfigList(items):
                for item in items:
                    if isinstance(item, syntax.ConfigName) and item.name.module is None:
                        yield item.name.text, item.name.span
