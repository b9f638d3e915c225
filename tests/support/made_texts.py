"""Texts that the grammar makes: tests/lang/grammar.lark."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st
from hypothesis.extra.lark import from_lark
from lark import Lark

from fabric.lang.lexer import RESERVED

TEXT = (Path(__file__).parents[1] / "lang/grammar.lark").read_text(encoding="utf-8")
GRAMMAR = Lark(TEXT, parser="earley", lexer="dynamic")

WORDS = ["python", "worker", "map", "filter", "project", "mux", "select", "offer", "not", "null"]
NAMES = ["a", "b1", "_", "T", "Mem", "value", "letter", "id", "copy", "input", "endless"]
"""None of the words: were ``map`` a name, ``map (a)`` would be two statements in the grammar, and one to the parser."""


def spaced(words: list[str]) -> st.SearchStrategy[str]:
    return st.sampled_from([f" {word} " for word in words])


TERMINALS = {word.upper(): spaced([word]) for word in [*WORDS, *RESERVED]} | {
    "STRUCTURAL": spaced(["id", "copy", "merge", "merge_all", "merge_any", "discard", "empty", "barrier"]),
    "NAME": spaced(NAMES),
    "QUALIFIED": spaced(["Mem.b", "Mem.T"]),
    "STRING": spaced(['""', '"x"', r'"\"\\\u00e9"', '"two\nlines"']),
    "NUMBER": spaced(["0", "12", "0.5", "1e9"]),
    "INT": spaced(["0", "12"]),
    "SPACE": st.sampled_from(["\n", "\t\r\n", "\ufeff"]),
}
FRAMES = {
    "start": "{}",
    "type": "type A = {}",
    "impl": "let a : !int -> !int = {}",
    "config": "let a : !int -> !int = agent {}",
    "statement": "let a : !int -> !int = plumb(i, o) {{ {} }}",
    "expr": "let a : !int -> !int = map({})",
    "session": "protocol P = {}",
}
"""Parts of programs, and what to put around them; longer ones come of smaller parts."""


def made(start: str) -> st.SearchStrategy[str]:
    """Return what the grammar makes from one of its rules."""
    used = {terminal.name for terminal in GRAMMAR.grammar.compile([start], ())[0]}
    explicit = {name: strategy for name, strategy in TERMINALS.items() if name in used}
    return from_lark(GRAMMAR, start=start, explicit=explicit)


MADE = {start: made(start) for start in FRAMES}
