"""Programs as they are put together, and what is refused at the line that says it."""

from __future__ import annotations

import copy
import dataclasses
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from fabric.dsl import (
    COPY,
    END,
    ID,
    LOOP,
    Agent,
    Bare,
    Config,
    F,
    Filter,
    Map,
    Name,
    Offer,
    PlumbBody,
    PortRef,
    ProductType,
    Program,
    Project,
    Python,
    Raw,
    Record,
    Recv,
    Select,
    Send,
    Session,
    StreamType,
    SumType,
    Tensor,
    Text,
    Tool,
    WireEnd,
    Worker,
    read,
)
from fabric.errors import CheckError, ConfigError


class Asked(BaseModel):
    question: str


class Answered(msgspec.Struct):
    answer: str
    of: Asked


@dataclasses.dataclass
class Noted:
    note: str
    mark: int = 0


def test_classes_are_declared_once_and_first():
    """Behind what is used, the inner ones before those that have them."""
    program = Program()
    program.use("mem")
    program.use("./lib/shelf.plumb")
    program.let("a", input=Asked, output=Answered, impl=Agent())
    program.let("b", input=list[Answered], output=Noted | Asked, impl=Agent())
    assert program.render() == (
        'use mem\nuse "./lib/shelf.plumb"\n\n'
        "type Asked = { question: string }\n"
        "type Answered = { answer: string, of: Asked }\n"
        "type Noted = { note: string, mark?: int }\n\n"
        "let a : !Asked -> !Answered = agent { }\n"
        "let b : ![Answered] -> !(Noted | Asked) = agent { }\n"
    )


def test_a_class_that_has_a_declaration_gets_no_other():
    """If it says the same; otherwise both lines are told."""
    program = Program()
    program.let("a", input=Asked, output=Asked, impl=Agent())
    program.type("Asked", Record([("question", str)]))
    assert program.render().count("type Asked") == 1
    other = Program()
    other.let("a", input=Asked, output=Asked, impl=Agent())
    other.type("Asked", Record([("question", int)]))
    with pytest.raises(ConfigError, match=r"'Asked' at .*test_program.py:\d+: other.type.* used at .*: other.let"):
        other.render()


def test_two_classes_of_one_name_are_refused():
    """At the line that brings the second, with that of the first; also if a channel of a body brings it."""

    def other_class() -> type:
        class Asked(BaseModel):
            other: int

        return Asked

    program = Program()
    program.let("a", input=Asked, output=str, impl=Agent())
    with pytest.raises(ConfigError, match=r"two types are called 'Asked': .*program.let.* another .*program.let"):
        program.let("b", input=other_class(), output=str, impl=Agent())
    body = PlumbBody("i", "o")
    program.let("main", input=str, output=str, impl=body)
    body.channel("c", other_class())
    with pytest.raises(ConfigError, match=r"two types are called 'Asked': .*program.let.* another .*body.channel"):
        program.render()


def test_a_type_can_be_declared_and_used_by_its_name():
    """Of a class, too."""
    program = Program()
    answer = program.type("Answer", SumType([str, None]))
    asked = program.type(Asked)
    program.let("a", input=asked, output=answer, impl=Agent())
    assert program.render() == (
        "type Asked = { question: string }\ntype Answer = string | unit\n\nlet a : !Asked -> !Answer = agent { }\n"
    )
    with pytest.raises(ConfigError, match="has no name in the language"):
        program.type(int)


