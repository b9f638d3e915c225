"""What surrounds the cursor, in a text that need not parse: the usual case while somebody types.

Only tokens are looked at. The open brackets in front of the cursor, each with what opened it, say in what kind of text
it stands; the two or three tokens right before it say what may come next. A declaration that begins at a line start
ends all brackets, as it does for the parser.
"""

from __future__ import annotations

__all__ = ["CONFIGURED", "Cursor", "Open", "OpenKind", "find_cursor", "in_type"]

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from fabric.lang.diagnostic import Report
from fabric.lang.lexer import Token, tokenize
from fabric.lang.source import Source

OpenKind: TypeAlias = Literal["body", "header", "config", "value", "spawn", "expr", "group", "type", "session", "ports"]

CONFIGURED = ("agent", "tool", "python", "worker", "handler")
_OPENING, _CLOSING = ("(", "{", "["), (")", "}", "]")
_EXPRESSIONS = ("map", "filter", "project")


class Open(msgspec.Struct, frozen=True):
    """A bracket that is open. ``at``: its token; ``word``: the kind of configuration, or the process to spawn."""

    kind: OpenKind
    at: int
    word: str = ""


class Cursor(msgspec.Struct, frozen=True):
    """Where something is to be written.

    Attributes:
        tokens: those before it, without the word that it is in or behind.
        start: offset of that word, of what stands in the quotes, or of the cursor itself.
        begin: token that starts the declaration; as many as there are if none does.
        opened: brackets, the innermost last.
        quoted: it stands in a string, the last of the tokens.
        silent: it stands in a comment or a number, where nothing can be offered.
    """

    tokens: tuple[Token, ...]
    start: int
    begin: int
    opened: tuple[Open, ...]
    quoted: bool = False
    silent: bool = False

    def before(self, back: int = 1) -> str:
        """Return the kind of a token before it, counted from 1; nothing if there is none in this declaration."""
        at = len(self.tokens) - back
        return self.tokens[at].kind if at >= self.begin else ""

    def word(self, back: int = 1) -> str:
        """Return the text of such a token."""
        at = len(self.tokens) - back
        return self.tokens[at].text if at >= self.begin else ""

    @property
    def inside(self) -> OpenKind | None:
        """What the innermost bracket is of."""
        return self.opened[-1].kind if self.opened else None

    @property
    def since(self) -> int:
        """The token behind the innermost bracket, or the first of the declaration."""
        return self.opened[-1].at + 1 if self.opened else self.begin

    def body(self) -> Open | None:
        """Return the body that it is in, at any depth."""
        return next((each for each in reversed(self.opened) if each.kind == "body"), None)

    def name(self) -> str:
        """Return the name that is being declared."""
        at = self.begin + (self.begin < len(self.tokens) and self.tokens[self.begin].kind != "name")
        return self.tokens[at].text if at < len(self.tokens) and self.tokens[at].kind == "name" else ""


def find_cursor(text: str, offset: int) -> Cursor:
    """Return what surrounds an offset of a text."""
    source = Source("", text[:offset])
    lexed = tokenize(source, Report(source))
    tokens = lexed.tokens[:-1]
    last = tokens[-1] if tokens else None
    if lexed.comments and lexed.comments[-1].end == offset and not text[:offset].endswith("*)"):
        return Cursor(tokens, offset, len(tokens), (), silent=True)
    quoted = last is not None and last.kind == "string" and last.span.end == offset and _is_open(last, text)
    start = offset
    if last is not None and last.span.end == offset and not quoted:
        if last.kind == "number":
            return Cursor(tokens, offset, len(tokens), (), silent=True)
        if last.text[-1:].isalnum() or last.text[-1:] == "_":
            tokens, start = tokens[:-1], last.span.start
    if quoted:
        assert last is not None
        start = last.span.start + 1
    begin, opened = _brackets(tokens)
    return Cursor(tokens, start, begin, opened, quoted)


def _is_open(token: Token, text: str) -> bool:
    """Say whether a string at the end of what was read has no closing quote."""
    raw = text[token.span.start : token.span.end]
    return len(raw) < 2 or not raw.endswith('"') or (len(raw) - len(raw[:-1].rstrip("\\")) - 1) % 2 == 1


def _brackets(tokens: Sequence[Token]) -> tuple[int, tuple[Open, ...]]:
    begin, opened = len(tokens), list[Open]()
    for at, token in enumerate(tokens):
        if _declares(tokens, at, in_body=any(each.kind == "body" for each in opened)) or (
            begin == len(tokens) and not opened
        ):
            begin, opened = at, []
        if token.kind in _OPENING:
            opened.append(_opened(tokens, at, begin, opened))
        elif token.kind in _CLOSING and opened:
            opened.pop()
    return begin, tuple(opened)


def _declares(tokens: Sequence[Token], at: int, *, in_body: bool) -> bool:
    """Say whether a declaration begins at a token; a ``let`` in a body only if an arrow comes before its ``=``."""
    token = tokens[at]
    if token.kind in ("type", "protocol", "use"):
        return token.starts_line
    if token.kind != "let":
        return False
    if not in_body:
        return True
    ahead = at + 1
    while ahead < len(tokens) and tokens[ahead].kind not in ("=", "let", ";"):
        if tokens[ahead].kind == "->":
            return True
        ahead += 1
    return False


def _opened(tokens: Sequence[Token], at: int, begin: int, opened: Sequence[Open]) -> Open:
    def word(back: int) -> str:
        return tokens[at - back].text if at - back >= begin else ""

    sign = tokens[at].kind
    outer = opened[-1].kind if opened else None
    if outer in ("config", "value"):
        return Open("value", at)
    if outer in ("expr", "header", "spawn", "type", "session"):
        return Open(outer, at, opened[-1].word)
    if sign == "{":
        if word(1) in CONFIGURED:
            return Open("config", at, word(1))
        if outer is None and word(1) == ")" and _is_header(tokens, at - 1, begin):
            return Open("body", at)
        if tokens[begin].kind == "protocol":
            return Open("session", at)
        return Open("type", at)
    if sign == "[":
        return Open("type", at)
    if word(1) in _EXPRESSIONS:
        return Open("expr", at)
    if word(1) == "plumb":
        return Open("header", at)
    if word(2) == "spawn":
        return Open("spawn", at, word(1))
    if word(2) == "." and word(4) == "spawn":
        return Open("spawn", at, f"{word(3)}.{word(1)}")
    if word(1) == "@":
        return Open("ports", at)
    if in_type(tokens[begin if not opened else opened[-1].at + 1 : at], in_body=bool(opened)):
        return Open("type", at)
    return Open("group", at)


def _is_header(tokens: Sequence[Token], closing: int, begin: int) -> bool:
    """Say whether a closing bracket ends the ports of a ``plumb``."""
    at = closing
    while at > begin and tokens[at].kind != "(":
        at -= 1
    return at > begin and tokens[at - 1].kind == "plumb"


def in_type(tokens: Sequence[Token], *, in_body: bool) -> bool:
    """Say whether a type stands behind tokens: the last of ``:`` and ``=`` among them is that of a signature."""
    for back in range(len(tokens) - 1, -1, -1):
        match tokens[back].kind:
            case ":":
                return not in_body or (back > 1 and tokens[back - 2].kind == "let")
            case "=":
                return tokens[0].kind == "type"
            case ";" | "let" | "<->":
                return False
    return False
