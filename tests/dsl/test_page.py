"""What each name of the DSL is in the language: to the letter."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from fabric.dsl import (
    BARRIER,
    COPY,
    DISCARD,
    EMPTY,
    ID,
    MERGE,
    MERGE_ALL,
    MERGE_ANY,
    Agent,
    Bare,
    Barrier,
    Copy,
    Discard,
    Empty,
    F,
    Filter,
    Id,
    ListType,
    Map,
    Merge,
    MergeAll,
    MergeAny,
    Mux,
    NamedType,
    Pipe,
    PlumbBody,
    PortRef,
    ProductType,
    Program,
    Project,
    Python,
    Raw,
    Record,
    StreamType,
    SumType,
    Tensor,
    Tool,
    Worker,
)


class Verdict(BaseModel):
    verdict: bool
    commentary: str
    draft: str


def implementation(impl: Any) -> str:
    """Return how an implementation is rendered."""
    program = Program()
    program.let("p", input=str, output=str, impl=impl)
    text = program.render()
    head = "let p : string -> string = " if isinstance(impl, Tool) else "let p : !string -> !string = "
    assert text.startswith(head)
    return " ".join(text.removeprefix(head).split())


def port(type_: Any) -> str:
    """Return how the type of a port is rendered."""
    program = Program()
    program.let("p", input=type_, output=Bare(None), impl=ID)
    return program.render().split("let p : ")[1].removesuffix(" -> unit = id\n")


@pytest.mark.parametrize(
    ("impl", "text"),
    [
        (Agent(model="m", thinking_budget=1024), 'agent { model: "m", thinking_budget: 1024 }'),
        (Agent(), "agent { }"),
        (
            Agent(amnesiac=True, max_messages=None, temperature=-0.5),
            "agent { amnesiac: true, max_messages: null, temperature: -0.5 }",
        ),
        (Agent(tools=["read", "Fs.read"], prompts=["a.md"]), 'agent { tools: [read, Fs.read], prompts: ["a.md"] }'),
        (Agent(mcp=[{"name": "t", "args": []}]), 'agent { mcp: [{ name: "t", args: [] }] }'),
        (Agent(prompt='say "hi" \\ \t'), 'agent { prompt: "say \\"hi\\" \\\\ \\t" }'),
        (Tool(process="name"), "tool { process: name }"),
        (Tool(builtin="fs.read"), 'tool { builtin: "fs.read" }'),
        (Python(call="m:f", state=True), 'python { call: "m:f", state: true }'),
        (Worker(command=["./w", "-v"]), 'worker { command: ["./w", "-v"] }'),
        (Filter(F.x >= 85), "filter(x >= 85)"),
        (Filter(F.verdict == False), "filter(verdict = false)"),  # noqa: E712
        (Filter((F.a > 0) & (F.b < 10)), "filter(a > 0 && b < 10)"),
        (Filter(F.verdict == True).project("draft"), "filter(verdict = true).draft"),  # noqa: E712
        (Map(F.x, F.y), "map({ x: x, y: y })"),
        (Map(F.score, F.review), "map({ score: score, review: review })"),
        (Map(quality=F.score), "map({ quality: score })"),
        (Map(F.a.b, c=F[0]), "map({ b: a.b, c: value[0] })"),
        (Map.to(F.draft), "map(draft)"),
        (Map(F), "map(value)"),
        (Map(F.turn + 1), "map(turn + 1)"),
        (Map({"a": [F.b, (1, None)]}), "map({ a: [b, (1, null)] })"),
        (Id(), "id"),
        (ID, "id"),
        (Copy(), "copy"),
        (COPY, "copy"),
        (Merge(), "merge"),
        (MERGE, "merge"),
        (MergeAll(), "merge_all"),
        (MergeAny(), "merge_any"),
        (MERGE_ALL, "merge_all"),
        (MERGE_ANY, "merge_any"),
        (Discard(), "discard"),
        (DISCARD, "discard"),
        (Barrier(), "barrier"),
        (BARRIER, "barrier"),
        (Empty(), "empty"),
        (EMPTY, "empty"),
        (Project(0), "project(0)"),
        (Project("title"), "project(title)"),
        (Mux(source="x"), "mux(source: x)"),
        (Pipe("a", "b"), "a ; b"),
        ("a" >> ID >> "b", "a ; id ; b"),
        (PortRef("a") >> "b@ctrl" >> "Mem.c.text", "a ; b@ctrl ; Mem.c.text"),
        (Tensor("a", "b"), "(a * b)"),
        (PortRef("a") * "b" * "c", "(a * b * c)"),
        ("a" >> PortRef("b") * (COPY >> "c"), "a ; (b * copy ; c)"),
        (PlumbBody("in", "out"), "plumb(in, out) { }"),
        (PlumbBody("i", "o").wire("i", "a", "o").raw("a ; b"), "plumb(i, o) { i ; a ; o a ; b }"),
        (PortRef("p", "ctrl"), "p@ctrl"),
        (PortRef("p") @ "ctrl", "p@ctrl"),
        (PortRef("judge").project("answer"), "judge.answer"),
        (Raw("merge_any (* the first *)"), "merge_any (* the first *)"),
        ("other", "other"),
    ],
)
def test_an_implementation(impl, text):
    """Each line of the table, and what stands beside it."""
    assert implementation(impl) == text


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (Record([("f", str)]), "!{ f: string }"),
        (Record({"f": str, "g?": int}), "!{ f: string, g?: int }"),
        (Record([]), "!{}"),
        (SumType([str, Record([("a", int)])]), "!(string | { a: int })"),
        (SumType([str]), "!string"),
        (ProductType([str, int]), "!(string, int)"),
        (ProductType([StreamType(str), StreamType(int)]), "(!string, !int)"),
        ((str, int), "(!string, !int)"),
        ((str, Bare(int)), "(!string, int)"),
        (StreamType(str), "!string"),
        (ListType(str), "![string]"),
        (Bare(str), "string"),
        (NamedType("Mem.CtrlCmd"), "!Mem.CtrlCmd"),
        ("Mem.CtrlCmd", "!Mem.CtrlCmd"),
        (Raw("int | string"), "!(int | string)"),
        (Raw("| int | string"), "!(int | string)"),
        (Raw("!int"), "!int"),
        (SumType([str, Raw("(* c *) | int")]), "!(string | (* c *) int)"),
        (SumType([SumType([str, int]), bool]), "!((string | int) | bool)"),
        (str, "!string"),
        (int, "!int"),
        (float, "!number"),
        (bool, "!bool"),
        (dict, "!json"),
        (None, "!unit"),
        (list[int], "![int]"),
        (Verdict, "!Verdict"),
        (list[Verdict], "![Verdict]"),
        (Verdict | str, "!(Verdict | string)"),
        (tuple[int, Verdict], "!(int, Verdict)"),
        (list[Record([("a", int)])], "![{ a: int }]"),  # type: ignore[misc]
        (Record([("a", int)]) | Verdict | None, "!({ a: int } | Verdict | unit)"),
    ],
)
def test_a_type(type_, text):
    """Ports are streams, unless they say otherwise."""
    assert port(type_) == text


PROGRAM = """\
type Verdict = { verdict: bool, commentary: string, draft: string }