def test_a_body_has_all_kinds_of_statements():
    """And may get more after it was bound."""
    program = Program()
    asks = program.let("asks", (str, str), (str, str), Agent())
    body = PlumbBody("i", "o")
    program.let("main", input=str, output=str, impl=body)
    body.channel("c", Asked).channel("d", Bare(str))
    body.wire("i", asks @ "input", Filter(F.a == 1) >> ID, Tensor("c", COPY >> "d"))
    body.spawn("p", "c", ("input", "d"), output="o").spawn(COPY, "c", "d", "o").spawn(asks @ "x")
    body.session("asks", "p@ctrl", "Ask").session(WireEnd("asks", "a", "b"), asks @ "c").session("p@( a, b )", "Mem.q")
    body.raw("a ; (* why *) b\nlet e : !int = channel")
    assert program.render().split("channel\n", 1)[1] == (
        "  let d : string = channel\n"
        "  i ; asks@input ; filter(a = 1) ; id ; (c * copy ; d)\n"
        "  spawn p(c, input=d, output=o)\n"
        "  spawn copy(c, d, o)\n"
        "  spawn asks@x()\n"
        "  asks <-> p@ctrl : Ask\n"
        "  asks@(a, b) <-> asks@c\n"
        "  p@(a, b) <-> Mem.q\n"
        "  a ; (* why *) b\n"
        "  let e : !int = channel\n"
        "}\n"
    )


def test_protocols():
    """Steps, choices, names, and text."""
    program = Program()
    program.protocol("Ask", Send(Asked) >> Recv(str | None) >> Select(again=LOOP, rest="Mem.Rest", done=END))
    program.protocol("Long", Session(Send(int), Offer([("a", Send(str) >> END), ("let_", Raw("recv int . end"))])))
    program.protocol("Text", Raw("send string . (* . *) end"))
    program.protocol("Same", "Ask")
    assert program.render() == (
        "type Asked = { question: string }\n\n"
        "protocol Ask = send Asked . recv (string | unit) . select { again: loop, rest: Mem.Rest, done: end }\n"
        "protocol Long = send int . offer { a: send string . end, let_: recv int . end }\n"
        "protocol Text = send string . (* . *) end\n"
        "protocol Same = Ask\n"
    )


def test_text_keeps_its_comments():
    """Declarations, an implementation, a type, a value."""
    program = Program()
    program.raw("type A = int (* one *)\n(* two *) type B = A")
    program.let("a", Raw("A (* three *)"), Raw("B"), Raw("agent { (* four *) }"))
    program.let("b", "A", "B", Agent(model=Raw('"m" (* five *)')))
    assert program.render() == (
        "type A = int (* one *)\n(* two *) type B = A\n\n"
        "let a : !A (* three *) -> !B = agent { (* four *) }\n"
        'let b : !A -> !B = agent { model: "m" (* five *) }\n'
    )


def test_texts_of_a_configuration_keep_their_lines():
    """A prompt is read as it was written; everything else is escaped."""
    program = Program()
    program.let("a", str, str, Agent(prompt='One.\n\\n "two"\r\n\tthree', script=Text("s:f"), tools=[Name("t")]))
    assert program.render() == (
        "let a : !string -> !string = agent {\n"
        '  prompt: "One.\n\\\\n \\"two\\"\\r\n\\tthree"\n'
        '  script: "s:f"\n  tools: [t]\n}\n'
    )


def test_a_function_is_called_by_its_path():
    """If a worker can import it."""
    program = Program()
    program.let("a", str, str, Python(call=os.path.join))
    assert 'call: "posixpath:join"' in program.render()
    with pytest.raises(ConfigError, match="cannot import"):
        Python(call=lambda message: message)


def test_configurations_of_odd_keys():
    """Reserved words may be keys; a key may stand twice as far as the DSL cares."""
    impl = Worker(Config([("let", 1), ("a", None)], b=2), c={"type": [True]})
    assert repr(impl) == "<Worker worker { let: 1, a: null, b: 2, c: { type: [true] } }>"


def test_a_text_is_a_name_only_where_the_binding_names_others():
    """Further inside, ``tools`` are whatever the configuration there takes; a name is one that says so."""
    inside = {"name": "time", "tools": ["now", Name("later")], "process": "p"}
    expected = '[{ name: "time", tools: ["now", later], process: "p" }]'
    for given in (inside, Config(inside), Config(**inside)):
        impl = Agent(tools=["a", ("b",)], mcp=[given])
        assert repr(impl) == f"<Agent agent {{ tools: [a, [b]], mcp: {expected} }}>"
        assert repr(Agent(Config(tools=["a", ("b",)], mcp=[given]))) == repr(impl)


