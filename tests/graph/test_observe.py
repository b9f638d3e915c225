"""Side ports that nobody reads, as an extra output of the graph."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from plans import graph_of, module_of, plan_of

from fabric.graph.ir import WORKERS, End, Graph
from fabric.graph.observe import SIDE_PORTS, observe
from fabric.graph.passes import PASSES, build, flatten, validate

AGENTS = """
let a : !string -> !string = agent { provider: "eliza" }
let b : (!string, !{ get_memory: bool }) -> !string = agent { provider: "eliza" }
let f : !string -> !string = python { call: "m:f" }
"""


def observed_ends(graph: Graph) -> set[str]:
    """Return what comes to the extra outputs of a flat graph."""
    extras = {node.id for node in graph.nodes.values() if node.extra}
    return {f"{c.source.node}.{c.source.port}" for c in graph.channels if c.target.node in extras}


def flat(body: str) -> Graph:
    return flatten(module_of(AGENTS + f"let main : !string -> !string = plumb(i, o) {{\n{body}\n}}"))


def test_ports_that_nobody_reads_are_merged_to_an_extra_output():
    """Of all workers that have such a port, nested ones included."""
    graph = observe(flat("i ; a ; b ; f ; o"), "telemetry")
    assert observed_ends(graph) == {"a.telemetry", "b.telemetry"}
    (extra,) = [node for node in graph.nodes.values() if node.extra]
    assert (extra.id, extra.kind, extra.inputs[0].name) == ("__telemetry", "output", "__telemetry")
    assert observed_ends(observe(flat("i ; a ; b ; o"), "ctrl_out")) == {"b.ctrl_out"}


def test_what_is_read_is_left_alone_and_what_is_only_discarded_is_claimed():
    """The discard goes, unless it discards something else as well."""
    graph = observe(flat("i ; a ; b ; o\n a@telemetry ; filter(kind = 1) ; f\n b@telemetry ; discard"), "telemetry")
    assert observed_ends(graph) == {"b.telemetry"}
    assert not [node for node in graph.nodes.values() if node.kind == "discard"]
    shared = flat("let c : !json = channel\n i ; a ; o\n (i * a@telemetry) ; discard")
    kept = observe(shared, "telemetry")
    assert observed_ends(kept) == {"a.telemetry"}
    assert [node.kind for node in kept.nodes.values()].count("discard") == 1


def test_where_there_is_nothing_to_observe_the_graph_is_the_same():
    """Not an equal one."""
    graph = flat("i ; f ; o")
    assert observe(graph, "telemetry") is graph


def test_a_name_that_the_program_has_is_no_obstacle():
    """Its own output stays its own."""
    text = AGENTS + "let main : !string -> !string = plumb(i, __telemetry) { i ; a ; __telemetry }"
    plan = plan_of(text, ["telemetry"])
    assert list(plan.outputs.values()) == ["__telemetry"]
    assert list(plan.extras.values()) == ["telemetry"]


def test_the_plan_tells_extra_outputs_from_those_of_the_program():
    """So they are no part of its boundary."""
    plan = plan_of(AGENTS + "let main : !string -> !string = a ; b", ["telemetry", "ctrl_out"])
    assert plan.outputs == {"output": "output"}
    assert plan.extras == {"__telemetry": "telemetry", "__ctrl_out": "ctrl_out"}


WAYS = (
    "{} ; o",
    "{} ; b",
    "{} ; f",
    "{}@telemetry ; discard",
    "{}@telemetry ; f",
    "{} ; a",
    "{}@telemetry ; map({{ n: 1 }}) ; discard",
)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(WAYS)), max_size=6), st.sampled_from(SIDE_PORTS))
def test_a_second_time_changes_nothing(statements: list[tuple[str, str]], label: str):
    """And nothing but discards was taken away; afterwards every such port is read, and the graph is whole."""
    agents = AGENTS.replace('eliza"', 'eliza" max_messages: 3')
    lines = ["i ; a", "i ; b", "i ; f", "i ; o", *(way.format(name) for name, way in statements)]
    text = agents + "let main : !string -> !string = plumb(i, o) {\n" + "\n".join(dict.fromkeys(lines)) + "\n}"
    before = flatten(module_of(text))
    graph = observe(before, label)
    assert observe(graph, label) is graph
    assert {node.kind for name, node in before.nodes.items() if name not in graph.nodes} <= {"discard"}
    assert {c for c in before.channels if c.target.node in graph.nodes} <= set(graph.channels)
    sources = {channel.source for channel in graph.channels}
    ports = {End(n.id, p.name) for n in graph.nodes.values() if n.kind in WORKERS for p in n.outputs}
    assert {end for end in ports if end.port == label} <= sources
    built = build(module_of(text), [label])
    validate(built)
    for rewrite in PASSES:
        built = rewrite(built)
    assert built == build(module_of(text), [label])


def test_without_being_asked_nothing_is_observed():
    """The graph of a program has no extra outputs."""
    assert not [
        node for node in graph_of(AGENTS + "let main : !string -> !string = a ; b").nodes.values() if node.extra
    ]
