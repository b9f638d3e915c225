"""What can come to a place of the graph, and where it leads."""

from __future__ import annotations

import json
from itertools import pairwise

import msgspec
import networkx
import pytest
from drawn import KINDS, random_graph
from hypothesis import given
from hypothesis import strategies as st
from plans import graph_of, module_of

from fabric.errors import UnknownName
from fabric.graph.answer import reach_json, reach_text
from fabric.graph.calls import calls_of
from fabric.graph.ir import WORKERS, Call
from fabric.graph.reach import Place, find_place, reach
from fabric.graph.render import FORMATS, render

TEXT = """
type Fix = { fix: string }
type Dial = { set_temp: number }
type Path = { path: string }
let read : Path -> string = tool { builtin: "fs.read" }
let run : { command: [string] } -> json = tool { builtin: "sys.exec" }
let spare : Path -> unit = tool { builtin: "fs.delete" }
let helper : !string -> !string = agent { tools: [run] }
let nested : !string -> !string = plumb(i, o) { i ; helper ; o }
let ask : string -> string = tool { process: nested }
let writer : (!(string | Fix), !Dial) -> !string = agent { max_messages: 9 tools: [read] }
let check : !string -> !{ pass: bool, why: string } = python { call: "m:f" }
let grader : !string -> !string = agent { tools: [ask] mcp: [{ name: "time", command: "mcp-time" }] }
let scout : !string -> !string = agent { tools: [read] }
let keep : !Path -> !string = agent { tools: [spare] }
let main : (!string, !Dial, !string) -> (!string, !string) = plumb(task, dial, hints, done, log) {
  task ; writer ; check
  dial ; writer@ctrl_in
  check ; filter(pass = false) ; map({ fix: why }) ; writer
  check ; filter(pass).why ; grader ; done
  hints ; scout ; log
  empty ; keep ; discard
}
"""
GRAPH = graph_of(TEXT)
TOOLS = {"read": "fs.read", "run": "sys.exec", "spare": "fs.delete", "ask": "", "mcp:time": "", "fs.edit": ""}


def answer(place: str) -> list[str]:
    return reach_text(GRAPH, reach(GRAPH, find_place(GRAPH, place, TOOLS))).split("\n")


def test_a_tool_is_reached_by_way_of_the_agents_that_may_call_it():
    """Also through a tool that is made of an agent; each input has its shortest way, or is said to have none."""
    assert answer("tool:sys.exec") == [
        "tool sys.exec",
        "can be reached from",
        "  task   task -> writer -> check -> grader (calls ask, which calls run)",
        "  dial   dial -> writer -> check -> grader (calls ask, which calls run)",
        "cannot be reached from",
        "  hints",
        "by way of",
        "  writer, check",
        "what it gives can reach",
        "  done       grader -> done",
        "  ask        grader (calls ask)",
        "  mcp:time   grader (calls mcp:time)",
        "cannot reach",
        "  log",
        "not seen here: what else check, mcp:time may do, programs of their own",
    ]


def test_what_no_agent_may_call_and_what_nothing_leads_to_is_said_to_be_out_of_reach():
    """With the reason, and with a word on programs that are not seen through."""
    assert answer("tool:fs.edit")[:3] == [
        "tool fs.edit",
        "can be reached from",
        "  nothing: no agent of the program may call it",
    ]
    assert answer("tool:spare")[:3] == [
        "tool spare (fs.delete)",
        "can be reached from",
        "  nothing: no input of the program leads there",
    ]
    assert answer("tool:spare")[-1].startswith("not seen here: what else check, mcp:time may do")


def test_an_input_reaches_outputs_and_tools():
    """What comes in at a port, and what it may set off."""
    assert answer("hints") == [
        "input hints",
        "what comes of it can reach",
        "  log              hints -> scout -> log",
        "  read (fs.read)   hints -> scout (calls read)",
        "cannot reach",
        "  done",
        "by way of",
        "  scout",
    ]


def test_a_port_of_a_worker_is_another_place_than_the_worker():
    """Only the dial comes to ctrl_in; what is heard on telemetry goes nowhere."""
    assert answer("writer@ctrl")[:5] == [
        "port writer@ctrl_in",
        "can be reached from",
        "  dial   dial -> writer",
        "cannot be reached from",
        "  task, hints",
    ]
    assert "  nothing: no output of the program and no tool" in answer("writer@telemetry")
    assert "  task   task -> writer" in answer("writer")