def test_a_configuration_stays_as_it_was_made():
    """Whatever becomes of the list that it was given."""
    tools = ["a"]
    config = Config(tools=tools)
    tools.append("b")
    assert repr(Agent(config)) == "<Agent agent { tools: [a] }>"


def test_a_type_of_nothing_is_unit():
    """If that is said."""
    program = Program()
    program.type("Nothing", None)
    assert program.render() == "type Nothing = unit\n"


@pytest.mark.parametrize(
    ("slip", "words"),
    [
        (lambda: Program().let("type", str, str, ID), "'type' is a reserved word and cannot be the name of a process"),
        (lambda: Program().let("two words", str, str, ID), "'two words' cannot be the name of a process"),
        (lambda: Program().let("a", str, {1: 2}, ID), "1: 2"),
        (lambda: Program().let("a", set[int], str, ID), "set"),
        (lambda: Program().use("loop", is_path=False), "reserved word"),
        (lambda: Program().protocol("P", Send(str)), "ends with END"),
        (lambda: Program().protocol("P", END >> END), "nothing comes behind END"),
        (lambda: Select(end=END), "reserved word and cannot be a label"),
        (lambda: PlumbBody("in put"), "cannot be the name of a port"),
        (lambda: PlumbBody("i").wire(), "at least one element"),
        (lambda: PlumbBody("i").wire("a", "filter(x > 1)"), r"write Filter\(...\)"),
        (lambda: PlumbBody("i").wire("a", "let"), "reserved word"),
        (lambda: PlumbBody("i").wire("mem.compact@x.y.z w"), "is no name of a process"),
        (lambda: PlumbBody("i").spawn("map", "a"), "cannot be spawned by its name"),
        (lambda: PlumbBody("i").spawn(ID >> "b", "a"), "one process is spawned at a time"),
        (lambda: PlumbBody("i").session("a b", "c"), "is no side of a session wire"),
        (lambda: PortRef("mem.x"), "begins with a capital, as in 'Mem.x'"),
        (lambda: PortRef("p", "a.b"), "cannot be the name of a port"),
        (lambda: Tensor(), "at least one branch"),
        (lambda: ProductType([str]), "at least two items"),
        (lambda: SumType([]), "at least one variant"),
        (lambda: Record([("a b", str)]), "cannot be the name of a field"),
        (lambda: Agent(**{"a.b": 1}), "cannot be a key"),
        (lambda: Agent(model=float("inf")), "no number of JSON"),
        (lambda: Agent(tools=["fs.read"]), "as in 'Fs.read'"),
        (lambda: Tool(process="a b"), "which 'process' takes"),
        (lambda: Name("null"), "write None"),
        (lambda: Program().type("X"), r"not said what 'X' is: write type\('X', str\), or None for unit"),
        (lambda: Program().type(Asked, str), "has its own type"),
        (lambda: Program().use("./\udcff.plumb"), "not Unicode"),
        (lambda: Agent({"model": "a"}, model="b"), "'model' is given twice"),
        (lambda: Agent(Config(model="a"), model="b"), "'model' is given twice"),
        (lambda: Config([("a", 1)], a=2), "'a' is given twice"),
        (lambda: Agent(prompt="\ud800"), "half of a surrogate pair"),
        (lambda: Agent(prompt=Text("\ud800")), "half of a surrogate pair"),
        (lambda: Agent(prompt=Path("\udcff")), "half of a surrogate pair"),
    ],
)
def test_what_the_language_cannot_say_is_refused(slip, words):
    """At the line that says it."""
    with pytest.raises(ConfigError, match=words):
        slip()


