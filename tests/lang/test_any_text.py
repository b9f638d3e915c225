"""No text makes the checker raise."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fabric.lang.check import check_source
from fabric.lang.diagnostic import render_all, to_json
from fabric.lang.lexer import RESERVED
from fabric.lang.source import Source

PROGRAMS = [
    text
    for path in sorted((Path(__file__).parent.parent / "programs").glob("*.plumb"))
    for text in re.split(r"(?m)^---\n", path.read_text(encoding="utf-8"))
]
SIGNS = re.findall(r"\S+", '<-> -> → || && == != <= >= ! | ( ) { } [ ] , : ; . = < > + - * / % @ ? " (* *)')
WORDS = re.findall(
    r"\S+",
    """
    main a b i o string int number bool unit json T Mem value id copy merge merge_all merge_any discard empty barrier
    map filter project mux python worker select offer not null 0 1 2.5 1e9 source input output ctrl telemetry
    """,
)
TOKENS = st.sampled_from(
    [*SIGNS, *WORDS, *sorted(RESERVED), '"x"', "let main : !string -> !string = ", "plumb(i, o) {"]
)


def check(text):
    """Check, and look at everything that comes out."""
    source = Source("x.plumb", text)
    module, diagnostics = check_source(source)
    assert (module is None) == any(d.severity == "error" for d in diagnostics)
    for diagnostic in diagnostics:
        for span in (diagnostic.span, *(span for _, span, _ in diagnostic.related)):
            assert 0 <= span.start <= span.end <= len(text)
        to_json(diagnostic)
    render_all(diagnostics)
    return module


@given(st.text(max_size=200))
@example("\ufeff")
@example('"')
@example("(*")
@example('"\\ud83d\\')
def test_any_text_is_read(text):
    """Also text that is no program at all."""
    check(text)


@given(st.lists(TOKENS, max_size=60).map(" ".join))
@settings(max_examples=300)
def test_any_tokens_are_read(text):
    """Tokens in any order reach further into the parser."""
    check(text)


@st.composite
def mutated(draw):
    text = draw(st.sampled_from(PROGRAMS))
    pieces = re.findall(r"\s+|\w+|[^\w\s]", text)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(pieces) - 1)))
        match draw(st.sampled_from(["drop", "double", "swap", "put"])):
            case "drop":
                del pieces[at : at + 1]
            case "double":
                pieces[at:at] = pieces[at : at + 3]
            case "swap":
                pieces[at : at + 2] = pieces[at : at + 2][::-1]
            case "put":
                pieces.insert(at, draw(TOKENS))
    return "".join(pieces)


@given(mutated())
@settings(max_examples=400, deadline=None)
def test_any_damaged_program_is_read(text):
    """Programs with a few tokens dropped, doubled, swapped or put in reach the checker."""
    check(text)


def test_deep_nesting_is_a_diagnostic():
    """Whatever can be nested may be nested too deeply."""
    for opened, inner, closed in [
        ("let main : !int -> !int = map(" + "(" * 5000, "1", ")" * 5001),
        ("let main : !int -> !int = map(" + "[" * 5000, "1", "]" * 5000 + ")"),
        ("let main : !int -> !int = map(" + "-" * 5000, "1", ")"),
        ("let main : !int -> !int = map(" + "! " * 5000, "1", ")"),
        ("let main : !int -> !int = map(" + "1 + " * 5000, "1", ")"),
        ("let main : !int -> !int = map(value", ".a" * 5000, ")"),
        ("let main : !json -> !json = map(value", "[0]" * 5000, ")"),
        ("let main : " + "!" * 5000, "int", " -> !int = id"),
        ("type A = " + "{ a: " * 5000, "int", "}" * 5000),
        ("type A = " + "(int, " * 5000, "int", ")" * 5000),
        ("let main : !int -> !int = " + "(" * 5000, "id", ")" * 5000),
        ("let main : !int -> !int = agent { tools: " + "[" * 5000, "", "]" * 5000 + "}"),
        ("let main : !int -> !int = agent { x: " + "{ x: " * 5000, "1", "}" * 5000 + "}"),
        ("protocol P = " + "{ a: " * 5000, "end", "}" * 5000),
        ("(* " * 5000, "", "*) " * 5000),
    ]:
        check(opened + inner + closed)


def test_names_cannot_nest_types_too_deeply_or_make_them_too_large():
    """Neither a long chain of aliases nor one that doubles each time gets through."""
    chain = "type T0 = int\n" + "".join(f"type T{i} = [T{i - 1}]\n" for i in range(1, 3000))
    assert check(chain + "let main : !T2999 -> !int = map(1)") is None
    doubling = "type T0 = int\n" + "".join(f"type T{i} = (T{i - 1}, T{i - 1})\n" for i in range(1, 60))
    assert check(doubling + "let main : !T59 -> !int = map(1)") is None


def test_bodies_cannot_nest_too_deeply_or_grow_too_large():
    """The same of nested bodies."""
    chain = "let p0 : !int -> !int = id\n" + "".join(
        f"let p{i} : !int -> !int = p{i - 1} ; id\n" for i in range(1, 3000)
    )
    assert check(chain + "let main : !int -> !int = p2999") is None
    doubling = "let p0 : !int -> !int = id\n" + "".join(
        f"let p{i} : !int -> !int = plumb(i, o) {{ spawn p{i - 1}(i, o) spawn p{i - 1}(i, o) }}\n" for i in range(1, 60)
    )
    assert check(doubling + "let main : !int -> !int = p59") is None


def test_long_programs_are_read():
    """Ten thousand bindings, wired in one body."""
    lines = [f"let a{i} : !string -> !string = agent {{ }}" for i in range(5000)]
    lines += ["let main : !string -> !string = plumb(i, o) {", "i ; a0"]
    lines += [f'  a{i} ; filter(value != "{i}") ; a{i + 1}' for i in range(4999)]
    module = check("\n".join([*lines, "a4999 ; o", "}"]))
    assert module is not None
    assert len(module.bindings["main"].body.instances) == 9999
