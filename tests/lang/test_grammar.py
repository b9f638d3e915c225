"""The parser reads what the grammar says; tests/lang/grammar.lark is the grammar."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from any_text import examine_format
from generated import program
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra.lark import from_lark
from lark import Lark
from lark.exceptions import LarkError
from programs import chunks

from fabric.lang.diagnostic import Report
from fabric.lang.lexer import RESERVED, tokenize
from fabric.lang.parser import parse
from fabric.lang.source import Source

TEXT = Path(__file__).with_name("grammar.lark").read_text(encoding="utf-8")
GRAMMAR = Lark(TEXT, parser="earley", lexer="dynamic")
CHUNKS = chunks()

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


def accepts(text: str) -> bool:
    """Say whether the grammar has this text, comments aside."""
    source = Source("x.plumb", text)
    for span in reversed(tokenize(source, Report(source)).comments):
        text = f"{text[: span.start]} {text[span.end :]}"
    try:
        GRAMMAR.parse(text)
    except LarkError:
        return False
    return True


@pytest.mark.parametrize("start", FRAMES)
@given(data=st.data())
@settings(max_examples=12, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_the_parser_reads_whatever_the_grammar_makes(start, data):
    """Nothing else is expected anywhere, but that nesting ends somewhere; and it is formatted."""
    source = Source("x.plumb", FRAMES[start].format(data.draw(MADE[start])))
    report = Report(source)
    parse(source, report)
    assert {found.code for found in report.diagnostics()} <= {"W0110", "E0108"}
    examine_format(source)


@pytest.mark.parametrize("name", CHUNKS)
def test_the_grammar_has_a_program_if_the_parser_reads_it(name):
    """The grammar does not refuse what the parser takes."""
    source = CHUNKS[name].source
    report = Report(source)
    parse(source, report)
    if not report.has_errors:
        assert accepts(source.text)


@pytest.mark.parametrize(
    "text",
    [
        "let main : !int -> !int = map(0 < value < 9)",
        "let main : !int -> !int = plumb(i, o) { i ; ; o }",
        "type T = ()",
        "type type = int",
        "let a : !int -> !int = agent { x 1 }",
        "protocol P = send int end",
    ],
)
def test_the_grammar_refuses_what_the_parser_refuses(text):
    """It is no grammar of everything."""
    report = Report(Source("x.plumb", text))
    parse(Source("x.plumb", text), report)
    assert report.has_errors
    assert not accepts(text)


@pytest.mark.parametrize("seed", range(2))
def test_the_grammar_has_generated_programs(seed):
    """They are made without looking at it."""
    assert accepts(program(random.Random(seed)).main)
