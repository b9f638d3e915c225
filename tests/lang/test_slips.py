"""What the help says where other languages write something else."""

from __future__ import annotations

import pytest

from fabric.lang.check import check_source
from fabric.lang.source import Source

DECLARED = "type C = { ok: bool, why: string }\nlet a : !string -> !C = agent { }\n"


def body(statement):
    return f"{DECLARED}let main : !string -> !json = plumb(i, o) {{ {statement} }}\n"


@pytest.mark.parametrize("depth", [10, 500, 3_000])
def test_bodies_inside_of_bodies_do_not_exhaust_the_stack(depth):
    """Each is a mistake."""
    program = " let main : !int -> !int = plumb(i, o) { " * depth
    _, diagnostics = check_source(Source("main.plumb", program))
    assert {diagnostic.code for diagnostic in diagnostics} >= {"E0101"}
    assert len(diagnostics) >= depth


@pytest.mark.parametrize(
    ("program", "code", "hint"),
    [
        ("type T = { a: string; b: int }", "E0101", "fields are separated by ','"),
        ("type T = { a: string[] }", "E0101", "a list of T is written [T]"),
        ("type T = { a: string? }", "E0101", "the '?' of an optional field stands behind its name: a?: T"),
        ("type T { a: string }", "E0101", "write  type T = { ... }"),
        ("import lib", "E0101", "write 'use'"),
        ("use ./lib.plumb", "E0101", 'a path needs quotes: use "./lib.plumb"'),
        ("agent a : !string -> !string { }", "E0101", "write  let name : !A -> !B = agent { ... }"),
        ("let a : !string -> !string = agent { };", "E0101", "a declaration has no ';' behind it"),
        ("let a : !string, !int -> !string = agent { }", "E0101", "several ports stand in parentheses: (!A, !B)"),
        ("let a : !string => !string = agent { }", "E0101", "the arrow is written '->'"),
        ("let a : !string string = agent { }", "E0101", "a process has a signature: !A -> !B"),
        ('let a : !int -> !int = agent { provider = "eliza" }', "E0101", "a key and its value are separated by ':'"),
        ('let a : !string -> !string = agent { "provider": "eliza" }', "E0101", "keys are written without quotes"),
        ("let a : !string -> !string = agent { model: gpt-5 }", "E0101", 'a string needs quotes: "..."'),
        ("let a : !string -> !string = worker(1)", "E0101", 'write  worker { command: ["program", "argument"] }'),
        (body("i ; a ; { ok } ; o"), "E0101", "to make a record write  map({ ... })"),
        (body("i ; a ; map(ok, why) ; o"), "E0101", "several values make a record: map({ a, b })"),
        (body("i ; a ; map({ ok = ok }) ; o"), "E0101", "a field and its value are separated by ':'"),
        (body('i ; a ; filter(ok or why = "") ; o'), "E0101", "the logical 'or' is written '||'"),
        (body("i ; a ; filter(ok = True) ; o"), "E0414", "write 'true'"),
        (body("i ; (a, a) ; o"), "E0101", "what stands side by side is joined by '*': (a * b)"),
        (body("i ; a ; o ;"), "E0101", "the last process of a chain has no ';' behind it"),
        (body("i ; a ; C ; o"), "E0202", "'C' is a type; a chain has processes, which make such messages or take them"),
        (body("a(i) ; o"), "E0504", "processes are not called, they are joined by ';':  a ; a ; b"),
        (
            body("i ; a ; o").replace("plumb(i, o)", "plumb(i: string, o: json)"),
            "E0101",
            "a header has names only; the types are those of the signature",
        ),
    ],
)  # fmt: skip
def test_the_help_says_what_is_written_here(program, code, hint):
    """With the first thing that is wrong."""
    _, diagnostics = check_source(Source("main.plumb", program))
    assert (diagnostics[0].code, diagnostics[0].help) == (code, hint)
