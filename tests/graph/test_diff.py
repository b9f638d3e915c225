"""Two programs, and what is said of them."""

from __future__ import annotations

import random
import re

import pytest
from msgspec.structs import replace
from programs import PROGRAMS, Chunk, chunks

from fabric.graph.diff import Change, compare
from fabric.lang.check import check_source
from fabric.lang.typed import Done, Exchange, Protocol
from fabric.wire.payload import Prim

AGENTS = """
type Check = { pass: bool, why: string }
let writer : !(string | Check) -> !string = agent { }
let verify : !string -> !Check = agent { }
let grade : !string -> !int = agent { }
"""


def module_of(text):
    chunk = Chunk(text, "main.plumb")
    module, diagnostics = check_source(chunk.source, chunk)
    assert module is not None, diagnostics
    return module


def changes(old, new):
    return [change.text for change in compare(module_of(old), module_of(new))]


def body(*statements, header="main : !string -> !json = plumb(task, done)"):
    return AGENTS + f"let {header} {{\n" + "\n".join(statements) + "\n}\n"


def one(signature, config=""):
    return f"let main : {signature} = agent {{ {config} }}\n"


# --- what makes no difference -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (body("task ; writer ; done"), body("(* a comment *)", "task;writer", "", "  writer ;", "done")),
        (body("task ; writer ; done", "writer ; grade"), body("writer ; grade", "writer ; done", "task ; writer")),
        (
            body("task ; writer ; filter(value != \"\") ; done"),
            body("\n\ntask ; writer", "writer ; filter(value != \"\") ; done"),
        ),
        (
            body("task ; writer ; done"),
            body("let c : !string = channel", "task ; c", "c ; writer ; id ; done"),
        ),
        (one("!string -> !{ a: int }"), "type A = { a: int }\n" + one("!string -> !A")),
        (one("!string -> !(int | string)"), one("!string -> !(string | int)")),
        (one("!int -> !int", 'prompt: "a" max_tokens: 5'), one("!int -> !int", 'max_tokens: 5, prompt: "a"')),
        (AGENTS + "let main : !string -> !string = writer", "let main : !string -> !string = writer" + AGENTS),
    ],
)  # fmt: skip
def test_form_makes_no_difference(old, new):
    """Spaces, comments, order, lines, channels, names of types."""
    assert changes(old, new) == []
    assert changes(new, old) == []


@pytest.mark.parametrize("name", [name for name, chunk in chunks().items() if not chunk.marks()])
def test_a_program_is_the_same_as_itself_with_its_declarations_shuffled(name):
    """And with lines between them, so that what has no name of its own is called otherwise."""
    chunk = chunks()[name]
    module, _ = check_source(chunk.source, chunk)
    parts = re.split(r"(?m)^(?=let |type |protocol |use |\(\* )", chunk.source.text)
    random.Random(1).shuffle(parts)
    moved = Chunk("\n\n".join(parts), chunk.source.path)
    moved.files = chunk.files
    other, _ = check_source(moved.source, moved)
    if other is not None:  # a comment over several declarations is torn apart
        assert compare(module, other) == ()


