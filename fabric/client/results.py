"""What a program is, for those who look at it from Python: its bindings, types and protocols as plain data."""

from __future__ import annotations

__all__ = ["Binding", "CheckResult", "ProtocolDecl", "Spec", "TypeDecl", "check"]

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from fabric import compiler
from fabric.client.arguments import environment_of, folders_of, refuse_text
from fabric.client.picture import as_html
from fabric.compiler import Compiled, Library, read_source
from fabric.errors import ConfigError, RunError
from fabric.graph import passes
from fabric.graph.svg import draw_svg
from fabric.lang import VERSION, syntax
from fabric.lang.check import FileAnalysis, analyse
from fabric.lang.diagnostic import Diagnostic, check_error
from fabric.lang.source import Source
from fabric.settings import with_dotenv
from fabric.wire.payload import Type, show, show_stream, to_plain

Spec: TypeAlias = str | Path | Source
"""A program: the path of its file, or its text with the path that what it names is relative to."""


class Binding(msgspec.Struct, frozen=True):
    """A named process.

    Attributes:
        name: as declared.
        input, output: its types, as in the program: ``!string``, ``(!string, !json)``.
        input_type, output_type: the same as data, see :mod:`fabric.types`.
        impl: ``agent``, ``tool``, ``python``, ``worker``, ``handler``, ``pipeline`` (a body or a chain), or a morphism:
            ``map`` …
        attrs: its configuration, plain JSON values; defaults are not filled in, but for the model of ``eliza``.
    """

    name: str
    input: str
    output: str
    input_type: dict[str, Any]
    output_type: dict[str, Any]
    impl: str
    attrs: dict[str, Any]


class TypeDecl(msgspec.Struct, frozen=True):
    """A declared type.

    Attributes:
        name: as declared.
        type: as data, with its name: ``{"kind": "name", "name": …, "type": …}``.
        definition: the declaration as it is written: ``type Score = int``.
    """

    name: str
    type: dict[str, Any]
    definition: str


class ProtocolDecl(msgspec.Struct, frozen=True):
    """A declared protocol.

    Attributes:
        name: as declared.
        states: its automaton as data, beginning with the first; see :class:`fabric.lang.typed.Protocol`.
        definition: the declaration as it is written.
    """

    name: str
    states: list[dict[str, Any]]
    definition: str


class CheckResult(msgspec.Struct, frozen=True):
    """A program that checks. A notebook shows its wiring as a picture.

    Attributes:
        version: of the language.
        bindings, types, protocols: what its file declares, in the order of the text; what it takes from other files
            is not among them.
        warnings: what the checker remarked.
        main: the name of the binding that runs.
        compiled: what the compiler made of it.
    """

    version: str
    bindings: list[Binding]
    types: list[TypeDecl]
    protocols: list[ProtocolDecl]
    warnings: tuple[Diagnostic, ...]
    main: str
    compiled: Compiled

    def _repr_svg_(self) -> str:
        return draw_svg(self.compiled.graph)

    def _repr_html_(self) -> str:
        return as_html(self.compiled.graph, self.warnings)


def check(
    spec: Spec,
    search_path: Iterable[str | Path] | None = None,
    binary: str | None = None,
    *,
    env: Mapping[str, str] | None = None,
) -> CheckResult:
    """Check a program.

    Args:
        spec: the program.
        search_path: where to look for the files that it uses, beside its own folder, ``PLUMB_PATH`` and the installed
            library.
        binary: not used; see :mod:`fabric.client.calls`.
        env: variables that are to differ from those of this process: ``PLUMB_PATH``.

    Raises:
        CheckError: it does not check.
        RunError: its file, or ``.env``, cannot be read.
    """
    try:
        refuse_text(spec)
        source = spec if isinstance(spec, Source) else read_source(spec)
        environment = with_dotenv(Path.cwd(), environment_of(env))
    except ConfigError as error:
        raise RunError(str(error)) from error
    analysis = analyse(source, Library(compiler.search_path(folders_of(search_path), environment)))
    if analysis.module is None:
        raise check_error(analysis.diagnostics)
    compiled = Compiled(analysis.module, passes.build(analysis.module), analysis.diagnostics)
    *_, main = analysis.files.values()
    return _Reading(main, compiled).result()


_IMPL_WORDS = {"plumb": "pipeline"}


class _Reading:
    """Makes plain data of a file that checks."""

    def __init__(self, file: FileAnalysis, compiled: Compiled) -> None:
        self._file = file
        self._compiled = compiled

    def result(self) -> CheckResult:
        declarations = self._file.program.declarations
        return CheckResult(
            VERSION,
            [self._binding(decl) for decl in declarations if isinstance(decl, syntax.BindingDecl)],
            [self._type(decl) for decl in declarations if isinstance(decl, syntax.TypeDecl)],
            [self._protocol(decl) for decl in declarations if isinstance(decl, syntax.ProtocolDecl)],
            self._compiled.warnings,
            self._compiled.module.main,
            self._compiled,
        )

    def _binding(self, decl: syntax.BindingDecl) -> Binding:
        name = decl.name.text
        binding = self._file.bindings[name]
        is_stream = self._file.processes[name].is_stream
        given, made = (self._side(side, is_stream) for side in (decl.input, decl.output))
        impl = _IMPL_WORDS.get(binding.kind, binding.kind)
        return Binding(name, given[0], made[0], given[1], made[1], impl, binding.config)

    def _side(self, written: syntax.TypeSyntax, is_stream: bool) -> tuple[str, dict[str, Any]]:
        """Return one side of a signature as text and as data. That of an agent means streams without ``!``, too."""
        match written:
            case syntax.StreamType(of):
                return self._side(of, True)
            case syntax.ProductType(items) if _has_ports(written):
                texts, parts = zip(*(self._side(item, True) for item in items), strict=True)
                return f"({', '.join(texts)})", {"kind": "product", "items": list(parts)}
        type_ = self._file.table.value_type(written)
        if is_stream:
            return show_stream(type_), {"kind": "stream", "item": _data(type_)}
        return show(type_), _data(type_)

    def _type(self, decl: syntax.TypeDecl) -> TypeDecl:
        name = decl.name.text
        return TypeDecl(name, _data(self._file.types[name]), self._text(decl))

    def _protocol(self, decl: syntax.ProtocolDecl) -> ProtocolDecl:
        name = decl.name.text
        states = self._compiled.module.protocols[name].states
        return ProtocolDecl(name, [to_plain(state) for state in states], self._text(decl))

    def _text(self, decl: syntax.TypeDecl | syntax.ProtocolDecl) -> str:
        source = self._file.source
        return source.text[decl.span.start - source.start : decl.span.end - source.start]


def _has_ports(written: syntax.TypeSyntax) -> bool:
    return isinstance(written, syntax.ProductType) and any(
        isinstance(item, syntax.StreamType) for item in written.items
    )


def _data(type_: Type) -> dict[str, Any]:
    data: dict[str, Any] = to_plain(type_)
    return data
