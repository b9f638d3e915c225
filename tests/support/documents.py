"""The code blocks of documents: what a reader would copy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """One of them.

    Attributes:
        path: of the document.
        line: where it begins.
        language: the first word behind the fence.
        mark: the others.
        text: of it.
    """

    path: Path
    line: int
    language: str
    mark: str
    text: str

    @property
    def name(self) -> str:
        folder = f"{self.path.parent.name}-" if self.path.parent.parent.name in ("compose", "templates") else ""
        return f"{folder}{self.path.stem}:{self.line}"

    @property
    def first(self) -> str:
        """The first line."""
        return self.text.split("\n", 1)[0]

    @property
    def lines(self) -> list[str]:
        """What is in it, without what is said of it: lines that go on are one."""
        whole = self.text.replace("\\\n", " ")
        return [line for text in whole.splitlines() if (line := re.sub(r"(^|\s)#\s.*", "", text).strip())]


def blocks_of(path: Path) -> list[Block]:
    """Return the blocks of a document."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        language, _, mark = match[1].partition(" ")
        found.append(Block(path, text[: match.start()].count("\n") + 1, language, mark, match[2]))
    return found


def stray_code(path: Path) -> list[str]:
    """Return lines that are code for Markdown, and stand outside of the blocks: nobody would run them."""
    rest = _FENCE.sub("", path.read_text(encoding="utf-8"))
    return re.findall(r"^```.*|(?<=\n\n) {4,}\S.*", rest, re.MULTILINE)
