"""Graphs without workers give exactly what a direct computation gives, and end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from three_ways import run, simulated, up_and_send

INPUTS = 10_000


def program(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "program.plumb"
    path.write_text(text)
    return path


def numbers(modulus: int) -> list[int]:
    return [i * 7919 % modulus for i in range(INPUTS)]


def count_down(n: int) -> list[Any]:
    acc = 0
    while n > 0:
        acc, n = acc + n, n - 1
    return [acc]


def both_ways(n: int, path: int = 0) -> list[Any]:
    return [path] if n == 0 else both_ways(n - 1, path * 2) + both_ways(n - 1, path * 2 + 1)


def through_a_barrier(n: int) -> list[Any]:
    acc = 0
    while n > 0:
        acc, n = acc + (n * 2) + (n * 3), n - 1
    return [acc]


def nested(n: int) -> list[Any]:
    acc = 0
    while n > 0:
        m = n
        while m > 0:
            acc, m = acc + 1, m - 1
        n -= 1
    return [acc]


def dropping(n: int) -> list[Any]:
    while n > 0:
        if n % 7 == 0:
            return []
        n -= 1
    return [n]


CASES = {
    "a map": (
        "let main : !int -> !int = map(value * 2 + 1)",
        numbers(1000),
        lambda n: [2 * n + 1],
    ),
    "a filter with a projection": (
        "type P = { n: int, tag: string }\nlet main : !P -> !string = plumb(i, o) { i ; filter(n % 3 = 0).tag ; o }",
        [{"n": n, "tag": f"t{n}"} for n in numbers(1000)],
        lambda p: [p["tag"]] if p["n"] % 3 == 0 else [],
    ),
    "a diamond of copy and barrier": (
        "let main : !int -> !(int, int) = plumb(i, o) { i ; (map(value + 1) * map(value * 2)) ; barrier ; o }",
        numbers(1000),
        lambda n: [[n + 1, n * 2]],
    ),
    "two diamonds in a row": (
        "let sum : !(int, int) -> !int = map(value[0] + value[1])\n"
        "let main : !int -> !int = plumb(i, o) {\n"
        "  i ; (map(value + 1) * map(value * 2)) ; barrier ; sum\n"
        "  sum ; (id * map(-value)) ; barrier ; map(value[0] * value[1]) ; o\n"
        "}",
        numbers(1000),
        lambda n: [-((3 * n + 1) ** 2)],
    ),
    "fan-out and fan-in": (
        "let main : !int -> !int = plumb(i, o) {\n"
        "  i ; filter(value % 2 = 0) ; map(value * 10) ; o\n"
        "  i ; filter(value % 2 = 1) ; map(value * 100) ; o\n"
        "}",
        numbers(1000),
        lambda n: [n * 10 if n % 2 == 0 else n * 100],
    ),
    "a loop that counts down and accumulates": (
        "type S = { n: int, acc: int }\n"
        "let step : !S -> !S = id\n"
        "let main : !int -> !int = plumb(i, o) {\n"
        "  i ; map({n: value, acc: 0}) ; step\n"
        "  step ; filter(n > 0) ; map({n: n - 1, acc: acc + n}) ; step\n"
        "  step ; filter(n = 0).acc ; o\n"
        "}",
        numbers(20),
        count_down,
    ),
    "a loop with a copy and two ways back": (
        "type S = { n: int, path: int }\n"
        "let step : !S -> !S = id\n"
        "let main : !int -> !int = plumb(i, o) {\n"
        "  i ; map({n: value, path: 0}) ; step\n"
        "  step ; filter(n > 0) ; (map({n: n - 1, path: path * 2}) * map({n: n - 1, path: path * 2 + 1})) ; step\n"
        "  step ; filter(n = 0).path ; o\n"
        "}",
        numbers(4),
        both_ways,
    ),
    "a loop through a barrier": (
        "type S = { n: int, acc: int }\n"
        "let step : !S -> !S = id\n"
        "let join : !(S, S) -> !S = map({n: value[0].n - 1, acc: value[0].acc + value[1].acc})\n"
        "let main : !int -> !int = plumb(i, o) {\n"
        "  i ; map({n: value, acc: 0}) ; step\n"
        "  step ; filter(n > 0) ; (map({n: n, acc: acc + n * 2}) * map({n: n, acc: n * 3})) ; barrier ; join ; step\n"
        "  step ; filter(n = 0).acc ; o\n"
        "}",
        numbers(8),
        through_a_barrier,
    ),
    "two nested loops": (
        "type S = { n: int, m: int, acc: int }\n"
        "let outer : !S -> !S = id\n"
        "let inner : !S -> !S = id\n"
        "let main : !int -> !int = plumb(i, o) {\n"
        "  i ; map({n: value, m: 0, acc: 0}) ; outer\n"
        "  outer ; filter(n > 0) ; map({n: n, m: n, acc: acc}) ; inner\n"
        "  inner ; filter(m > 0) ; map({n: n, m: m - 1, acc: acc + 1}) ; inner\n"
        "  inner ; filter(m = 0) ; map({n: n - 1, m: 0, acc: acc}) ; outer\n"
        "  outer ; filter(n = 0).acc ; o\n"
        "}",
        numbers(6),
        nested,
    ),
    "a loop whose body drops messages": (
        "let step : !int -> !int = id\n"
        "let main : !int -> !int = plumb(i, o) {\n"
        "  i ; step\n"
        "  step ; filter(value > 0 && value % 7 != 0) ; map(value - 1) ; step\n"
        "  step ; filter(value = 0) ; o\n"
        "}",
        numbers(12),
        dropping,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_ten_thousand_inputs_give_what_a_direct_computation_gives(name: str, tmp_path: Path) -> None:
    """Simulated, through `run`, and through `up` and `send`: the same outputs as a Python loop, each exactly once."""
    text, values, direct = CASES[name]
    expected = [output for value in values for output in direct(value)]
    path = program(tmp_path, text)
    outputs = simulated(path, values)
    assert Counter(map(repr, outputs)) == Counter(map(repr, expected))
    assert run(path, values) == outputs
    assert up_and_send(path, values, tmp_path) == outputs


@pytest.mark.parametrize("name", [name for name in CASES if "two ways back" not in name])
def test_results_leave_in_the_order_of_their_inputs(name: str, tmp_path: Path) -> None:
    """What one input becomes is finished before the next is taken, where no worker is involved."""
    text, values, direct = CASES[name]
    assert simulated(program(tmp_path, text), values[:500]) == [out for value in values[:500] for out in direct(value)]