# --- what does ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # processes
        (
            body("task ; writer ; done"),
            body("task ; writer ; done") + "let critic : !string -> !Check = agent { }",
            ["added agent critic : !string -> !Check"],
        ),
        (
            body("task ; writer ; done") + "let words : !string -> !int = python { call: \"a:b\" }",
            body("task ; writer ; done"),
            ["removed python words : !string -> !int"],
        ),
        (
            body("task ; writer ; verify ; done"),
            body("task ; writer ; verify ; done").replace("verify", "checker"),
            ["verify is now called checker"],
        ),
        (
            "let a : !int -> !int = agent { }\nlet main : !int -> !int = a",
            "let b : !int -> !int = agent { }\nlet c : !int -> !int = agent { }\nlet main : !int -> !int = b ; c",
            [
                "removed agent a : !int -> !int",
                "added agent b : !int -> !int",
                "added agent c : !int -> !int",
                "b now feeds c",
                "c now feeds output",
                "input now feeds b",
                "a no longer feeds output",
                "input no longer feeds a",
            ],
        ),
        (
            "let main : !int -> !int = agent { }",
            "let main : !int -> !int = python { call: \"a:b\" }",
            ["main: agent -> python"],
        ),
        ("let a : !int -> !int = id\nlet main : !int -> !int = id",
         "let main : !int -> !int = map(value)\nlet a : !int -> !int = id", ["main: id -> map"]),
        ("let main : !int -> !int = map(value * 2)", "let main : !int -> !int = map(value * 3)",
         ["main: map(value * 2) -> map(value * 3)"]),
        ("let a : !int -> !int = id", "let b : !int -> !int = id", ["a is now called b"]),
        # types
        (
            one("!string -> !Check").join([AGENTS, ""]),
            one("!string -> !(Check | string)").join([AGENTS, ""]),
            ["widened output of main: !Check -> !(Check | string)"],
        ),
        (one("!number -> !string"), one("!int -> !string"), ["narrowed input of main: !number -> !int"]),
        (one("!string -> !int"), one("!string -> !string"), ["changed output of main: !int -> !string"]),
        (
            "type A = { a: int }\n" + one("!string -> !A"),
            "type A = { a: int, b: int }\n" + one("!string -> !A"),
            ["changed output of main: !{ a: int } -> !{ a: int, b: int }"],
        ),
        (
            one("!string -> !string"),
            one("(!string, !{ set_temp: number }) -> !string"),
            ["main has a new input 'ctrl_in' : !{ set_temp: number }"],
        ),
        (
            one("!string -> (!string, !json)"),
            one("!string -> !string"),
            ["main has lost its output 'telemetry'"],
        ),
        (
            body("task ; writer ; done"),
            body("question ; writer ; done", header="main : !string -> !json = plumb(question, done)"),
            ["input 'task' of main is now called 'question'"],
        ),
        # configuration
        (
            one("!string -> !string", 'model: "a" max_tokens: 5'),
            one("!string -> !string", 'model: "b" amnesiac: true'),
            [
                'main: model "a" -> "b"',
                "main: max_tokens is not set any more, was 5",
                "main: amnesiac is now true, was not set",
            ],
        ),
        (
            one("!string -> !string", f'prompt: "{"x" * 500}one{"y" * 500}"'),
            one("!string -> !string", f'prompt: "{"x" * 500}two{"y" * 500}"'),
            [f"main: prompt …{'x' * 20}one{'y' * 37}… -> …{'x' * 20}two{'y' * 37}…"],
        ),
        (
            "use fs\nuse sys\n" + one("!string -> !string", "tools: [Fs.read, Sys.exec]"),
            "use fs\n" + one("!string -> !string", "tools: [Fs.list, Fs.read]"),
            [
                "no longer uses the module Sys",
                "main gained the tool Fs.list",
                "main lost the tool Sys.exec",
            ],
        ),
        (
            one("!string -> !string", 'mcp: [{ name: "time", command: "a" }, { name: "web", url: "http://a" }]'),
            one("!string -> !string", 'mcp: [{ name: "time", command: "b" }, { name: "maps", url: "http://a" }]'),
            [
                'main: server time {"name":"time","command":"a"} -> {"name":"time","command":"b"}',
                "main gained the server maps",
                "main lost the server web",
            ],
        ),
        (
            "let main : !int -> !int = map(value * 2)",
            "use lib\nlet main : !int -> !int = plumb(i, o) { i ; Lib.double ; o }\n"
            "--- lib.plumb\nlet double : !int -> !int = map(value * 2)",
            ["now uses the module Lib", "main: map -> a body"],
        ),
        # wiring
        (
            body("task ; writer ; done"),
            body("task ; writer ; done", "writer ; grade"),
            ["writer now feeds grade"],
        ),
        (
            body("task ; writer ; done", "writer@telemetry ; done"),
            body("task ; writer ; done"),
            ["writer@telemetry no longer feeds done"],
        ),
        (
            body("task ; writer ; grade ; filter(value < 7) ; done"),
            body("task ; writer ; grade ; filter(value < 8) ; done"),
            ["grade feeds done through filter(value < 8), before through filter(value < 7)"],
        ),
        (
            body("task ; writer ; grade ; done"),
            body("task ; writer ; grade ; map({ mark: value }) ; filter(mark > 1).mark ; done"),
            ["grade feeds done through map({ mark: value }) ; filter(mark > 1).mark, before directly"],
        ),
        (
            body("(task * writer) ; barrier ; done", "task ; writer"),
            body("(writer * task) ; barrier ; done", "task ; writer"),
            [
                "task feeds done through side 2 of a barrier, before through side 1 of a barrier",
                "writer feeds done through side 1 of a barrier, before through side 2 of a barrier",
            ],
        ),
        (
            body("spawn writer(task, done)"),
            body("spawn writer(task, done)", "spawn writer(task, done)"),
            ["2 of writer, were 1", "task now feeds writer, once more", "writer now feeds done, once more"],
        ),
        (
            "let f : !int -> !int = plumb(a, b) { a ; map(value + 1) ; b }\nlet main : !int -> !int = f",
            "let f : !int -> !int = plumb(a, b) { a ; map(value + 2) ; b }\nlet main : !int -> !int = f",
            ["in f: a feeds b through map(value + 2), before through map(value + 1)"],
        ),
        (
            body("task ; writer ; done"),
            body("task ; writer ; done", "(writer * writer) ; barrier ; filter(value[0] = \"\")"),
            ["writer now feeds filter(value[0] = \"\") through side 1 of a barrier",
             "writer now feeds filter(value[0] = \"\") through side 2 of a barrier"],
        ),
        # loops
        (
            body("task ; writer ; verify ; done"),
            body("task ; writer ; verify ; done", "verify ; filter(pass = false) ; writer"),
            ["verify now feeds writer through filter(pass = false)", "new loop: writer -> verify -> writer"],
        ),
        (
            body("task ; writer ; done", "writer ; filter(value != \"\") ; writer"),
            body("task ; writer ; done"),
            ["writer no longer feeds writer through filter(value != \"\")", "loop removed: writer -> writer"],
        ),
    ],
)  # fmt: skip
def test_what_changed_is_said(old, new, expected):
    """In the order of modules, processes, their types and configuration, wiring, loops."""
    assert changes(old, new) == expected


