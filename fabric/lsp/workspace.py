"""The texts that an editor has open, and what the checker says of them.

Each open text is the main file of a program of its own. A file that is used is read from the editor if it is open
there, else from disk; which files were looked for is kept, also those that were not found, so that a change of one
tells which programs to check again.
"""

from __future__ import annotations

__all__ = ["Checked", "Workspace"]

import os.path
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from fabric.compiler import Library, read_text
from fabric.lang import syntax
from fabric.lang.check import Analysis, FileAnalysis, analyse
from fabric.lang.diagnostic import Diagnostic
from fabric.lang.source import Source


class Checked(msgspec.Struct, frozen=True):
    """A text that was checked.

    Attributes:
        looked_for: files, whether they are there or not.
        readable: of this text or else the last one before it that could be parsed to its end; what is known of a
            program while a part of it is being written.
    """

    analysis: Analysis
    looked_for: frozenset[str]
    readable: FileAnalysis

    @property
    def file(self) -> FileAnalysis:
        """The text itself, as opposed to the files that it uses."""
        *_, main = self.analysis.files.values()
        return main


class Workspace:
    """Open texts by path.

    Args:
        folders: where to look for modules; see :class:`fabric.compiler.Library`.
        read: the text of a file that is not open.
    """

    def __init__(self, folders: Iterable[str | Path] = (), read: Callable[[Path], str] = read_text) -> None:
        self._folders = tuple(folders)
        self._read = read
        self._texts: dict[str, str] = {}
        self._checked: dict[str, Checked] = {}
        self._stale: set[str] = set()

    @property
    def paths(self) -> tuple[str, ...]:
        """What is open."""
        return tuple(self._texts)

    def text(self, path: str) -> str | None:
        """Return an open text."""
        return self._texts.get(path)

    def put(self, path: str, text: str) -> None:
        """Open a text, or replace it."""
        self._texts[path] = text
        self._stale.add(path)
        self.touch(path)

    def close(self, path: str) -> None:
        """Forget a text; programs that use it see the file on disk from now on."""
        self._texts.pop(path, None)
        self._checked.pop(path, None)
        self._stale.discard(path)
        self.touch(path)

    def touch(self, path: str) -> None:
        """Note that a file has changed."""
        self._stale |= {user for user, checked in self._checked.items() if path in checked.looked_for}

    def checked(self, path: str) -> Checked | None:
        """Return what is known of an open text as it is now."""
        if path not in self._texts:
            return None
        if path in self._stale or path not in self._checked:
            analysis, looked_for = self._analyse(path, self._texts[path])
            before = self._checked.get(path)
            *_, main = analysis.files.values()
            readable = main if before is None or _is_whole(main.program) else before.readable
            self._checked[path] = Checked(analysis, looked_for, readable)
            self._stale.discard(path)
        return self._checked[path]

    def try_text(self, path: str, text: str) -> FileAnalysis:
        """Return what would be known if the text were another."""
        *_, main = self._analyse(path, text)[0].files.values()
        return main

    def modules(self, path: str) -> tuple[str, ...]:
        """Return the names that ``use`` would find from a file."""
        return tuple(sorted(set(Library(self._folders).names(path)) - {Path(path).stem}))

    def diagnostics(self) -> dict[str, tuple[Diagnostic, ...]]:
        """Return what is wrong, by file: of every open text, also if nothing is, and of the files that they use.

        What several programs say of one file is said once.
        """
        found: dict[str, dict[tuple[str, int, int, str], Diagnostic]] = {path: {} for path in self._texts}
        for path in self._texts:
            checked = self.checked(path)
            assert checked is not None
            for diagnostic in checked.analysis.diagnostics:
                start = diagnostic.source.start
                place = (diagnostic.code, diagnostic.span.start - start, diagnostic.span.end - start)
                in_file = found.setdefault(os.path.normpath(diagnostic.source.path), {})
                in_file.setdefault((*place, diagnostic.message), diagnostic)
        return {path: tuple(by_place.values()) for path, by_place in found.items()}

    def _analyse(self, path: str, text: str) -> tuple[Analysis, frozenset[str]]:
        looked_for: set[str] = set()

        def read(place: Path) -> str:
            name = os.path.normpath(place)
            looked_for.add(name)
            known: Mapping[str, str] = self._texts
            return known[name] if name in known else self._read(place)

        analysis = analyse(Source(path, text), Library(self._folders, read))
        return analysis, frozenset(looked_for)


def _is_whole(program: syntax.Program) -> bool:
    return not program.broken and not any(
        isinstance(decl, syntax.BindingDecl) and isinstance(decl.impl, syntax.PlumbImpl) and decl.impl.damaged
        for decl in program.declarations
    )
