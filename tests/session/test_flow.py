"""Messages on each channel, from counts of routes and sinks."""

from __future__ import annotations

import random

from plans import plan_of

from fabric.graph.ir import End
from fabric.session.events import Input, Start
from fabric.session.flow import flows
from fabric.session.session import Session, Settings


def counted(text: str, *values: int) -> tuple[dict[End, int], set[End]]:
    """Return what a graph without workers has counted after these inputs, and all its output ports."""
    plan = plan_of(text)
    session = Session(plan, Settings(), random.Random(1))
    session.handle(Start(), 0.0)
    session.handle(Input("i", [(1, str(value).encode()) for value in values]), 0.0)
    return flows(plan, session.snapshot()), {channel.source for channel in plan.graph.channels}


def test_steps_pass_on_what_they_get_and_filters_what_they_let_through():
    """Every port is told."""
    text = "let main : !int -> !int = plumb(i, o) { i ; map(value + 1) ; filter(value > 2) ; map(value * 2) ; o }\n"
    found, ports = counted(text, 0, 1, 2, 3)
    assert found.keys() == ports
    assert [count for _, count in sorted(found.items(), key=lambda item: -item[1])] == [4, 4, 2, 2]


def test_of_a_filter_before_another_nothing_can_be_told():
    """It is left out rather than guessed."""
    text = "let main : !int -> !int = plumb(i, o) { i ; filter(value > 1) ; filter(value > 2) ; o }\n"
    found, ports = counted(text, 1, 2, 3)
    (missing,) = ports - found.keys()
    assert sorted(found.values()) == [1, 3]
    assert missing.node.startswith("filter")


def test_a_filter_behind_a_merge_counts_all_its_ways():
    """It lies on two routes."""
    text = (
        "let keep : !int -> !int = filter(value > 1)\n"
        "let main : (!int, !int) -> !int = plumb(i, j, o) {\n  i ; keep\n  j ; keep\n  keep ; o\n}\n"
    )
    plan = plan_of(text)
    session = Session(plan, Settings(), random.Random(1))
    session.handle(Start(), 0.0)
    for port in "ij":
        session.handle(Input(port, [(1, b"1"), (2, b"2"), (3, b"3")]), 0.0)
    found = flows(plan, session.snapshot())
    assert len(plan.routes) == 2
    assert {count for end, count in found.items() if plan.graph.nodes[end.node].kind == "filter"} == {4}
    assert {count for end, count in found.items() if plan.graph.nodes[end.node].kind == "input"} == {3}
