"""The canonical style: what it looks like, what it keeps."""

from __future__ import annotations

import random
import re
from itertools import pairwise
from pathlib import Path

import pytest
from any_text import PROGRAMS, examine_format, nested, respaced
from generated import program
from hypothesis import given, settings
from hypothesis import strategies as st

import fabric
from fabric.lang.format import WIDTH, format_source
from fabric.lang.source import Source

ROOT = Path(__file__).parents[2]
STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


def formatted(text: str) -> str:
    printed = examine_format(Source("x.plumb", text))
    assert printed is not None
    return printed


STYLE = {
    "spaces": (
        """\
type   T={a:int,b?:[string]}
use fs   use "./lib.plumb"
let  main:(!T,!int)->!(T|string)=plumb(i,j,o){i;a@ctrl . x;o}
""",
        """\
type T = { a: int, b?: [string] }
use fs
use "./lib.plumb"
let main : (!T, !int) -> !(T | string) = plumb(i, j, o) { i ; a@ctrl.x ; o }
""",
    ),
    "old forms": (
        "main : !Int → !Bool = filter(value==1 && not (value > 2))",
        "let main : !Int -> !Bool = filter(value = 1 && not (value > 2))\n",
    ),
    "a body has a statement a line": (
        "let main : !A -> !B = plumb(i, o) { i ; a a ; o spawn p(x, output = y) let c : !T = channel b<->c@(q,r):P }",
        """\
let main : !A -> !B = plumb(i, o) {
  i ; a
  a ; o
  spawn p(x, output=y)
  let c : !T = channel
  b <-> c@(q, r) : P
}
""",
    ),
    "a body of one statement stays as it was written": (
        "let a : !A -> !B = plumb(i, o) { i ; o }\nlet b : !A -> !B = plumb(i, o) {\n  i ; o }",
        "let a : !A -> !B = plumb(i, o) { i ; o }\nlet b : !A -> !B = plumb(i, o) {\n  i ; o\n}\n",
    ),
    "entries on one line have commas, others have none": (
        'let a : !A -> !B = agent { model: "m" tools: [x,y,] }\nlet b : !A -> !B = agent {\n model: "m", tools: [x] }',
        """\
let a : !A -> !B = agent { model: "m", tools: [x, y] }
let b : !A -> !B = agent {
  model: "m"
  tools: [x]
}
""",
    ),
    "an entry with several lines is not alone on its line": (
        'let a : !A -> !B = agent { model: "m" prompt: "one\n  two " }',
        'let a : !A -> !B = agent {\n  model: "m"\n  prompt: "one\n  two "\n}\n',
    ),
    "what is too long is broken outside first": (
        "let main : !string -> !string = plumb(i, o) {"
        " checker ; filter(pass = false) ; map({ topic: topic, round: round + 1, remark: remark }) ; composer ; checker"
        ' i ; map({ topic: value, round: 1, remark: "nothing has been remarked so far", line: "", more: false,'
        " less: true })}",
        """\
let main : !string -> !string = plumb(i, o) {
  checker
    ; filter(pass = false)
    ; map({ topic: topic, round: round + 1, remark: remark })
    ; composer
    ; checker
  i
    ; map({
        topic: value,
        round: 1,
        remark: "nothing has been remarked so far",
        line: "",
        more: false,
        less: true,
      })
}
""",
    ),
    "a long type is broken behind its signs": (
        "type Event = { kind: string, tokens: int, model: string, tier: string } | { kind: string, error: string,"
        " code: int }\nlet worker : (!string, !{ stop: bool, set_temp: number, pause: bool }) -> (!string,"
        " !{ status: string, kind: string }) = agent { }",
        """\
type Event =
  { kind: string, tokens: int, model: string, tier: string } |
  { kind: string, error: string, code: int }
let worker :
  (!string, !{ stop: bool, set_temp: number, pause: bool }) ->
  (!string, !{ status: string, kind: string }) = agent { }
""",
    ),
    "a long condition is broken before its operators": (
        'let main : !json -> !json = filter(kind = "usage" && (tokens.input > 1000000 || tokens.output > 1000000)'
        ' && tier != "free" && model != "small")',
        """\
let main : !json -> !json = filter(
  kind = "usage"
    && (tokens.input > 1000000 || tokens.output > 1000000)
    && tier != "free"
    && model != "small"
)
""",
    ),
    "a long chain is broken before its signs": (
        "let main : !string -> !string = first_of_all_workers ;"
        " (second_worker * third_worker ; filter(value)) ; barrier ; map(value[0]) ; last_of_all_workers",
        """\
let main : !string -> !string =
  first_of_all_workers
    ; (second_worker * third_worker ; filter(value))
    ; barrier
    ; map(value[0])
    ; last_of_all_workers
""",
    ),
    "a protocol": (
        "protocol Ask=send Question .recv Answer .select{again:loop,done:end}\n"
        "protocol Long=send{question:string,round:int}.recv{answer:string,round:int}.offer{again:loop,done:end}",
        """\
protocol Ask = send Question . recv Answer . select { again: loop, done: end }
protocol Long =
  send { question: string, round: int } .
  recv { answer: string, round: int } .
  offer { again: loop, done: end }
""",
    ),
    "a field of what is called with a capital is not of a module": (
        "let main : !A -> !B = plumb(i, o) { Mem.a ; Mem . a ; T@p . x }",
        "let main : !A -> !B = plumb(i, o) { Mem.a ; Mem .a ; T@p.x }\n",
    ),
    "brackets that are written stay": (
        "let f : !(int) -> !((int)) = map(((value)) * (2 + 3))",
        "let f : !(int) -> !((int)) = map(((value)) * (2 + 3))\n",
    ),
    "one empty line stays": (
        "\n\ntype A = int\n\n\n\ntype B = int\nlet f : !A -> !B = plumb(i, o) {\n\n  i ; a\n\n\n  a ; o\n\n}\n\n\n",
        "type A = int\n\ntype B = int\nlet f : !A -> !B = plumb(i, o) {\n  i ; a\n\n  a ; o\n}\n",
    ),
    "comments": (
        """\
(* of the file *)


(* of A (* with another *) inside *)
type A = { (* why *)
 a: int (* the a *)
 , b: int, (* the b *)
 (* no more *)
}
let f : !A (* in *) -> !A = agent { (* nothing *) }
let g : !A -> !A = agent {
 (* nothing
      to say *)
}
let h : !A -> !A = plumb(i, o) {
 (* first *)

 i ; (* then *) a (* and *)
   (* then *) ; o

 (* last *)

} (* of h *)
(* the end *)""",
        """\
(* of the file *)

(* of A (* with another *) inside *)
type A = { (* why *)
  a: int, (* the a *)
  b: int, (* the b *)
  (* no more *)
}
let f : !A (* in *) -> !A = agent { (* nothing *) }
let g : !A -> !A = agent {
  (* nothing
       to say *)
}
let h : !A -> !A = plumb(i, o) {
  (* first *)

  i
    ; (* then *) a (* and *)
    (* then *) ; o

  (* last *)
} (* of h *)
(* the end *)
""",
    ),
    "a text without a declaration": ("\ufeff \r\n(* nothing *)", "(* nothing *)\n"),
    "an empty text": (" \n\t\n", ""),
    "other spaces": ("\ufefftype\tA =\r\n\r\n  int\r\n(* a\r\n   b \t\r\n*)", "type A = int\n(* a\n   b\n*)\n"),
}


