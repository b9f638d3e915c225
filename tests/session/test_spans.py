"""What a session tells of its traces."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from crash_runs import faults_of, prepared, settings_of, simulated
from functions import increment
from plans import plan_of
from span_trees import ABOUT, children, held_together, named, recorded, traced

from fabric.session.events import Traced
from fabric.session.settings import Settings
from fabric.testing import Crash, Decision, Faults
from fabric.tracing.span import Span
from fabric.wire.tracing import derived

INC = 'let inc : !int -> !int = python { call: "functions:increment" }\n'
assert increment(1) == 2  # it is found by its name
INC_TWO = INC + 'let two : !int -> !int = python { call: "functions:increment" }\n'
IN_MESSAGE = 4
"""The step of a worker at which it has its first message: it has announced itself, and returned a probe."""

ROOT = "invoke_workflow program"


def tree(spans: list[Span], of: Span) -> Any:
    """Return what hangs from a span, as names within names."""
    below = [span for span in spans if span.parent == of.span_id and span.trace_id == of.trace_id]
    return {span.name: tree(spans, span) for span in sorted(below, key=lambda span: span.name)}


def tree_of(text: str, *inputs: bytes, **how: Any) -> Any:
    """Return the one trace of a program, as names within names."""
    spans = traced(plan_of(text), *(inputs or (b"1",)), **how)
    return tree(spans, named(spans, ROOT))


def test_a_message_between_workers_comes_from_the_first_of_them():
    """The tree is that of causes."""
    text = INC_TWO + "let main : !int -> !int = plumb(i, o) { i ; inc ; two ; o }"
    assert tree_of(text) == {"run inc": {"run two": {}}}


def test_ids_follow_from_those_of_messages():
    """The root has that of the message that came in; the work on it one that is made of that and of a name."""
    spans = traced(plan_of(INC + "let main : !int -> !int = plumb(i, o) { i ; inc ; o }"), b"1")
    root, work = named(spans, ROOT), named(spans, "run inc")
    assert (work.span_id, work.parent) == (derived(root.span_id, "inc"), root.span_id)
    assert work.attributes["fabric.message.id"] == root.span_id.hex()


FIELD = "map({ n: value }) ; filter(n > 0).n"


@pytest.mark.parametrize("between", ["map(value + 1)", "filter(value > 0)", "map({ n: value }) ; map(n)", FIELD])
def test_what_changes_a_message_on_its_way_is_no_span(between: str):
    """A map or a filter behind the boundary, or behind a worker, leaves the parent what it was."""
    text = INC_TWO + f"let main : !int -> !int = plumb(i, o) {{ i ; {between} ; inc ; {between} ; two ; o }}"
    assert tree_of(text) == {"run inc": {"run two": {}}}


def test_a_copy_goes_two_ways():
    """Both are children of where it comes from."""
    text = INC_TWO + "let main : !int -> !int = plumb(i, o) { i ; inc ; o\n i ; two ; o }"
    assert tree_of(text) == {"run inc": {}, "run two": {}}


def test_a_message_that_comes_to_a_worker_on_two_ways_is_two_messages():
    """Each is done once, and each has a span."""
    wires = "i ; filter(value > 0) ; inc\n i ; filter(value < 9) ; inc\n inc ; o"
    text = INC + f"let main : !int -> !int = plumb(i, o) {{ {wires} }}"
    spans = traced(plan_of(text), b"1")
    assert [span.name for span in spans].count("run inc") == 2


def test_a_barrier_makes_one_of_several_and_is_linked_to_where_the_others_come_from():
    """Its parent made the first part; who works behind it hangs from it."""
    text = (
        INC_TWO
        + 'let last : !(int, int) -> !int = python { call: "functions:first" }\n'
        + "let main : !int -> !int = plumb(i, o) { i ; (inc * two) ; barrier ; last ; o }"
    )
    plan = plan_of(text)
    spans = traced(plan, b"1")
    root, inc, two = named(spans, ROOT), named(spans, "run inc"), named(spans, "run two")
    (join,) = [span for span in spans if span.name.startswith("join ")]
    assert tree(spans, root) == {"run inc": {join.name: {"run last": {}}}, "run two": {}}
    assert (join.parent, join.links) == (inc.span_id, ((two.trace_id, two.span_id),))


def test_a_loop_is_a_chain():
    """Each round hangs from the one before."""
    wires = "i ; inc\n inc ; filter(value < 4) ; inc\n inc ; filter(value >= 4) ; o"
    text = INC + f"let main : !int -> !int = plumb(i, o) {{ {wires} }}"
    spans = traced(plan_of(text), b"1")
    root = named(spans, ROOT)
    assert tree(spans, root) == {"run inc": {"run inc": {"run inc": {}}}}


def test_a_trace_for_each_input():
    """With its own root, and nothing of the others."""
    spans = traced(plan_of(INC + "let main : !int -> !int = plumb(i, o) { i ; inc ; o }"), b"1", b"2", b"3")
    assert len({span.trace_id for span in spans}) == 3
    assert len(spans) == 6


def test_what_no_worker_sees_has_a_root_all_the_same():
    """Maps are done at once; the input is told."""
    spans = traced(plan_of("let main : !int -> !int = map(value + 1)"), b"1")
    assert [(span.name, span.error) for span in spans] == [(ROOT, None)]


def test_a_refused_input_has_a_failed_root():
    """It says why."""
    spans = traced(plan_of(INC + "let main : !int -> !int = plumb(i, o) { i ; inc ; o }"), b'"x"')
    (root,) = spans
    assert root.attributes["error.type"] == "input_type_mismatch"
    assert root.error == 'input_type_mismatch: expected int, got string "x"'


def test_a_message_that_kills_its_worker_leaves_nothing_in_the_air():
    """Each process is an attempt; the work is told once, as failed, and so is the root."""
    plan = plan_of(INC + "let main : !int -> !int = plumb(i, o) { i ; inc ; o }")
    crashes = tuple(Crash("inc", IN_MESSAGE, incarnation) for incarnation in (1, 2, 3))
    done, spans = recorded(plan, [("i", b"1")], faults=Faults(crashes=crashes), settings=Settings(restarts_max=9))
    held_together(spans)
    root, work = named(spans, ROOT), named(spans, "run inc")
    assert [letter.cause for letter in done.letters] == ["poison"]
    assert children(spans, work) == ["attempt inc"] * 3
    assert work.attributes["fabric.attempt"] == 3
    assert (work.error is None, root.attributes["error.type"]) == (False, "dead_lettered")


def test_a_message_that_another_process_has_done_is_told_once():
    """With the number of the attempt; the one that died is a part of it."""
    plan = plan_of(INC + "let main : !int -> !int = plumb(i, o) { i ; inc ; o }")
    _, spans = recorded(plan, [("i", b"1")], faults=Faults(crashes=(Crash("inc", IN_MESSAGE),)))
    held_together(spans)
    work = named(spans, "run inc")
    assert (work.error, work.attributes["fabric.attempt"], children(spans, work)) == (None, 2, ["attempt inc"])


TOOLS = (
    INC
    + """