def test_two_barriers_that_join_other_pairs_are_told_apart():
    """Though every process still feeds the same one, through the same side of a barrier."""
    text = """
        let a : !int -> !int = agent {{ }}
        let b : !int -> !int = agent {{ }}
        let c : !int -> !int = agent {{ }}
        let d : !int -> !int = agent {{ }}
        let main : !int -> !(int, int) = plumb(i, o) {{
          i ; (a * b * c * d)
          (a * {}) ; barrier ; o
          (c * {}) ; barrier ; o
        }}"""
    old, new = text.format("b", "d"), text.format("d", "b")
    assert changes(old, new) == ["in main: messages are joined otherwise"]


def test_ways_through_copies_are_counted_not_walked():
    """Of sixty copies that are joined again there are 2^60: a walk would not end."""
    diamonds = "(id * id) ; merge ; " * 60
    old, new = body(f"task ; writer ; {diamonds} done"), body(f"task ; writer ; {diamonds} grade", "task ; done")
    assert changes(old, new) == [
        "task now feeds done",
        "writer now feeds grade",
        "writer no longer feeds done",
    ]


def test_protocols_are_compared_by_their_steps():
    """By name; where a protocol stands in the file does not matter."""
    module = module_of(one("!string -> !string"))
    ask = Protocol("Ask", (Exchange("there", Prim("string"), 1), Done()))
    tell = Protocol("Tell", (Exchange("back", Prim("string"), 1), Done()))
    other = Protocol("Ask", (Exchange("there", Prim("int"), 1), Done()))

    def having(*protocols):
        return replace(module, protocols={protocol.name: protocol for protocol in protocols})

    assert compare(having(ask, tell), having(tell, ask)) == ()
    assert [c.text for c in compare(having(ask), having(other))] == ["the protocol Ask has other steps"]
    assert [c.text for c in compare(having(ask), having(tell))] == [
        "removed the protocol Ask",
        "added the protocol Tell",
    ]


def test_a_change_has_a_word_for_programs():
    """Its subject, and what was and is."""
    old, new = module_of(one("!string -> !int")), module_of(one("!string -> !number"))
    assert compare(old, new) == (
        Change("output_widened", "main", "widened output of main: !int -> !number", "!int", "!number"),
    )


def test_the_chunked_programs_are_read():
    """So that the test over them is one."""
    assert PROGRAMS.is_dir()
    assert sum(not chunk.marks() for chunk in chunks().values()) >= 40
