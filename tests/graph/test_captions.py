"""What a drawing says."""

from __future__ import annotations

import pytest
from plans import graph_of, module_of

from fabric.graph.captions import caption, fitting, name_of, printable, shortened, show_expr, width_of
from fabric.graph.ir import Graph
from fabric.graph.render import render

WORKERS = """
let doctor : !string -> !string = agent { provider: "eliza" model: "doctor" }
let count : !string -> !int = python { call: "support.tally:count" }
let upper : !string -> !string = worker { command: ["./upper", "--fast"], transport: "stdio" }
let warm : (!int, !{ set_temp: int }) -> !int = agent { }
let heat : !int -> !{ set_temp: int } = map({ set_temp: value })
let main : !string -> !int = plumb(i, o) {
  i ; doctor ; upper ; count ; warm ; filter(value > 1) ; o
  count ; heat ; warm@ctrl_in
}
"""


def words(graph: Graph) -> dict[str, tuple[str, str]]:
    return {node: caption(found)[:2] for node, found in graph.nodes.items()}


def test_a_worker_has_its_name_and_what_runs_it():
    """A morphism its kind, its name if it has one, and its expression."""
    found = words(graph_of(WORKERS))
    assert found["doctor"] == ("doctor", "agent eliza/doctor")
    assert found["count"] == ("count", "python support.tally:count")
    assert found["upper"] == ("upper", "worker ./upper --fast")
    assert found["warm"] == ("warm", "agent")
    assert found["filter@8"] == ("filter", "value > 1")
    assert found["heat"] == ("map heat", "{ set_temp: value }")
    assert found["i"] == ("i", "")


def test_the_tooltip_has_every_port_and_its_whole_type():
    """However long."""
    text = caption(graph_of(WORKERS).nodes["warm"]).full
    assert text.splitlines()[:3] == ["warm: agent", "in input: !int", "in ctrl_in: !{ set_temp: int }"]


def test_a_channel_is_named_by_its_type_and_an_unusual_port():
    """Records by the names of their fields."""
    graph = graph_of(WORKERS)
    named = {(c.source.node, c.target.node): name_of(c) for c in graph.channels}
    assert named["i", "doctor"] == "!string"
    assert named["heat", "warm"] == "ctrl_in !{ set_temp }"


@pytest.mark.parametrize(
    "expression",
    [
        "value",
        "a + b * 2",
        "(a + b) * 2",
        "a - (b - 1)",
        "a - b - 1",
        "-a % 2",
        "-(a + b)",
        "!(a = 1) && (b < 2 || s != \"x\")",
        "(a = 1) = (b = 2)",
        "!(!(a = 1))",
        "{ a, c: [1, 2.5, null] }",
        "{}",
        "(a, t[1], r.x.y)",
        "r.x",
        '"say \\"so\\"" + s',
    ],
)  # fmt: skip
def test_an_expression_is_printed_so_that_it_reads_as_the_same(expression: str):
    """Written again, it is checked as it was; the ones here are printed to the letter."""
    record = "{ a: int, b: int, s: string, t: (int, int), r: { x: json } }"
    shown = show_expr(expr_of(record, expression))
    assert show_expr(expr_of(record, shown)) == shown
    assert shown.replace("!!", "!(!(").replace(" ", "").strip(")") == expression.replace(" ", "").strip(")")


def expr_of(record: str, expression: str) -> object:
    found = module_of(f"let main : !{record} -> !json = map({expression})").bindings["main"].expr
    assert found is not None
    return found


def test_what_a_terminal_would_obey_is_replaced():
    """Escape sequences, lines, marks of direction."""
    assert printable("a\x1b[31mb\n\tc\u202e\ud800") == "a\ufffd[31mb c\ufffd\ufffd"


def test_widths_are_those_of_a_terminal():
    """Two columns for a character of double width, none for a mark on the one before."""
    assert [width_of(text) for text in ("abc", "日本", "e\u0301", "")] == [3, 4, 1, 0]


def test_a_cut_text_never_takes_more_columns_than_there_are():
    """The ellipsis included."""
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "abcde…"
    assert shortened("日本語", 4) == "日…"
    assert shortened("ab  cdef", 5) == "ab…"
    assert shortened("abc", 1) == "…"


def test_a_label_comes_in_forms_the_longest_first():
    """A short one in one form."""
    assert fitting("!string", 20) == ["!string"]
    assert fitting("!a_very_long_name_of_a_type", 20) == ["!a_very_long_name_o…", "!a_very_l…"]


WIRE = """
protocol Ask = send string . recv int . loop
let desk : (!string, !int) -> (!string, !int) = plumb(go, heard, say, out) { go ; say   heard ; out }
let shelf : !string -> !int = python { call: "library:look_up" }
let main : !string -> !int = plumb(i, o) {
  i ; desk@go
  desk@out ; o
  desk@(say, heard) <-> shelf : Ask
}
"""


def test_a_monitor_has_its_protocol_and_the_ends_of_its_wire():
    """In every kind of picture."""
    graph = graph_of(WIRE)
    assert words(graph)["Ask@8"] == ("Ask", "desk <-> shelf")
    assert '(["Ask #40;desk #60;-#62; shelf#41;"])' in render(graph, "mermaid")
    assert '"Ask (desk <-> shelf)", shape=ellipse' in render(graph, "dot")
    assert "desk <-> shelf" in render(graph, "ascii")
    assert "desk &lt;-&gt; shelf" in render(graph, "svg")
    assert '"kind":"monitor","binding":null,"protocol":"Ask"' in render(graph, "json")