let t_inc : int -> int = tool { process: inc }
let clerk : !string -> !string = agent { provider: "scripted", script: "span_script:calls", tools: [t_inc] }
let main : !string -> !string = plumb(i, o) { i ; clerk ; o }
"""
)


def test_a_call_hangs_from_the_agent_and_the_tool_from_the_call():
    """In the trace of the input for which the agent calls."""
    spans = traced(plan_of(TOOLS), b'"go"')
    root = named(spans, ROOT)
    assert tree(spans, root) == {"invoke_agent clerk": {"execute_tool t_inc": {"run t_inc.inc": {}}}}
    call = named(spans, "execute_tool t_inc")
    assert call.attributes["gen_ai.tool.name"] == "t_inc"
    assert call.error is None


def test_an_agent_says_what_its_calls_of_the_model_took():
    """All calls of a message together."""
    spans = traced(plan_of(TOOLS), b'"go"')
    agent = named(spans, "invoke_agent clerk")
    assert agent.attributes["gen_ai.operation.name"] == "invoke_agent"
    assert agent.attributes["gen_ai.usage.output_tokens"] > 0


@pytest.mark.parametrize("first", range(0, 30, 10))
def test_the_traces_of_random_graphs_in_which_workers_die_are_trees(first: int):
    """With loops, barriers, copies and agents that are asked for their memory. Each input has one root that is good."""
    for seed in range(first, first + 10):
        spans: list[Span] = []

        def watch(_now_s: float, _event: object, commands: list[Any], spans: list[Span] = spans) -> None:
            for command in commands:
                if isinstance(command, Traced):
                    spans.extend(command.spans)

        graph, plan = prepared(seed)
        simulated(seed, seed, faults_of(seed, 3, seed), settings_of(seed, plan), watch, ABOUT)
        held_together(spans)
        roots = [span for span in spans if span.name == ROOT]
        assert (len(roots), {span.error for span in roots}) == (len(graph.inputs), {None}), seed


def test_a_call_that_waits_for_approval_says_how_long_and_what_was_decided():
    """As a part of the call, which was denied."""
    plan = plan_of(TOOLS)
    tools = {name: msgspec.structs.replace(tool, effects=True) for name, tool in plan.tools.items()}
    denied = Decision(granted=False, after_s=3.0, reason="not now")
    spans = traced(msgspec.structs.replace(plan, tools=tools), b'"go"', decide=lambda _: denied)
    waited, call = named(spans, "await_approval t_inc"), named(spans, "execute_tool t_inc")
    assert (waited.parent, waited.attributes["fabric.approval.decision"]) == (call.span_id, "denied")
    assert waited.end_s - waited.start_s == pytest.approx(3.0)
    assert call.error is not None
    assert call.attributes["error.type"] == "tool_error"


def test_what_a_worker_says_of_itself_begins_a_trace():
    """No input brought it about; what is done with it hangs from what was said."""
    text = """
    let talk : !string -> (!string, !json) = agent { provider: "eliza", model: "doctor" }
    let hear : !json -> !json = python { call: "functions:same" }
    let main : !string -> (!string, !json) = plumb(i, o, heard) {
      i ; talk ; o
      talk@telemetry ; filter(kind = "config") ; hear ; heard
    }
    """
    spans = traced(plan_of(text), b'"go"')
    assert tree(spans, named(spans, "report talk")) == {"run hear": {}}


def test_nothing_is_recorded_where_nobody_wants_it():
    """No command has spans."""
    plan = plan_of(INC + "let main : !int -> !int = plumb(i, o) { i ; inc ; o }")
    done, spans = recorded(plan, [("i", b"1")], traced=None)
    assert ([payload for _, payload in done.outputs], spans) == ([b"2"], [])