@pytest.mark.parametrize("name", STYLE)
def test_the_style(name):
    """To the letter; and formatted again, the same."""
    text, expected = STYLE[name]
    assert formatted(text) == expected


def test_what_does_not_parse_is_not_formatted():
    """The mistakes are returned instead, warnings are not."""
    text, mistakes = format_source(Source("x.plumb", "main : !A -> !B = a ; ; b"))
    assert text is None
    assert [mistake.code for mistake in mistakes] == ["E0101"]


def test_strings_and_numbers_stay_as_they_are_spelt():
    """Escapes, line ends inside, exponents."""
    spelt = ['"\\u00e9\\/ \r\n\t"', "1e3", "-2.50", "0.0"]
    text = formatted(f"let main : !A -> !B = agent {{ a: {' b: '.join(spelt)} }}")
    assert [word for word in spelt if word not in text] == []


@given(st.integers(0, 2**32).map(random.Random))
@settings(max_examples=60, deadline=None)
def test_other_spaces_and_comments_anywhere_change_no_meaning(rng):
    """Same tree, same comments in the same order, and formatted again, the same."""
    examine_format(Source("x.plumb", respaced(rng)))


@given(st.integers(0, 2**32).map(random.Random))
@settings(max_examples=60, deadline=None)
def test_lines_are_short_enough(rng):
    """Generated programs have no word or string that is too long by itself."""
    assert [line for line in formatted(program(rng).main).split("\n") if len(line) > WIDTH] == []


@given(st.integers(0, 2**32).map(random.Random))
@settings(max_examples=40, deadline=None)
def test_no_line_ends_with_a_space_and_no_two_are_empty(rng):
    """Outside of strings."""
    text = formatted(program(rng).main.replace("\n", " \t\n \n \n"))
    lines = STRING.sub('""', text).split("\n")
    assert [line for line in lines if line != line.rstrip()] == []
    assert [pair for pair in pairwise(lines[:-1]) if pair == ("", "")] == []


@given(st.integers(0, 2**32).map(random.Random))
@settings(max_examples=60, deadline=None)
def test_the_deepest_nesting_is_formatted(rng):
    """Whatever is nested as deep as the parser takes it, or too deep for it."""
    examine_format(Source("x.plumb", nested(rng)))


SHIPPED = [
    *sorted((ROOT / "compose").rglob("*.plumb")),
    *sorted((Path(fabric.__file__).parent / "library").glob("*.plumb")),
]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_programs_that_come_with_us_are_formatted(path):
    """The examples and the library."""
    text = path.read_text(encoding="utf-8")
    assert formatted(text) == text


@pytest.mark.parametrize("file", ["README.md", "fabric/lang/LANGUAGE.md"])
def test_the_programs_of_the_documents_are_formatted(file):
    """What one reads is what one gets."""
    examples = re.findall(r"```plumb(?: error)?\n(.*?)```", (ROOT / file).read_text(encoding="utf-8"), re.DOTALL)
    assert examples
    assert [formatted(example) for example in examples] == examples


def test_programs_are_there():
    """Those that texts are made of were found."""
    assert len(PROGRAMS) > 200
    assert len(SHIPPED) >= 6
    assert random.Random(1).choice(PROGRAMS)
