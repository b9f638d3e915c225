"""Chunked programs: files that hold many, each with the diagnostics that it expects; see tests/programs/README.md."""

from __future__ import annotations

import re
from pathlib import Path

from fabric.compiler import Library
from fabric.lang.modules import Found, Missing
from fabric.lang.source import Source

PROGRAMS = Path(__file__).parent.parent / "programs"
MARK = re.compile(r"\(\*! ([EW]\d{4}) ?(.*?) ?\*\)")


class Chunk:
    """One program. ``source`` is its main file, ``files`` are those that it uses, by path."""

    def __init__(self, text: str, path: str) -> None:
        main, *others = re.split(r"(?m)^--- (\S+)\n", text)
        self.source = Source(path, main.rstrip("\n"))
        self.files = dict(zip(others[::2], others[1::2], strict=True))

    def find(self, name: str, *, is_path: bool, importer: str) -> Found | Missing:
        """Return one of the files, or a module that is installed."""
        path = name.removeprefix("./") if is_path else f"{name}.plumb"
        if path in self.files:
            return Found(path, self.files[path])
        return Library().find(name, is_path=is_path, importer=importer)

    def marks(self) -> list[tuple[str, int, str, str]]:
        """Return what is expected: file, line, code, words of the message."""
        texts = {self.source.path: self.source.text, **self.files}
        return [
            (path, number, code, words)
            for path, text in texts.items()
            for number, line in enumerate(text.split("\n"), 1)
            for code, words in MARK.findall(line)
        ]


def chunks() -> dict[str, Chunk]:
    """Return all programs, by file and line."""
    found = {}
    for path in sorted(PROGRAMS.glob("*.plumb")):
        line = 1
        for text in re.split(r"(?m)^---\n", path.read_text(encoding="utf-8")):
            found[f"{path.stem}:{line}"] = Chunk(text, f"{path.name}+{line}")
            line += text.count("\n") + 1
    return found
