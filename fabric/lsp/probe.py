"""What flows in a half-written chain, by asking the checker.

The chain is ended before the cursor with a ``discard``, and what comes to that is the answer. It costs a check, so it
is asked only where fields of a message may be written.
"""

from __future__ import annotations

__all__ = ["Probe"]

import re
from collections.abc import Callable

from fabric.lang.check import FileAnalysis
from fabric.lsp.cursor import Cursor
from fabric.wire.payload import Type

_NEXT_DECLARATION = re.compile(r"(?m)^(?:type|protocol|use|let)\b")
_CLOSING = {"body": "}", "group": ")"}


class Probe:
    """Asks about a text with a cursor. ``try_text``: what would be known of the file if its text were another."""

    def __init__(self, text: str, offset: int, cursor: Cursor, try_text: Callable[[str], FileAnalysis]) -> None:
        self._text = text
        self._offset = offset
        self._cursor = cursor
        self._try_text = try_text

    def input_type(self) -> Type | None:
        """Return what comes to the ``map`` or ``filter`` that the cursor is in."""
        tokens, opened = self._cursor.tokens, self._cursor.opened
        depth = next(i for i, each in enumerate(opened) if each.kind == "expr")
        word = opened[depth].at - 1  # the token 'map' or 'filter'
        while word > self._cursor.begin and tokens[word - 1].kind in ("(", "*") and depth > 0:
            depth -= 1  # the first of a branch gets what the group gets
            word = opened[depth].at
            if opened[depth].kind != "group":
                return None
        if word <= self._cursor.begin:
            return None
        before = tokens[word - 1]
        if before.kind == ";":
            return self.flow(before.span.start, depth)
        return self.flow(before.span.end, depth, " id ") if before.kind == "=" and depth == 0 else None

    def flow(self, end: int, depth: int, first: str = "") -> Type | None:
        """Return what flows where the text ends; ``depth``: brackets that are open there."""
        closing = "".join(f" {_CLOSING[each.kind]}" for each in reversed(self._cursor.opened[:depth]))
        rest = _NEXT_DECLARATION.search(self._text, self._offset)
        head = f"{self._text[:end]}{first} ; "
        tail = self._text[rest.start() :] if rest else ""
        binding = self._try_text(f"{head}discard{closing}\n{tail}").bindings.get(self._cursor.name())
        for instance in binding.body.instances if binding is not None and binding.body is not None else ():
            if instance.kind == "discard" and instance.span.start == len(head):
                return instance.inputs[0].type
        return None