def test_a_nested_body_is_all_that_is_in_it():
    """And a morphism in a body is a place as well."""
    graph = graph_of(
        'let a : !int -> !int = agent { provider: "eliza" }\n'
        "let desk : (!int, !int) -> !int = plumb(x, y, z) { x ; a ; z  y ; map(value) ; z }\n"
        "let main : (!int, !int, !int) -> (!int, !int) = plumb(i, j, k, o, p) {\n"
        "  i ; desk@x  j ; desk@y  desk ; o  k ; p }\n"
    )
    found = reach(graph, find_place(graph, "desk", {}))
    assert reach_text(graph, found).split("\n") == [
        "body desk",
        "can be reached from",
        "  i   i -> desk.a",
        "  j   j -> desk.map@2",
        "cannot be reached from",
        "  k",
        "what comes of it can reach",
        "  o   desk.map@2 -> o",
        "cannot reach",
        "  p",
    ]
    assert find_place(graph, "desk.a", {}) == Place("process", "desk.a", ("desk.a",))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("tool:reed", "there is no tool 'reed'; there are: .*Did you mean 'read'"),
        ("wrter", "there is no port and no process 'wrter'; there are: task, .*Did you mean 'writer'"),
        ("run", "For a tool write tool:run"),
        ("writer@otput", "'writer' has no port 'otput'; its ports are: .*Did you mean 'output'"),
    ],
)
def test_a_place_that_there_is_not_is_told_with_the_nearest(wanted: str, message: str):
    """Of its sort."""
    with pytest.raises(UnknownName, match=message):
        find_place(GRAPH, wanted, TOOLS)


def test_the_answer_is_also_an_object():
    """With the nodes of each way, morphisms among them."""
    found = reach(GRAPH, find_place(GRAPH, "tool:run", TOOLS))
    told = json.loads(reach_json(GRAPH, found))
    assert told["not_reached_from"] == ["hints"]
    assert told["reached_from"][1] == {
        "input": "dial",
        "path": ["dial", "writer", "check", "check.copy", "filter@20", "grader"],
        "call": {"tool": "run", "builtin": "sys.exec", "through": ["ask"]},
    }


@pytest.mark.parametrize("style", FORMATS)
def test_the_part_on_the_ways_can_be_drawn(style: str):
    """And has nothing else in it."""
    part = reach(GRAPH, find_place(GRAPH, "hints", TOOLS)).part
    assert set(part.nodes) == {"hints", "scout", "log"}
    assert "writer" not in render(part, style)


def test_what_a_tool_of_a_tool_calls_is_told_by_the_fewest_calls():
    """Each once, whoever else may call it; a tool made of a function is a program of its own."""
    module = module_of(
        'let f : !string -> !string = python { call: "m:f" }\n'
        "let by_f : string -> string = tool { process: f }\n"
        "let inner : !string -> !string = agent { tools: [by_f] }\n"
        "let by_inner : string -> string = tool { process: inner }\n"
        "let middle : !string -> !string = agent { tools: [by_inner, by_f] }\n"
        "let by_middle : string -> string = tool { process: middle }\n"
        "let main : !string -> !string = agent { tools: [by_middle, by_inner] }\n"
    )
    assert calls_of(module, "main") == (
        Call("by_middle"),
        Call("by_inner"),
        Call("by_f", "", ("by_middle",), opaque=True),
    )


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(0, 20))
def test_ways_are_those_of_another_implementation(seed: int, nodes: int, channels: int):
    """What is reached, with as few workers on the way."""
    drawn = random_graph(seed, nodes, channels, [kind for kind in KINDS if kind not in ("input", "output")])
    named = {name: msgspec.structs.replace(node, calls=(Call(name),)) for name, node in drawn.nodes.items()}
    graph = msgspec.structs.replace(drawn, nodes=named)
    oracle = networkx.DiGraph([(c.source.node, c.target.node) for c in graph.channels])
    oracle.add_nodes_from(graph.nodes)
    for source, target in oracle.edges:
        oracle.edges[source, target]["weight"] = int(graph.nodes[target].kind in WORKERS)
    place = next(iter(graph.nodes))
    found = reach(graph, Place("process", place, (place,)))
    lengths = networkx.single_source_dijkstra_path_length(oracle, place)
    assert {calling.call.name for calling in found.callings} == lengths.keys()
    for calling in found.callings:
        assert (calling.path[0], calling.path[-1]) == (place, calling.call.name)
        assert sum(graph.nodes[node].kind in WORKERS for node in calling.path[1:]) == lengths[calling.call.name]
        assert all(oracle.has_edge(a, b) for a, b in pairwise(calling.path))
    assert set(found.part.nodes) == {place} | networkx.descendants(oracle, place) | networkx.ancestors(oracle, place)
