"""Typed module to wiring graph."""

from __future__ import annotations

import pytest
from plans import graph_of, module_of

from fabric.graph.ir import Graph
from fabric.graph.passes import PASSES, fan_in, fan_out, flatten, loose_ends, validate

ID = "let a : !int -> !int = id\nlet b : !int -> !int = id\nlet c : !int -> !int = id\n"


def body(statements: str, before: str = ID) -> str:
    return f"{before}let main : !int -> !int = plumb(i, o) {{\n{statements}\n}}\n"


def edges(graph: Graph) -> set[str]:
    """Return each channel as ``node.port > node.port``, ports left out where a node has one of the kind."""

    def end(node: str, port: str, ports: int) -> str:
        return node if ports == 1 else f"{node}.{port}"

    return {
        f"{end(c.source.node, c.source.port, len(graph.nodes[c.source.node].outputs))} > "
        f"{end(c.target.node, c.target.port, len(graph.nodes[c.target.node].inputs))}"
        for c in graph.channels
    }


def test_a_chain_is_a_channel_after_the_other():
    """Nothing is added."""
    assert edges(graph_of(body("i ; a ; b ; o"))) == {"i > a", "a > b", "b > o"}


def test_a_source_with_two_targets_gets_a_copy():
    """And its targets one channel each."""
    graph = graph_of(body("i ; a\n a ; o\n a ; b ; o"))
    assert "a > a.copy" in edges(graph)
    assert {"a.copy.output_0 > b", "a.copy.output_1 > o.merge.input_0", "b > o.merge.input_1"} <= edges(graph)


def test_fan_in_off_a_loop_is_one_merge_all():
    """It ends when all its inputs have."""
    graph = graph_of(body("i ; a ; o\n i ; b ; o\n i ; c ; o"))
    assert graph.nodes["o.merge"].kind == "merge_all"
    assert len(graph.nodes["o.merge"].inputs) == 3


def test_fan_in_on_a_loop_tells_forward_from_feedback():
    """Input 0 is the forward side, input 1 what comes back, each merged for itself."""
    graph = graph_of(body("i ; a\n a ; filter(value > 0) ; a\n a ; filter(value > 1) ; a\n a ; o"))
    assert graph.nodes["a.merge"].kind == "merge"
    assert graph.nodes["a.merge.feedback"].kind == "merge_all"
    assert {"i > a.merge.input_0", "a.merge.feedback > a.merge.input_1", "a.merge > a"} <= edges(graph)


def test_outputs_that_nobody_reads_are_discarded():
    """Do not care, do not write. Control and telemetry need no sink: their sockets are drained."""
    graph = graph_of('let bot : !int -> !int = agent { provider: "eliza" }\n' + body("i ; bot ; a\n i ; b ; o"))
    assert "a > a.output.discard" in edges(graph)
    assert not [channel for channel in graph.channels if channel.source.port == "telemetry"]


def test_a_control_input_that_nobody_feeds_is_empty():
    """An optional input has a source that has ended."""
    graph = graph_of(
        "type C = { stop: bool }\n"
        'let bot : (!int, !C) -> !int = agent { provider: "eliza" }\n' + body("i ; bot ; o", "")
    )
    assert "bot.ctrl_in.empty > bot.ctrl_in" in edges(graph)


def test_nested_bodies_are_flattened_under_their_names():
    """Two spawns of one body are two copies of what is in it."""
    graph = graph_of(
        "let inner : !int -> !int = plumb(x, y) { x ; map(value + 1) ; y }\n"
        + body("let k : !int = channel\nspawn inner(i, k)\nspawn inner(k, o)", "")
    )
    maps = [node for node in graph.nodes.values() if node.kind == "map"]
    assert len(maps) == 2
    assert all("." in node.id for node in maps)
    validate(graph)


def test_a_body_that_only_passes_through_has_a_node():
    """Or there would be nothing between its input and its output."""
    assert edges(graph_of(body("i ; o", ""))) == {"i > i-o", "i-o > o"}


def test_a_bare_main_is_wired_to_a_boundary_of_its_own():
    """A program of one line runs."""
    assert edges(graph_of("let main : !int -> !int = map(value)")) == {"input > main", "main > output"}


@pytest.mark.parametrize(
    "statements",
    [
        "i ; a ; b ; c ; o",
        "i ; (a * b) ; c ; o\n c ; filter(value > 1) ; a",
        "i ; a\n a ; filter(value > 0) ; b ; a\n b ; filter(value < 0) ; b\n a ; o\n b ; c ; o",
    ],
)
def test_every_pass_keeps_what_graphs_promise(statements: str):
    """Between the passes the ends exist; after the last each port has one channel."""
    graph = flatten(module_of(body(statements)))
    assert (fan_out, fan_in, loose_ends) == PASSES
    for rewrite in PASSES:
        validate(graph, complete=False)
        graph = rewrite(graph)
    validate(graph)
    again = graph
    for rewrite in PASSES:
        again = rewrite(again)
    assert again == graph