@pytest.mark.parametrize(
    "slip",
    [
        lambda: PlumbBody("i").wire("a", 3),
        lambda: PlumbBody("i").wire("a", Agent()),
        lambda: Program().let("a", str, str, Map),
        lambda: Program().let(3, str, str, ID),  # type: ignore[arg-type]
        lambda: Project(-1),
        lambda: Project(True),
        lambda: Agent(model={1, 2}),
        lambda: Raw(b"x"),  # type: ignore[arg-type]
        lambda: Program().protocol("P", 3),
    ],
)
def test_what_is_of_another_kind_is_refused(slip):
    """It says what was expected, and what it got."""
    with pytest.raises(TypeError, match=r"got|cannot be"):
        slip()


@pytest.mark.parametrize(
    "slip",
    [
        lambda: Program().raw("let a : !int -> !int = "),
        lambda: Program().raw("(* nothing *)"),
        lambda: Program().let("a", Raw("int let b : int -> int = id"), str, ID),
        lambda: Program().let("a", str, str, Raw("id let b : int -> int = id")),
        lambda: Program().let("a", str, str, Raw("")),
        lambda: PlumbBody("i").raw("a ; b }"),
        lambda: PlumbBody("i").wire("a", Raw("b spawn c()")),
        lambda: Agent(model=Raw('"x" other: 1')),
        lambda: Program().protocol("P", Raw("end type A = int")),
        lambda: Raw("x (* open") and Filter(Raw("x (* open")),
    ],
)
def test_text_cannot_reach_further_than_its_place(slip):
    """It has to be what stands there and nothing more; the error names the line of Python."""
    with pytest.raises(CheckError, match=r"<Raw at tests/dsl/test_program.py:\d+>:1:") as caught:
        slip()
    assert caught.value.category == "parse"


def test_a_name_that_would_be_read_as_a_word_is_refused():
    """'map' before a group is a call of it, whatever was meant."""
    body = PlumbBody("i", "o").wire("i", "map").wire("map", "o")
    program = Program()
    program.let("main", str, str, body)
    assert "  i ; map\n  map ; o\n" in program.render()
    body.wire("i", "map").wire(Tensor("i", "i"), "o")
    with pytest.raises(ConfigError, match=r"'map' is no name before '\(' \(tests/dsl/test_program.py:\d+: body.wire"):
        program.render()


def test_elements_cannot_be_changed():
    """A copy of one is itself."""
    for element in (ID, Agent(), StreamType(str), END, WireEnd("a"), Raw("x"), Text("x")):
        with pytest.raises(AttributeError, match="cannot be changed"):
            element.node = None
        with pytest.raises(AttributeError, match="cannot be changed"):
            del element.node
        assert copy.copy(element) is copy.deepcopy(element) is element
    one = Filter(F.a)
    assert (repr(one.project("b")), repr(one)) == ("<Filter filter(a).b>", "<Filter filter(a)>")


def test_what_one_sees_in_a_session():
    """The text that an element stands for."""
    program = Program()
    body = PlumbBody("i", "o").wire("i", "o")
    program.let("main", str, str, body)
    seen = [repr(each) for each in (program, Program(), body, PortRef("a") @ "b", StreamType(str), Send(int), END)]
    assert seen == [
        "<Program main>",
        "<Program>",
        "<PlumbBody plumb(i, o) {\ni ; o\n}>",
        "<PortRef a@b>",
        "<StreamType !string>",
        "<Send send int . ...>",
        "<_End end>",
    ]
    assert repr(Raw("x")) == "Raw('x')"
    assert repr(WireEnd("a", "b")) == "WireEnd('a', 'b')"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Agent("x"), "Agent\\(model="),
        (lambda: Worker("./p"), "Worker\\(command="),
        (lambda: Python("m:f"), "Python\\(call="),
        (lambda: Python(3), "Python\\(call="),
        (lambda: Select(END), "a choice has labels: Select\\("),
        (lambda: Select("end"), "a choice has labels: Select\\("),
        (lambda: read(None), "the text of a program, got None"),
        (lambda: read(Path("x.plumb")), "read_text"),
    ],
)
def test_what_is_given_without_its_name_is_told_with_it(make: Any, words: str):
    """As a new user writes it."""
    with pytest.raises(TypeError, match=words):
        make()
