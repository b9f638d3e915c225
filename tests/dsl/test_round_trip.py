"""Every program that the parser accepts can be built, and what is built reads as what it was built of."""

from __future__ import annotations

import random

import pytest
from any_text import NESTS, PROGRAMS, nested, texts
from generated import programs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from made_texts import FRAMES, MADE

from fabric.dsl import read
from fabric.dsl.origin import NOWHERE, built_within
from fabric.lang.diagnostic import Report
from fabric.lang.format import format_source
from fabric.lang.parser import parse
from fabric.lang.source import Source
from fabric.lang.token_cursor import NESTING_MAX

INPUTS = 800


def examine(text: str) -> bool:
    """Build the program of a text, and look at the text of that. Return whether there is one."""
    source = Source("x.plumb", text)
    report = Report(source)
    tree = parse(source, report)
    if report.has_errors:
        return False
    wanted = built_within(tree, NOWHERE)
    program = read(source)
    assert built_within(program.tree, NOWHERE) == wanted
    rendered = program.render()
    again = Source("x.plumb", rendered)
    remarks = Report(again)
    assert built_within(parse(again, remarks), NOWHERE) == wanted, rendered
    assert not {found.code for found in remarks.diagnostics()} - {"W0111", "W0112"}
    assert format_source(again) == (rendered, ())
    return True


def test_the_programs_of_the_repository_are_built():
    """The chunks of tests/programs, the examples of the documents, compose/ and the library."""
    assert sum(map(examine, PROGRAMS)) > 700


def test_texts_by_chance_are_built():
    """Of those that tests/fuzz/language.py makes, whichever the parser accepts."""
    assert sum(examine(text) for _, _, text in texts(1, 0, INPUTS)) > INPUTS // 5


@given(programs)
@settings(max_examples=25, deadline=None)
def test_programs_that_check_are_built(program):
    """With all files that they use."""
    assert all(map(examine, [program.main, *program.files.values()]))


@pytest.mark.parametrize("start", sorted(FRAMES.keys() - {"expr"}))
@given(data=st.data())
@settings(max_examples=6, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_whatever_the_grammar_makes_is_built(start, data):
    """Also what nobody would write. Statements have expressions in them."""
    examine(FRAMES[start].format(data.draw(MADE[start])))


@pytest.mark.parametrize("nest", NESTS)
def test_what_is_nested_as_deep_as_the_parser_takes_it_is_built(nest):
    """No bracket is written that would make it too deep."""
    before, opening, inner, closing, after = nest
    deepest = [
        n
        for n in (0, 1, 40, *range(NESTING_MAX - 3, NESTING_MAX + 3))
        if examine(before + opening * n + inner + closing * n + after)
    ]
    assert deepest


@pytest.mark.parametrize("count", range(20, 28))
def test_brackets_that_only_readers_need_are_left_out_where_they_would_be_too_deep(count):
    """Each level here would have one more."""
    text = f"let main : !json -> !json = map({'[!1 = ' * count}true{']' * count})"
    assert examine(text) == (count < 27)


@given(st.integers(0, 2**32).map(random.Random))
@settings(max_examples=40, deadline=None)
def test_other_nesting_is_built_or_refused_by_the_parser(rng):
    """Brackets that do not match among them."""
    examine(nested(rng))


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("map({ null, not, a })", "map({ null, not, a: a })"),
        ("map({ null: null, b: not a })", "map({ null: null, b: !a })"),
        ("map({ a: 1, a: 2 })", "map({ a: 1, a: 2 })"),
        ("map((((a)) + (b * c)))", "map(a + b * c)"),
        ("map(a - (b - c))", "map(a - (b - c))"),
        ("map(!a = b)", "map(!(a = b))"),
        ("map((!a) = b)", "map((!a) = b)"),
        ("map(1 + !a * 2)", "map(1 + !a * 2)"),
        ("map((a < b) = (c < d))", "map((a < b) = (c < d))"),
        ("map(-(-1) - -a.b[0])", "map(--1 - -a.b[0])"),
        ("map((-a).b)", "map((-a).b)"),
        ("map(1.5e3)", "map(1500.0)"),
        ("Mem .a ; Mem.a.b ; copy.x ; copy@p.x ; map", "Mem .a ; Mem.a.b ; copy.x ; copy@p.x ; map"),
        ('project("a") ; project("b c") ; project(0)', 'project(a) ; project("b c") ; project(0)'),
        ("(a) ; ((b * c) * d ; e)", "(a) ; ((b * c) * d ; e)"),
    ],
)
def test_the_text_is_as_short_as_a_reader_likes_it(text, rendered):
    """Which brackets stay, which forms are chosen."""
    program = f"let p : !json -> !json = {text}"
    examine(program)
    assert read(program).render() == f"let p : !json -> !json = {rendered}\n"


def test_a_program_of_many_bindings_is_built():
    """In a time that is not its square."""
    lines = [f"let a{i} : !string -> !string = agent {{ }}" for i in range(500)]
    body = [f'  a{i} ; filter(value != "{i}") ; a{i + 1}' for i in range(499)]
    assert examine(
        "\n".join([*lines, "let main : !string -> !string = plumb(i, o) {", "i ; a0", *body, "a499 ; o", "}"])
    )
