"""Text to tokens.

Never fails: what cannot be read is reported and left out, and reading goes on behind it. Whitespace separates tokens
and means nothing else; whether a token is the first of its line is kept, because error recovery looks at it.

A missing closing quote is the hard case. Strings may run over lines, so the text up to the next quote becomes a
string, and everything behind it is inside out until the last quote of the file, where no closing one is found. The
error is therefore reported with the first string that runs over lines as the likely culprit, and
:attr:`Lexed.unreliable_from` tells the parser not to believe what it sees from there on.
"""

from __future__ import annotations

__all__ = ["RESERVED", "Lexed", "Token", "tokenize"]

import math
import re
from typing import Any

import msgspec

from fabric.lang.diagnostic import Report
from fabric.lang.source import Source, Span
from fabric.lang.words import RESERVED

NUMBER_DIGITS_MAX = 4_000
"""CPython refuses to read integers of more than 4,300 digits."""


class Token(msgspec.Struct, frozen=True, gc=False):
    """One token.

    Attributes:
        kind: ``name``, ``string``, ``number``, ``eof``, or the reserved word or sign itself.
        value: of a string the text it stands for, of a number the number.
        starts_line: nothing but whitespace and comments before it on its line.
    """

    kind: str
    text: str
    span: Span
    value: Any = None
    starts_line: bool = False


class Lexed(msgspec.Struct, frozen=True):
    """The tokens of a text, the last of kind ``eof``, and the spans of its comments.

    ``unreliable_from``: offset from which a missing quote or comment end has spoilt the tokens; None if all is well.
    """

    tokens: tuple[Token, ...]
    comments: tuple[Span, ...]
    unreliable_from: int | None


_TOKEN = re.compile(
    r"""
      (?P<space>[ \t\r\n\ufeff]+)
    | (?P<comment>\(\*)
    | (?P<foreign>\#|//)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?[A-Za-z0-9_]*)
    | (?P<string>")
    | (?P<sign><->|->|→|\|\||&&|==|!=|<=|>=|[!|(){}\[\],:;.=<>+\-*/%@?])
    """,
    re.VERBOSE,
)
_OTHER_QUOTES = re.compile(r"'[^'\n]*'|[\u201c\u201d][^\u201c\u201d\n]*[\u201c\u201d]")
_COMMENT_EDGE = re.compile(r"\(\*|\*\)")
_STRING_END = re.compile(r'"|\\.', re.DOTALL)
_GOOD_NUMBER = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_ESCAPE = re.compile(r"\\(u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_MEANT = {
    "\u201c": 'strings are written with straight quotes: "..."',
    "\u201d": 'strings are written with straight quotes: "..."',
    "'": 'strings are written with double quotes: "..."',
    "&": "the logical 'and' is written '&&'",
    "~": "the logical 'not' is written '!'",
    "⇒": "the arrow is written '->'",
}


def tokenize(source: Source, report: Report) -> Lexed:
    """Return the tokens of a source; what cannot be read goes to the report."""
    return _Lexer(source, report).run()


