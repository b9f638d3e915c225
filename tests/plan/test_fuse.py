"""Routes: what happens to a message between two places where it waits."""

from __future__ import annotations

import pytest
from plans import plan_of

from fabric.plan.fuse import ROUTE_DEPTH_MAX, ROUTE_STEPS_MAX
from fabric.plan.plan import Plan
from fabric.plan.render import render_plan
from fabric.session.morphisms import compile_route
from fabric.wire.payload import decode_json

LOOP = (
    "let step : !int -> !int = id\n"
    "let main : !int -> !int = plumb(i, o) {\n"
    "  i ; step\n  step ; filter(value > 0) ; map(value - 1) ; step\n  step ; filter(value = 0) ; o\n}\n"
)


def routes(plan: Plan) -> dict[str, list[str]]:
    """Return the printed routes by their source."""
    found: dict[str, list[str]] = {}
    source = ""
    for line in render_plan(plan, "text").split("\nroutes\n")[1].split("\n\n")[0].splitlines():
        if line.startswith("      "):
            found[source].append(line.strip())
        else:
            source = line.split()[0]
            found[source] = []
    return found


def test_a_chain_of_morphisms_is_one_route():
    """No place to wait in between."""
    plan = plan_of(
        "let main : !int -> !int = plumb(i, o) { i ; map(value + 1) ; filter(value > 2) ; map(value * 2) ; o }"
    )
    assert list(routes(plan)) == ["i.i"]
    assert routes(plan)["i.i"] == ["; map@1 ; filter@1 ; map@1.2 -> output o.o"]


def test_a_loop_without_workers_is_cut_at_its_merge():
    """A message that goes round waits there; so does one that comes in."""
    plan = plan_of(LOOP)
    assert set(routes(plan)) == {"i.i", "step.merge.output"}
    assert routes(plan)["i.i"] == ["-> merge step.merge.output"]
    assert any("(feedback)" in line for line in routes(plan)["step.merge.output"])


def test_a_loop_with_a_worker_is_not_cut():
    """Its messages wait in the worker's queue, and those from inside are known as feedback."""
    plan = plan_of(LOOP.replace("= id", '= python { call: "m:f" }'))
    assert set(routes(plan)) == {"i.i", "step.output"}
    sinks = sorted((sink.end.node, sink.feedback) for sink in plan.sinks)
    assert sinks == [("o", False), ("step", False), ("step", True)]


def test_diamonds_in_a_row_do_not_grow_without_bound():
    """Twenty in a row would be a million ways; a merge with much behind it is a place to wait."""
    diamonds = " ; ".join(["(map(value) * map(value + 1)) ; id"] * 20)
    plan = plan_of(f"let main : !int -> !int = plumb(i, o) {{ i ; {diamonds} ; o }}")
    longest = max(len("".join(lines)) for lines in routes(plan).values())
    assert len(plan.sinks) < 20 * ROUTE_STEPS_MAX
    assert longest < 10_000


def test_what_nobody_reads_goes_nowhere():
    """A route may be empty."""
    plan = plan_of("let a : !int -> !int = id\nlet main : !int -> !int = plumb(i, o) { i ; a\n i ; o }")
    assert routes(plan)["i.i"] == ["-> output o.o"]


def test_a_long_chain_is_several_routes():
    """Four hundred filters in a row would nest deeper than Python can."""
    chain = " ; ".join(["filter(value > 0)", "map(value + 1)"] * 200)
    plan = plan_of(f"let main : !int -> !int = plumb(i, o) {{ i ; {chain} ; o }}")
    assert len(plan.routes) == 400 // ROUTE_DEPTH_MAX
    for route in plan.routes:
        compile_route(route)


@pytest.mark.parametrize("transforms", range(12, 21))
def test_a_route_is_not_cut_where_it_ends_anyway(transforms: int):
    """Before a worker it would look as if the worker gave what it is given; before a barrier, as if nothing waited."""
    chain = " ; ".join(["map(value + 1)"] * transforms)
    plan = plan_of(
        'let f : !int -> !int = python { call: "m:f" }\n'
        f"let main : !int -> !(int, int) = plumb(i, o) {{ i ; {chain} ; f ; {chain} ; (id * id) ; barrier ; o }}"
    )
    ends = {sink.end.node for sink in plan.sinks if sink.kind == "merge"}
    assert not ends & {"f", "o", "barrier@2"}
    assert {route.source.port for route in plan.routes if route.source.node == "f"} == {"output"}


def test_a_monitor_ends_a_route_and_begins_one_on_each_side():
    """A message stops there to be looked at; the plan says what is looked after."""
    plan = plan_of(
        "protocol Ask = send { pause: bool } . recv json . loop\n"
        'let writer : (!string, !{ pause: bool }) -> !string = agent { provider: "eliza" }\n'
        "let keeper : (!string, !json) -> (!{ pause: bool }, !json) = plumb(go, ctrl_out, ctrl_in, out) {\n"
        "  go ; map({ pause: true }) ; ctrl_in\n  ctrl_out ; out\n}\n"
        "let main : (!string, !string) -> (!string, !json) = plumb(i, go, o, out) {\n"
        "  i ; writer ; o\n  go ; keeper@go\n  keeper@out ; out\n  keeper <-> writer : Ask\n}\n"
    )
    found = routes(plan)
    assert found["go.go"] == ["; keeper.map@4 -> monitor Ask@11.left"]
    assert found["writer.ctrl_out"] == ["-> monitor Ask@11.right (feedback)"]
    assert found["Ask@11.to_left"] == ["-> output out.out"]
    assert found["Ask@11.to_right"] == ["-> worker writer.ctrl_in (feedback)"]
    wires = render_plan(plan, "text").split("\nwires\n")[1].split("\n\n")[0]
    assert wires == "   Ask@11  keeper <-> writer : Ask, 2 states, steps told to keeper"
    assert decode_json(render_plan(plan, "json"))["wires"] == [
        {"node": "Ask@11", "left": "keeper", "right": "writer", "protocol": "Ask", "states": 2, "tags": ["back"]}
    ]
