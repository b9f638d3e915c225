"""What a program is, for those who look at it from Python: its bindings, types and protocols as plain data."""

from __future__ import annotations

__all__ = ["Binding", "CheckResult", "ProtocolDecl", "Spec", "TypeDecl", "check"]

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from fabric.compiler import Compiled
from fabric.lang.diagnostic import Diagnostic
from fabric.lang.source import Source

Spec: TypeAlias = str | Path | Source
"""A program: the path of its file, or its text with the path that what it names is relative to."""


class Binding(msgspec.Struct, frozen=True):
    """A named process.

    Attributes:
        name: as declared.
        input, output: its types, as in the program: ``!string``, ``(!string, !json)``.
        input_type, output_type: the same as data, see :mod:`fabric.types`.
        impl: ``agent``, ``tool``, ``python``, ``worker``, ``pipeline`` (a body or a chain), or a morphism: ``map`` …
        attrs: its configuration, plain JSON values.
    """

    name: str
    input: str
    output: str
    input_type: dict[str, Any]
    output_type: dict[str, Any]
    impl: str
    attrs: dict[str, Any]


class TypeDecl(msgspec.Struct, frozen=True):
    """A declared type: its name, the type as data, and as it is written."""

    name: str
    type: dict[str, Any]
    definition: str


class ProtocolDecl(msgspec.Struct, frozen=True):
    """A declared protocol: its name, its states as data, and as it is written."""

    name: str
    states: list[dict[str, Any]]
    definition: str


class CheckResult(msgspec.Struct, frozen=True):
    """A program that checks.

    Attributes:
        version: of the language.
        bindings, types, protocols: what it declares, in the order of the text.
        warnings: what the checker remarked.
        main: the name of the binding that runs.
    """

    version: str
    bindings: list[Binding]
    types: list[TypeDecl]
    protocols: list[ProtocolDecl]
    warnings: tuple[Diagnostic, ...]
    main: str
    compiled: Compiled


def check(spec: Spec, search_path: Iterable[str | Path] | None = None, binary: str | None = None) -> CheckResult:
    """Check a program.

    Args:
        spec: the program.
        search_path: where to look for the files that it uses, beside its own folder, ``PLUMB_PATH`` and the installed
            library.
        binary: not used; see :mod:`fabric.client.calls`.

    Raises:
        CheckError: it does not check.
        RunError: its file cannot be read.
    """
    raise NotImplementedError