class _Lexer:
    def __init__(self, source: Source, report: Report) -> None:
        self._text = source.text
        self._start = source.start
        self._report = report
        self._tokens: list[Token] = []
        self._comments: list[Span] = []
        self._starts_line = True
        self._first_long_string: int | None = None
        self._unreliable_from: int | None = None

    def run(self) -> Lexed:
        text, length, at = self._text, len(self._text), 0
        token_at = _TOKEN.match
        while at < length:
            match = token_at(text, at)
            if match is None:
                at = self._unknown(at)
                continue
            end = match.end()
            match match.lastgroup:  # the most frequent ones first
                case "space":
                    if "\n" in match[0]:
                        self._starts_line = True
                case "name":
                    word = match[0]
                    self._add(word if word in RESERVED else "name", at, end)
                case "sign":
                    sign = match[0]
                    self._add("->" if sign == "→" else sign, at, end)
                case "number":
                    self._number(at, end)
                case "string":
                    end = self._string(at)
                case "comment":
                    end = self._comment(at)
                case "foreign":
                    end = self._foreign_comment(at, end)
            at = end
        self._add("eof", at, at)
        return Lexed(tuple(self._tokens), tuple(self._comments), self._unreliable_from)

    def _add(self, kind: str, start: int, end: int, value: Any = None) -> None:
        span = Span(self._start + start, self._start + end)
        self._tokens.append(Token(kind, self._text[start:end], span, value, self._starts_line))
        self._starts_line = False

    def _span(self, start: int, end: int) -> Span:
        return Span(self._start + start, self._start + end)

    def _unknown(self, at: int) -> int:
        """Report a run of characters that no token starts with, or a string in other quotes; return where it ends."""
        if quoted := _OTHER_QUOTES.match(self._text, at):
            end = quoted.end()
            help_ = 'strings are written with straight double quotes: "..."'
            self._report.add("E0102", self._span(at, end), f"unexpected character '{self._text[at]}'", help=help_)
            self._add("string", at, end, self._text[at + 1 : end - 1])
            return end
        end = at + 1
        while end < len(self._text) and not _TOKEN.match(self._text, end):
            end += 1
        char = self._text[at]
        what = f"'{char}'" if char.isprintable() else f"U+{ord(char):04X}"
        self._report.add("E0102", self._span(at, end), f"unexpected character {what}", help=_MEANT.get(char))
        return end

    def _foreign_comment(self, start: int, end: int) -> int:
        """Report a comment of another language and pass over it, since its words are no mistakes of their own."""
        sign = self._text[start:end]
        self._report.add(
            "E0102", self._span(start, end), f"'{sign}' does not start a comment", help="comments are written (* ... *)"
        )
        line_end = self._text.find("\n", end)
        return len(self._text) if line_end < 0 else line_end

    def _comment(self, start: int) -> int:
        depth = 0
        for edge in _COMMENT_EDGE.finditer(self._text, start):
            depth += 1 if edge.group() == "(*" else -1
            if depth == 0:
                self._comments.append(self._span(start, edge.end()))
                return edge.end()
        self._report.add(
            "E0105", self._span(start, start + 2), "this comment has no end", help="end it with '*)'; comments nest"
        )
        self._spoilt(start)
        self._comments.append(self._span(start, len(self._text)))
        return len(self._text)

    def _spoilt(self, offset: int) -> None:
        if self._unreliable_from is None or self._start + offset < self._unreliable_from:
            self._unreliable_from = self._start + offset

    def _number(self, start: int, end: int) -> None:
        text = self._text[start:end]
        value: int | float = 0
        if not _GOOD_NUMBER.fullmatch(text):
            leading_zero = re.fullmatch(r"0[0-9]+", text)
            self._report.add(
                "E0106",
                self._span(start, end),
                f"malformed number '{text[:40]}'",
                help="a number has no leading zeros" if leading_zero else "separate a number and a name by a space",
            )
        elif len(text) > NUMBER_DIGITS_MAX or (not text.isdigit() and math.isinf(float(text))):
            self._report.add("E0106", self._span(start, end), "this number is too large")
        else:
            value = int(text) if text.isdigit() else float(text)
        self._add("number", start, end, value)

    def _string(self, start: int) -> int:
        for match in _STRING_END.finditer(self._text, start + 1):
            if match.group() == '"':
                end = match.end()
                inner = self._text[start + 1 : end - 1]
                if "\n" in inner and self._first_long_string is None:
                    self._first_long_string = start
                self._add("string", start, end, self._unescape(inner, start + 1) if "\\" in inner else inner)
                return end
        long = self._first_long_string
        line_end = self._text.find("\n", start)
        end = len(self._text) if line_end < 0 else line_end
        self._report.add(
            "E0103",
            self._span(start, end),
            "this string has no closing quote",
            related=()
            if long is None
            else [(self._span(long, long + 1), "is the closing quote of this string missing?")],
            help="strings may run over several lines, and end at the next '\"'"
            if long is not None
            else "end it with '\"'",
        )
        self._spoilt(start if long is None else long)
        self._add("string", start, end, self._text[start + 1 : end])
        return end

    def _unescape(self, inner: str, offset: int) -> str:
        def replace(match: re.Match[str]) -> str:
            escape = match.group(1)
            if escape in _ESCAPES:
                return _ESCAPES[escape]
            if len(escape) == 11:
                return (
                    (b"\\" + escape.encode())
                    .decode("unicode-escape")
                    .encode("utf-16", "surrogatepass")
                    .decode("utf-16")
                )
            if len(escape) == 5 and not 0xD800 <= int(escape[1:], 16) <= 0xDFFF:
                return chr(int(escape[1:], 16))
            span = self._span(offset + match.start(), offset + match.end())
            self._report.add(
                "E0104",
                span,
                "half of a surrogate pair" if len(escape) == 5 else f"unknown escape '{match.group()}'",
                help='the escapes are those of JSON: \\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX',
            )
            return ""

        return _ESCAPE.sub(replace, inner)
