"""How often models can be called for one message: counted along the wiring."""

from __future__ import annotations

import random
from collections import Counter, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import plan_of

from fabric.graph.ir import End
from fabric.plan.bound import AgentBound, Bound, bound_of
from fabric.plan.plan import Plan

AGENT = 'let {} : !int -> !int = agent {{ provider: "eliza", max_retries: 0, max_tokens: 10 {} }}\n'
A, B, C = (AGENT.format(name, "") for name in "abc")
JOIN = "let p : (!int, !int) -> !(int, int) = barrier\n"
FUNCTION = 'let f : !int -> !int = python { call: "m:f" }\n'


def main(body: str) -> str:
    return f"let main : !int -> !int = plumb(i, o) {{ {body} }}\n"


def messages(text: str) -> dict[str, dict[str, int]]:
    bound = bound_of(plan_of(text))
    assert bound.unbounded == ""
    return {agent.name: agent.messages for agent in bound.agents}


# --- the wiring ---


def test_a_chain_gives_one_message_to_each():
    """In the order of the program; functions and maps answer once, filters at most."""
    text = A + B + FUNCTION + main("i ; a ; f ; filter(value > 0) ; map(value + 1) ; b ; o")
    assert messages(text) == {"a": {"i": 1}, "b": {"i": 1}}


def test_a_copy_makes_two_and_a_merge_adds():
    """Two ways that meet again bring two messages."""
    text = A + B + main("i ; a\n i ; b\n a ; b\n b ; o")
    assert messages(text) == {"a": {"i": 1}, "b": {"i": 2}}


def test_a_barrier_gives_as_many_pairs_as_the_side_that_gets_least():
    """One of three and one make one."""
    text = (
        A
        + B
        + JOIN
        + main("i ; a\n i ; p@input_0\n i ; p@input_1\n a ; p@input_1\n p ; map(value.0) ; b ; o").replace(
            "value.0", "1"
        )
    )
    assert messages(text) == {"a": {"i": 1}, "b": {"i": 1}}


def test_a_barrier_of_two_inputs_is_bounded_by_one_of_them():
    """For every pair needs one of each: either count is a bound, their sum would be one too, and their least none."""
    text = (
        A
        + JOIN
        + ("let main : (!int, !int) -> !int = plumb(i, j, o) { i ; p@input_0\n j ; p@input_1\n p ; map(1) ; a ; o }\n")
    )
    found = messages(text)["a"]
    assert sorted(found.values()) == [1]


def test_nothing_comes_from_an_empty_source():
    """Neither does a call of a model."""
    text = A + B + "let none : !unit -> !int = empty\n" + main("i ; a ; o\n none ; b ; o")
    assert messages(text) == {"a": {"i": 1}, "b": {}}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (A + B + main("i ; a ; b\n b ; filter(value > 0) ; a\n b ; o"), "loop through a, b"),
        (
            A + 'let w : !int -> !int = worker { command: ["./w"] }\n' + main("i ; w ; a ; o"),
            "'w' may say any number of messages on output",
        ),
        (
            A + AGENT.format("t", "tools: [x]") + "let x : int -> int = tool { process: a }\n" + main("i ; t ; o"),
            "'t' has tools, and no max_tool_calls",
        ),
        (
            A
            + AGENT.format("t", "tools: [x], max_tool_calls: 3")
            + "let x : int -> int = tool { process: a }\n"
            + main("i ; t ; o"),
            "'t' may call x as often as it likes",
        ),
    ],
)
def test_without_a_bound_it_says_why(text: str, why: str):
    """A loop, a program, tools."""
    assert bound_of(plan_of(text)) == Bound(unbounded=why)


def test_a_loop_that_no_agent_is_behind_does_not_matter():
    """Only calls of models are counted."""
    text = A + FUNCTION + main("i ; a ; o\n i ; f\n f ; filter(value > 0) ; f")
    assert messages(text) == {"a": {"i": 1}}


# --- the agent ---


