"""The parser reads what the grammar says; tests/lang/grammar.lark is the grammar."""

from __future__ import annotations

import random

import pytest
from any_text import examine_format
from generated import program
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lark.exceptions import LarkError
from made_texts import FRAMES, GRAMMAR, MADE
from programs import chunks

from fabric.lang.diagnostic import Report
from fabric.lang.lexer import tokenize
from fabric.lang.parser import parse
from fabric.lang.source import Source

CHUNKS = chunks()


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
