"""Which messages a worker of a kept run can be asked once more."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fabric.runtime.asking_again import asked_of, steered_at
from fabric.session.divergence import Replayed, Took
from fabric.session.history import Answer, Forgotten, History, Ordered, Steered, Turn


def turn(node: str, worker: str = "") -> Turn:
    return Turn(node, "00" * 8, (Answer("output", msgspec.Raw(b"1")),), worker)


def order(**fields: Any) -> Ordered:
    return Ordered("a", msgspec.Raw(msgspec.json.encode(fields)), 1)


def test_a_replica_is_asked_what_it_took_itself():
    """And the node what all of them took; a name that took nothing has nothing to compare."""
    history = [turn("a", "a#1"), turn("b"), turn("a", "a#2")]
    replayed = Replayed((), tuple(Took(number, "a", "", b"7") for number in range(3)))
    asked = {name: [one.entry for one in asked_of(name, history, replayed)] for name in ("a", "a#1", "b", "b#1")}
    assert asked == {"a": [0, 2], "a#1": [0], "b": [1], "b#1": []}


@pytest.mark.parametrize(
    ("history", "number"),
    [
        ([turn("a"), order(pause=True), Steered("a", 1, taken=True), order(get_memory=True)], None),
        ([turn("a"), order(set_memory=[])], 1),
        ([turn("a"), order(set_model="m")], 1),
        ([Forgotten("b"), turn("a"), Forgotten("a")], 2),
        ([order(pause=True), Steered("a", 1), turn("a"), Steered("a", 2)], 3),
    ],
)
def test_a_worker_that_was_made_another_one_is_compared_up_to_there(history: list[History], number: int | None):
    """By an operator, by the program, or by a new start; a pause changes nothing."""
    assert steered_at("a", history) == number
