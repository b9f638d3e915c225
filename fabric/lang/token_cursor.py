"""Reading tokens one after the other: what the parser of every part of the language stands on.

``parse_x`` looks whether an x stands here and declines with None; ``expect_x`` has to find one. What is not found is
reported, and :class:`Refused` is raised.
"""

from __future__ import annotations

__all__ = ["NESTING_MAX", "Refused", "TokenCursor", "describe"]

from collections.abc import Callable
from typing import TypeVar

from fabric.lang.diagnostic import Report
from fabric.lang.lexer import RESERVED, Token
from fabric.lang.slips import hint_for
from fabric.lang.source import Span
from fabric.lang.syntax import Name

NESTING_MAX = 80
"""Levels of brackets, or height of an expression. Passes recurse up to three frames a level; Python allows 1,000."""

_T = TypeVar("_T")


class Refused(Exception):  # never leaves the parser
    """What was expected is not there; already reported."""


class TokenCursor:
    """A place among the tokens."""

    def __init__(self, tokens: tuple[Token, ...], report: Report) -> None:
        self._tokens = tokens
        self._report = report
        self._at = 0
        self._token = tokens[0]
        self._depth = 0

    def _next(self) -> Token:
        token = self._token
        if token.kind != "eof":
            self._at += 1
            self._token = self._tokens[self._at]
        return token

    def _peek(self, ahead: int = 1) -> Token:
        return self._tokens[min(self._at + ahead, len(self._tokens) - 1)]

    def _is(self, kind: str) -> bool:
        return self._token.kind == kind

    def _is_word(self, word: str) -> bool:
        return self._token.kind == "name" and self._token.text == word

    def _parse(self, kind: str) -> Token | None:
        return self._next() if self._token.kind == kind else None

    def _expect(self, kind: str, where: str, *, opened: Token | None = None, help: str | None = None) -> Token:  # noqa: A002
        if self._token.kind == kind:
            return self._next()
        raise self._refuse(f"'{kind}'", where, opened=opened, help=help)

    def _refuse(
        self,
        expected: str,
        where: str,
        *,
        opened: Token | None = None,
        help: str | None = None,  # noqa: A002
    ) -> Refused:
        token = self._token
        related = [(opened.span, f"'{opened.text}' was opened here")] if opened else []
        self._report.add(
            "E0101",
            token.span,
            f"expected {expected} {where}, found {describe(token)}",
            label=f"expected {expected}",
            related=related,
            help=help or hint_for(where, token),
        )
        return Refused()

    def _since(self, start: Span) -> Span:
        return Span(start.start, max(start.end, self._tokens[self._at - 1].span.end if self._at else 0))

    def _deeper(self, parse: Callable[[], _T]) -> _T:
        if self._depth >= NESTING_MAX:
            raise self._too_deep(self._token.span)
        self._depth += 1
        try:
            return parse()
        finally:
            self._depth -= 1

    def _too_deep(self, span: Span) -> Refused:
        self._report.add(
            "E0108",
            span,
            f"nested too deeply: more than {NESTING_MAX} levels",
            help="give the inner part a name of its own",
        )
        return Refused()

    def _expect_name(self, what: str) -> Name:
        token = self._token
        if token.kind == "name":
            self._next()
            return Name(token.text, token.span)
        if token.kind in RESERVED:
            hint = "kind" if token.text == "type" else f"{token.text}_"
            self._report.add(
                "E0107",
                token.span,
                f"'{token.text}' is a reserved word and cannot be {what}",
                help=f"choose another name, such as '{hint}'",
            )
            if not token.starts_line:  # it was meant as a name: no statement starts here
                self._next()
            raise Refused
        raise self._refuse(what, "here")

    def _expect_qname(self, what: str) -> Name:
        """Read ``name`` or ``Mod.name``; the dot of the latter has no spaces around it, unlike that of a session."""
        name = self._expect_name(what)
        dot, after = self._token, self._peek()
        adjacent = name.span.end == dot.span.start and dot.span.end == after.span.start
        if name.text[0].isupper() and dot.kind == "." and after.kind == "name" and adjacent:
            self._next()
            self._next()
            return Name(after.text, Span(name.span.start, after.span.end), name.text)
        return name

    def _list(self, close: str, opened: Token, item: Callable[[], _T], where: str) -> tuple[_T, ...]:
        """Read items between commas, perhaps a last comma, and the closing bracket."""
        items: list[_T] = []
        while not self._is(close):
            items.append(item())
            if not self._parse(","):
                break
        if not self._is(close):
            raise self._refuse(f"',' or '{close}'", where, opened=opened)
        self._next()
        return tuple(items)


def describe(token: Token) -> str:
    """Name a token for a message."""
    if token.kind == "eof":
        return "the end of the file"
    if token.kind == "string":
        return "a string"
    if token.kind in RESERVED:
        return f"the reserved word '{token.text}'"
    return f"'{token.text if len(token.text) <= 40 else token.text[:37] + '...'}'"
