"""What is behind an output, and where two programs make something else of one history: from literal histories."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import plan_of

from fabric.errors import HistoryUnfit
from fabric.session.ancestry import Ancestry, ModelCall, Step, ToolCall, Witness, trace_back
from fabric.session.divergence import (
    Difference,
    Replayed,
    compare,
    compare_answers,
    differences_in,
    relive_watched,
)
from fabric.session.history import Answer, Called, Entered, History, Intended, Paid, Turn
from fabric.session.money import Rate
from fabric.session.session import Session, Settings

PAIR = """
let double : !int -> !int = python { call: "stages:double" }
let square : !int -> !int = python { call: "stages:square" }
let main : !int -> !(int, int) = plumb(number, done) {
  number ; ( double * map(value + 1) ; square ) ; barrier ; done
}
"""
LOOP = """
let again : !int -> !int = python { call: "stages:again" }
let main : !int -> !int = plumb(number, done) {
  number ; again
  again ; filter(value < 100) ; map(value + 1) ; again
  again ; filter(value >= 100) ; done
}
"""
ANY = "00" * 8
"""The id of no message: the one that stands first is meant."""


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def entered(value: Any, ticket: int = 1, port: str = "number") -> Entered:
    return Entered(port, raw(value), ticket)


def turn(node: str, *values: Any, message: str = ANY) -> Turn:
    return Turn(node, message, tuple(Answer("output", raw(value)) for value in values))


def relived(text: str, history: Sequence[History], *, allow_changed: bool = True) -> tuple[Replayed, Witness]:
    rng = random.Random(0)
    witness = Witness(rng)
    session = Session(plan_of(text), Settings(), rng, durable="S", traces=witness)
    return relive_watched(session, history, witness, allow_changed=allow_changed), witness


def behind(text: str, history: Sequence[History], number: int = 1) -> Ancestry:
    replayed, witness = relived(text, history)
    output = replayed.outputs[number - 1].output
    asked = {"double": ("any", "m")}
    return trace_back(
        witness, output.span_id, number, output.port, history, lambda *_: Rate(10**6, 2 * 10**6, 0, 0), asked
    )


def usage(prompt: int, completion: int) -> msgspec.Raw:
    return raw({"kind": "usage", "model": "m", "prompt_tokens": prompt, "completion_tokens": completion})


def test_both_sides_of_a_barrier_lead_to_one_input():
    """Each step is there once, with what was called for it, and what that cost."""
    history: list[History] = [
        entered(3),
        Paid("double", usage(10, 5), ANY),
        Intended("double", ANY, raw(1), "send", raw({"to": "me"})),
        Called("double", ANY, raw(1), raw("sent")),
        turn("double", 6),
        Paid("square", usage(1, 1), ANY),
        turn("square", 16),
    ]
    found = behind(PAIR, history)
    assert (found.number, found.port, bytes(found.payload), found.of) == (1, "done", b"[6,16]", (1, 0))
    blank = [msgspec.structs.replace(step, id="") for step in found.steps]
    double = ModelCall("m", 10, 5, 20e-6)
    square = ModelCall("m", 1, 1, 3e-6)
    tool = ToolCall("send", raw({"to": "me"}), raw("sent"))
    assert blank == [
        Step(6, "turn", "square", "", raw(16), models=(square,), of=(2,)),
        Step(4, "turn", "double", "", raw(6), models=(double,), tools=(tool,), of=(2,)),
        Step(0, "input", "number", "", raw(3)),
    ]
    assert (found.calls, found.prompt_tokens, found.completion_tokens, found.usd) == (2, 11, 6, pytest.approx(23e-6))


def test_a_call_counts_for_the_turn_that_it_was_made_for():
    """Also if the worker did not say for which; and in a loop one id comes again."""
    history: list[History] = [entered(1)]
    for round_ in range(3):
        history += [Paid("again", usage(round_, 0)), turn("again", 100 if round_ == 2 else round_)]
    found = behind(LOOP, history)
    assert [(step.event, step.before, [call.prompt_tokens for call in step.models]) for step in found.steps] == [
        ("turn", 2, [2]), ("turn", 1, [1]), ("turn", 0, [0]), ("input", 0, []),
    ]  # fmt: skip


def test_a_thousand_rounds_are_a_thousand_steps():
    """The way back is not taken by recursion."""
    rounds: list[History] = [turn("again", 0) for _ in range(3000)]
    found = behind(LOOP, [entered(1), *rounds, turn("again", 100)])
    assert [step.entry for step in found.steps] == list(range(3001, -1, -1))


def test_a_program_that_has_not_changed_makes_the_same_of_it():
    """With all ids."""
    history: list[History] = [entered(3), turn("double", 6), turn("square", 16)]
    once, again = relived(PAIR, history)[0], relived(PAIR, history)[0]
    assert once == again
    assert [left.output.payload for left in once.outputs] == [b"[6,16]"]
    assert compare(once, again) == []


def test_what_a_worker_takes_of_another_program_is_shown_with_what_it_took():
    """The first difference is the message; what follows from the recorded answer is as it was."""
    history: list[History] = [entered(3), turn("double", 6), turn("square", 16)]
    changed = PAIR.replace("value + 1", "value + 2")
    found = compare(relived(PAIR, history)[0], relived(changed, history)[0])
    assert found == [Difference(2, "consumed", "square", ANY, raw(4), raw(5))]


def test_outputs_of_another_program_are_shown():
    """One that is other, one that is missing."""
    history: list[History] = [entered(3), turn("again", 100), entered(4, 2), turn("again", 200)]
    recorded = relived(LOOP, history)[0]
    other = relived(LOOP.replace("filter(value >= 100) ;", "filter(value >= 100) ; map(value - 1) ;"), history)[0]
    assert [(one.entry, one.what, one.recorded, one.now) for one in compare(recorded, other)] == [
        (1, "output", raw(100), raw(99)), (3, "output", raw(200), raw(199)),
    ]  # fmt: skip
    fewer = relived(LOOP.replace("value >= 100", "value = 100"), history)[0]
    assert [(one.entry, one.at, one.recorded, one.now) for one in compare(recorded, fewer)] == [
        (3, "done", raw(200), None)
    ]


def test_an_entry_without_a_place_is_shown_or_refused():
    """A worker that the program does not have any more."""
    history: list[History] = [entered(3), turn("double", 6), turn("square", 16)]
    gone = LOOP
    assert [(one.entry, one.what) for one in compare(relived(PAIR, history)[0], relived(gone, history)[0])][:1] == [
        (1, "unfit")
    ]
    with pytest.raises(HistoryUnfit, match="entry 1 of the session's history"):
        relived(gone, history, allow_changed=False)


@pytest.mark.parametrize(
    ("now", "differences"),
    [
        ([("output", b'{"b": 2, "a": 1}')], []),
        ([("output", b'{"a":1,"b":3}')], [(b'{"a":1,"b":2}', b'{"a":1,"b":3}')]),
        ([], [(b'{"a":1,"b":2}', None)]),
        ([("output", b'{"a":1,"b":2}'), ("output", b"1")], [(None, b"1")]),
    ],
)
def test_answers_are_compared_one_by_one(now: list[tuple[str, bytes]], differences: list[tuple[bytes | None, ...]]):
    """By what they say; the order of keys and blanks are no difference."""
    found = compare_answers(7, turn("double", {"a": 1, "b": 2}), now)
    assert [(one.entry, one.what) for one in found] == [(7, "answer")] * len(differences)
    shown = [tuple(None if text is None else bytes(text) for text in (one.recorded, one.now)) for one in found]
    assert shown == differences


@pytest.mark.parametrize(
    ("then", "now", "lines"),
    [
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, ["$.a[1].b: 2, now 3"]),
        ({"a": 1}, {"b": 1}, ["$.a: 1, now nothing", "$.b: nothing, now 1"]),
        ([1], [1, None], ["$[1]: nothing, now null"]),
        (1, True, ["$: 1, now true"]),
        ("x", ["x"], ['$: "x", now ["x"]']),
        (1, 1.0, []),
    ],
)
def test_each_place_that_differs_is_a_line(then: Any, now: Any, lines: list[str]):
    """With both values."""
    assert list(differences_in(msgspec.json.encode(then), msgspec.json.encode(now))) == lines


leaves = st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner))


@given(values, values)
def test_there_is_a_difference_if_values_are_not_the_same(then: Any, now: Any):
    """And none if they are; true is not 1."""
    texts = msgspec.json.encode(then, order="sorted"), msgspec.json.encode(now, order="sorted")
    assert bool(list(differences_in(*texts))) == (texts[0] != texts[1])


THREE = """
let f : !int -> !int = python { call: "stages:f" }
let main : !int -> !int = plumb(number, done) { number ; f ; done }
"""


def recorded_of(text: str, *values: int) -> list[History]:
    """Return what a run of a program with one worker has recorded, with the ids that its messages had."""
    history: list[History] = [entered(value, ticket) for ticket, value in enumerate(values, 1)]
    stood: list[str] = []
    for value in values:
        probe = Turn("f", ANY if not stood else stood[-1], (Answer("output", raw(10 * value)),))
        session = Session(plan_of(text), Settings(), random.Random(0), durable="S")
        with pytest.raises(HistoryUnfit, match="there are: ") as refused:
            session.relive([*history, probe])
        stood.append(str(refused.value).partition("there are: ")[2][:16])
        history.append(msgspec.structs.replace(probe, message=stood[-1]))
    return history


@pytest.mark.parametrize("between", ["", "map(value + 0) ; "])
def test_a_message_that_another_program_filters_away_is_no_other_one(between: str):
    """What was answered to it has no place; all that follow are given to the messages that they were about."""
    history = recorded_of(THREE, 1, 2, 3)
    changed = THREE.replace("number ; f", f"number ; filter(value > 1) ; {between}f")
    then, now = relived(THREE, history, allow_changed=False)[0], relived(changed, history)[0]
    assert [(took.entry, took.payload) for took in now.took] == [(4, b"2"), (5, b"3")]
    assert [skipped.number for skipped in now.skipped] == [3]
    assert {(one.entry, one.what) for one in compare(then, now)} >= {(3, "unfit")}
    assert not [one for one in compare(then, now) if one.what == "consumed"]