@pytest.mark.parametrize(
    ("keys", "calls"),
    [
        ("", 1),
        (", max_tool_calls: 5", 6),
        (", tools: [x], max_tool_calls: 5", 6),
    ],
)
def test_an_agent_calls_once_and_for_each_retry_and_each_round(keys: str, calls: int):
    """Both are limited for one message."""
    tool = FUNCTION + "let x : int -> int = tool { process: f }\n" if "tools" in keys else ""
    (agent,) = bound_of(plan_of(AGENT.format("a", keys.removeprefix(",")) + tool + main("i ; a ; o"))).agents
    assert agent == AgentBound("a", "eliza", "doctor", {"i": 1}, calls, 10)


def test_an_agent_that_says_nothing_has_the_defaults():
    """Three further answers, 8,192 tokens each."""
    text = 'let a : !int -> !int = agent { provider: "eliza" }\n' + main("i ; a ; a ; o").replace("a ; a", "a")
    bound = bound_of(plan_of(text))
    assert (bound.calls("i"), bound.output_tokens("i")) == (4, 4 * 8192)


# --- any graph without a loop ---


def drawn(rng: random.Random, *, barriers: bool) -> str:
    """Draw a program: each node takes one or two that came before it, and any number take each."""
    names, lines = ["i"], []
    wires: list[str] = []
    taken: set[str] = set()
    for number in range(rng.randint(1, 9)):
        kind = rng.choice(["agent", "python", "map", "agent", *(["barrier"] if barriers else [])])
        name = f"n{number}"
        sources = [rng.choice(names) for _ in range(2 if kind == "barrier" else rng.randint(1, 2))]
        taken.update(sources)
        if kind == "agent":
            lines.append(AGENT.format(name, ""))
        elif kind == "python":
            lines.append(f'let {name} : !int -> !int = python {{ call: "m:f" }}\n')
        elif kind == "map":
            lines.append(f"let {name} : !int -> !int = id\n")
        else:
            lines.append(f"let b{number} : (!int, !int) -> !(int, int) = barrier\nlet {name} : !int -> !int = id\n")
            wires += [f"{source} ; b{number}@input_{side}" for side, source in enumerate(sources)]
            wires.append(f"b{number} ; map(1) ; {name}")
            sources = []
        wires += [f"{source} ; {name}" for source in dict.fromkeys(sources)]
        names.append(name)
    wires += [f"{name} ; o" for name in names if name not in taken or name == "i"]
    return "".join(lines) + "let main : !int -> !int = plumb(i, o) {\n" + "\n".join(wires) + "\n}\n"


def sent(plan: Plan) -> Counter[str]:
    """Send one message on its way, each copy by itself; return how many came to each agent."""
    graph = plan.graph
    readers = {channel.source: channel.target for channel in graph.channels}
    waiting: Counter[End] = Counter()
    came: Counter[str] = Counter()
    moving = deque(readers[End(plan.inputs["i"], port.name)] for port in graph.nodes[plan.inputs["i"]].outputs)
    while moving:
        end = moving.popleft()
        node = graph.nodes[end.node]
        came[node.id] += node.kind == "agent" and end.port == "input"
        if node.kind == "barrier":
            waiting[end] += 1
            ends = [End(node.id, port.name) for port in node.inputs]
            if not all(waiting[each] for each in ends):
                continue
            waiting.subtract(ends)
        outputs = [port for port in node.outputs if node.kind not in ("agent", "python") or port.name == "output"]
        moving.extend(readers[End(node.id, port.name)] for port in outputs if End(node.id, port.name) in readers)
    return came


@given(st.integers(0, 2**32), st.booleans())
def test_the_bound_is_what_comes_if_nothing_is_dropped(seed: int, barriers: bool):
    """Each message is sent on its way by itself, and counted where it comes to an agent."""
    plan = plan_of(drawn(random.Random(seed), barriers=barriers))
    bound = bound_of(plan)
    assert bound.unbounded == ""
    assert {agent.name: agent.messages.get("i", 0) for agent in bound.agents} == {
        worker.name: sent(plan)[worker.name] for worker in plan.workers if worker.spec.kind == "agent"
    }
