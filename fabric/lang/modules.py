"""The files of a program, by following ``use``.

Reading a file is the caller's: a :class:`Library` finds it. A file is known by its path, so that two that use a third
share it; it is parsed once, and comes before those that use it.
"""

from __future__ import annotations

__all__ = ["NO_LIBRARY", "Found", "Library", "Missing", "ParsedFile", "load_files", "namespace_of"]

from pathlib import PurePosixPath
from posixpath import normpath
from typing import Protocol

import msgspec

from fabric.lang import syntax
from fabric.lang.diagnostic import Report
from fabric.lang.parser import parse
from fabric.lang.source import Source, Span

FILES_MAX = 1_000
"""Files of a program."""

FILE_DEPTH_MAX = 80
"""Files that use each other in a row; loading recurses over them."""


class Found(msgspec.Struct, frozen=True):
    """A file: its path as it is shown, the same for whoever uses it, and its text."""

    path: str
    text: str


class Missing(msgspec.Struct, frozen=True):
    """No file, or one that cannot be read. ``places``: where it was looked for; ``known``: names that there are."""

    why: str
    places: tuple[str, ...] = ()
    known: tuple[str, ...] = ()


class Library(Protocol):
    """Where files come from."""

    def find(self, name: str, *, is_path: bool, importer: str) -> Found | Missing:
        """Return what ``use name`` or ``use "name"`` means in the file of that path."""


class _NoLibrary:
    def find(self, name: str, *, is_path: bool, importer: str) -> Missing:
        return Missing("there are no other files here")


NO_LIBRARY: Library = _NoLibrary()


class ParsedFile(msgspec.Struct, frozen=True):
    """A file of the program.

    Attributes:
        prefix: of the names of its bindings: its namespace and a dot; empty for the main file.
        uses: namespace to path.
        damaged: namespaces that could not be had, so that what is said of them is not reported.
    """

    source: Source
    prefix: str
    program: syntax.Program
    uses: dict[str, str]
    damaged: frozenset[str]


def namespace_of(name: str) -> str:
    """Return the name that a file's declarations are behind: ``Mem`` for ``mem`` and for ``./lib/mem.plumb``."""
    stem = PurePosixPath(name).stem
    return stem[:1].upper() + stem[1:]


def load_files(main: Source, report: Report, library: Library) -> dict[str, ParsedFile]:
    """Return the files of a program by path, each behind those that it uses, so the main one last."""
    loader = _Loader(report, library)
    loader.load(normpath(main.path), main, "")
    return loader.files


class _Loader:
    def __init__(self, report: Report, library: Library) -> None:
        self._report = report
        self._library = library
        self._path: dict[str, None] = {}  # being loaded
        self._prefixes: set[str] = set()
        self._opened = 0
        self.files: dict[str, ParsedFile] = {}

    def load(self, path: str, source: Source, namespace: str) -> None:
        """Parse a file and all that it uses."""
        prefix = self._fresh_prefix(namespace)
        program = parse(source, self._report)
        self._path[path] = None
        uses: dict[str, str] = {}
        places: dict[str, Span] = {}
        damaged: set[str] = set()
        for decl in program.declarations:
            if not isinstance(decl, syntax.UseDecl):
                continue
            space = namespace_of(decl.name)
            if space in places:
                self._report.add(
                    "E0205",
                    decl.span,
                    f"there is a module '{space}' in this file already",
                    related=[(places[space], "brought in here")],
                )
                continue
            places[space] = decl.span
            found = self._use(decl, space, source)
            if found is None:
                damaged.add(space)
            else:
                uses[space] = found
        del self._path[path]
        self.files[path] = ParsedFile(source, prefix, program, uses, frozenset(damaged))

    def _use(self, decl: syntax.UseDecl, space: str, importer: Source) -> str | None:
        """Load what a file uses and return its path, or report why not."""
        if not space.isidentifier() or not space.isascii() or not space[0].isupper():
            self._report.add(
                "E0207",
                decl.span,
                f"'{space}' cannot be the name of a module",
                help="give the file a name of letters, digits and '_' that begins with a letter",
            )
            return None
        found = self._library.find(decl.name, is_path=decl.is_path, importer=importer.path)
        if isinstance(found, Missing):
            self._report.add(
                "E0207",
                decl.span,
                f"there is no module '{decl.name}': {found.why}",
                notes=[f"looked at {place}" for place in found.places],
                help=self._report.suggest(decl.name, found.known),
            )
            return None
        path = normpath(found.path)
        if path in self._path:
            cycle = [*list(self._path)[list(self._path).index(path) :], path]
            self._report.add(
                "E0208",
                decl.span,
                "a file uses itself" if len(cycle) == 2 else f"files use each other in a circle: {' -> '.join(cycle)}",
                help="put what both need into a third file",
            )
            return None
        if path not in self.files:
            if self._opened >= FILES_MAX or len(self._path) >= FILE_DEPTH_MAX:
                much = f"{FILES_MAX} files" if self._opened >= FILES_MAX else f"{FILE_DEPTH_MAX} files in a row"
                self._report.add("E0207", decl.span, f"this program is too large: more than {much}")
                return None
            self._opened += 1
            self.load(path, self._report.sources.open(found.path, found.text), space)
        return path

    def _fresh_prefix(self, namespace: str) -> str:
        prefix, count = f"{namespace}." if namespace else "", 1
        while prefix in self._prefixes:
            count += 1
            prefix = f"{namespace}{count}."
        self._prefixes.add(prefix)
        return prefix
