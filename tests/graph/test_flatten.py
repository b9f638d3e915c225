"""Tools as parts of the graph of their own."""

from __future__ import annotations

import json

import pytest
from plans import graph_of

from fabric.errors import UnknownName
from fabric.graph.analysis import callings, components, loops
from fabric.graph.captions import caption
from fabric.graph.observe import observe
from fabric.graph.passes import validate
from fabric.graph.reach import find_place, reach
from fabric.graph.render import FORMATS, render

TEXT = """
let read : { path: string } -> string = tool { builtin: "fs.read" }
let spare : { path: string } -> unit = tool { builtin: "fs.delete" }
let f : !int -> !json = python { call: "m:f" }
let gone : !string -> !unit = discard
let forget : string -> unit = tool { process: gone }
let helper : !int -> !int = agent { provider: "eliza", tools: [forget] }
let body : !int -> !int = plumb(i, o) { i ; helper ; f ; o  i ; map(value + 1) ; o }
let ask : int -> int = tool { process: body }
let pair : !int -> (!int, !int) = copy
let both : int -> (int, int) = tool { process: pair }
let w : !string -> !string = worker { command: ["./w"], tools: [read, ask, both] }
let v : !string -> !string = agent { provider: "eliza", tools: [ask] }
let main : !string -> !string = plumb(i, o) { i ; w ; v ; o }
"""
GRAPH = graph_of(TEXT)


def part(tool: str) -> list[tuple[str, str]]:
    return [(node.id, node.kind) for node in GRAPH.nodes.values() if node.tool == tool]


def wires(tool: str) -> list[str]:
    return [
        f"{c.source.node}.{c.source.port} -> {c.target.node}.{c.target.port}" + (" (checked)" if c.check else "")
        for c in GRAPH.channels
        if GRAPH.nodes[c.source.node].tool == tool
    ]


def test_a_process_is_an_instance_between_calls_and_results():
    """Named by the tool; what the passes make of it belongs to it too. One, however many call it."""
    assert part("ask") == [
        ("ask.call", "call"),
        ("ask.helper", "agent"),
        ("ask.f", "python"),
        ("ask.map@8", "map"),
        ("ask.result", "result"),
        ("ask.call.copy", "copy"),
        ("ask.result.merge", "merge_all"),
    ]
    assert "ask.result.merge.output -> ask.result.result" in wires("ask")
    validate(GRAPH)


def test_a_builtin_is_a_python_worker_of_its_name():
    """With the types of the builtin, which the tool's own only have to fit."""
    assert part("read") == [("read.call", "call"), ("read", "python"), ("read.result", "result")]
    assert wires("read") == ["read.call.arguments -> read.input", "read.output -> read.result.result"]
    assert GRAPH.nodes["read"].runs == "fs.read"


def test_two_outputs_become_a_pair_and_none_no_result():
    """A copy and a discard."""
    assert sorted(wires("both")) == [
        "both.both.output -> both.result.result",
        "both.call.arguments -> both.pair.input",
        "both.pair.output_0 -> both.both.input_0",
        "both.pair.output_1 -> both.both.input_1",
    ]
    assert part("forget") == [("forget.call", "call"), ("forget.gone", "discard")]


def test_only_what_is_called_is_there():
    """Also by way of another tool; each caller comes before it."""
    tools = {node.tool for node in GRAPH.nodes.values()}
    assert tools == {"", "read", "ask", "both", "forget"}
    assert callings(GRAPH) == [
        ("w", "read.call"),
        ("w", "ask.call"),
        ("w", "both.call"),
        ("v", "ask.call"),
        ("ask.helper", "forget.call"),
    ]
    number = components(GRAPH)
    assert all(number[caller] < number[call] for caller, call in callings(GRAPH))
    assert loops(GRAPH) == []


def test_nothing_is_wired_to_a_tool_but_itself():
    """Except who only looks on."""
    seen = observe(GRAPH, "telemetry")
    crossing = {
        c.target.node for c in seen.channels if seen.nodes[c.source.node].tool != seen.nodes[c.target.node].tool
    }
    assert crossing == {"__telemetry"}


@pytest.mark.parametrize("name", ["call", "result"])
def test_names_that_are_taken_get_a_number(name: str):
    """A process of the body may be called as the ends of the tool are."""
    text = (
        f"let {name} : !int -> !int = map(value)\nlet body : !int -> !int = plumb(i, o) {{ i ; {name} ; o }}\n"
        "let t : int -> int = tool { process: body }\n"
        'let main : !int -> !int = agent { provider: "eliza", tools: [t] }\n'
    )
    graph = graph_of(text)
    validate(graph)
    assert sorted(node.kind for node in graph.nodes.values() if node.tool) == ["call", "map", "result"]


def test_reach_follows_a_tool_as_what_its_caller_may_do():
    """What it is made of is no place; who asks for it is told how to ask."""
    found = reach(GRAPH, find_place(GRAPH, "i", {}))
    assert found.before + found.after == ("w", "v")
    assert [calling.call.name for calling in found.callings] == ["read", "ask", "both", "forget"]
    with pytest.raises(UnknownName, match="It works for a tool: write tool:ask"):
        find_place(GRAPH, "ask.helper", {})


def test_pictures_show_a_tool_by_its_name():
    """And, where lines can be drawn, who calls it."""
    assert caption(GRAPH.nodes["ask.call"]).title == "tool ask"
    assert caption(GRAPH.nodes["ask.result"]).title == "result of ask"
    assert [output for output in FORMATS if "tool ask" in render(GRAPH, output)] == ["mermaid", "svg", "ascii", "dot"]
    assert render(GRAPH, "mermaid").count("-.->|calls|") == 5
    assert render(GRAPH, "dot").count("[label=calls, style=dashed]") == 5
    nodes = json.loads(render(GRAPH, "json"))["nodes"]
    assert {node["id"] for node in nodes if node["part_of"] == "read"} == {"read.call", "read", "read.result"}
