"""Programs with the cursor in them, written as ``‸``, and what the language server makes of them."""

from __future__ import annotations

from fabric.lsp.completion import Known, complete
from fabric.lsp.place import find_place
from fabric.lsp.workspace import Workspace

HERE = "/programs/main.plumb"
CURSOR = "‸"


def no_file(path):
    """Read a file where there are none."""
    raise FileNotFoundError(path)


class At:
    """A program with a cursor. ``files``: other open files, by name."""

    def __init__(self, text, *, before=None, files=None):
        self.offset = text.index(CURSOR)
        self.text = text.replace(CURSOR, "")
        self.workspace = Workspace(read=read_installed)
        for name, other in (files or {}).items():
            self.workspace.put(f"/programs/{name}", other)
        if before is not None:
            self.workspace.put(HERE, before)
            self.workspace.checked(HERE)
        self.workspace.put(HERE, self.text)
        self.checked = self.workspace.checked(HERE)

    def place(self):
        """Return what stands at the cursor."""
        return find_place(self.checked.analysis, self.checked.file, self.offset)

    def target(self):
        """Return the file and the line, counted from 1, where it is declared, and the word there."""
        span = self.place().target
        source = self.checked.analysis.sources.at(span)
        words = source.text[span.start - source.start : span.end - source.start]
        return source.path.rpartition("/")[2], source.position(span.start)[0], words

    def completion(self):
        """Return what may be written."""
        known = Known(
            self.checked.file,
            self.checked.readable,
            self.checked.analysis.files,
            ("fs", "words"),
            lambda text: self.workspace.try_text(HERE, text),
        )
        return complete(self.text, self.offset, known)

    def labels(self):
        """Return what may be written, by its words alone."""
        return [item.label for item in self.completion()[1]]


def read_installed(path):
    """Read a file of the installed library; elsewhere there is none."""
    if "library" not in path.parts:
        return no_file(path)
    return path.read_text(encoding="utf-8")