let composer : !string -> !string = agent { model: "claude-haiku-4-5", thinking_budget: 1024 }
let checker : !string -> !Verdict = agent { model: "claude-haiku-4-5", thinking_budget: 1024 }

let main : !string -> !string = plumb(input, output) {
  input ; composer ; checker
  checker ; filter(verdict = true).draft ; output
}
"""


def page_program() -> Program:
    prog = Program()
    prog.let("composer", input=str, output=str, impl=Agent(model="claude-haiku-4-5", thinking_budget=1024))
    prog.let("checker", input=str, output=Verdict, impl=Agent(model="claude-haiku-4-5", thinking_budget=1024))
    body = PlumbBody("input", "output")
    body.wire("input", "composer", "checker")
    body.wire("checker", Filter(F.verdict == True).project("draft"), "output")  # noqa: E712
    prog.let("main", input=str, output=str, impl=body)
    return prog


def test_a_whole_program():
    """It is rendered as the formatter prints it, and checks."""
    prog = page_program()
    assert prog.render() == PROGRAM
    result = prog.check()
    assert [binding.name for binding in result.bindings] == ["composer", "checker", "main"]
    assert [type_.name for type_ in result.types] == ["Verdict"]


def test_a_tool_binding_is_of_values():
    """With Bare, and also without: a tool has no streams."""
    prog = Program()
    prog.let("f", input=str, output=int, impl=Python(call="m:f"))
    prog.let("one", input=Bare(str), output=Bare(int), impl=Tool(process="f"))
    prog.let("other", input=str, output=int, impl=Tool(process="f"))
    assert prog.render().splitlines()[1:] == [
        "let one : string -> int = tool { process: f }",
        "let other : string -> int = tool { process: f }",
    ]
