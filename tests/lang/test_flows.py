"""What the checker tells of loops and barriers, against messages that are moved one by one."""

from __future__ import annotations

from collections import defaultdict
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.lang.check import check_source
from fabric.lang.source import Source

KINDS = {  # kind: text of the implementation, inputs
    "map": ("map(value)", 1),
    "filter": ("filter(value > 0)", 1),
    "merge": ("merge", 2),
    "join": ("plumb(x, y, z) { (x * y) ; barrier ; map(value[0]) ; z }", 2),
    "agent": ("agent { }", 1),
    "brief": ("agent { max_messages: 3 }", 1),
    "split": ("plumb(x, y, z) { x ; filter(value > 0) ; z  y ; map(value) ; z }", 2),
    "gone": ("plumb(x, z) { x ; discard  empty ; z }", 1),
    "silent": ("empty", 0),
}


@st.composite
def bodies(draw: st.DrawFn) -> tuple[list[str], list[tuple[int, tuple[int, int]]]]:
    """Kinds of processes, and wires: from a process (-1: the input of the body) to an input of a process.

    Every input is fed by something.
    """
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=6))
    ports = [(n, port) for n, kind in enumerate(kinds) for port in range(KINDS[kind][1])]
    sources = st.integers(-1, len(kinds) - 1)
    wires = [(draw(sources), port) for port in ports]
    more = draw(st.lists(st.tuples(sources, st.sampled_from(ports)), max_size=4)) if ports else []
    return kinds, list(dict.fromkeys([*wires, *more]))


def text_of(kinds: list[str], wires: list[tuple[int, tuple[int, int]]]) -> str:
    names = {1: ("input",), 2: ("input_0", "input_1"), 0: ()}
    lines = []
    for n, kind in enumerate(kinds):
        implementation, inputs = KINDS[kind]
        signature = "(!int, !int) -> !int" if inputs == 2 else "!unit -> !int" if inputs == 0 else "!int -> !int"
        lines.append(f"let p{n} : {signature} = {implementation}")
    lines.append("let main : !int -> !int = plumb(i, o) {")
    lines.append("  i ; o")
    for source, (target, port) in wires:
        kind = kinds[target]
        header = ("x", "y") if KINDS[kind][0].startswith("plumb") else names[KINDS[kind][1]]
        at = f"@{header[port]}" if KINDS[kind][1] == 2 else ""
        lines.append(f"  {'i' if source < 0 else f'p{source}'} ; p{target}{at}")
    lines += [f"  p{n} ; o" for n in range(len(kinds))]
    return "\n".join([*lines, "}"])


class Simulation:
    """Messages on the wires of a body, one by one, with as much luck as it takes, or with as little."""

    def __init__(self, kinds: list[str], wires: list[tuple[int, tuple[int, int]]]) -> None:
        self.kinds = kinds
        self.readers = defaultdict(list)
        for source, port in wires:
            self.readers[source].append(port)

    def reached(self) -> tuple[set[tuple[int, int]], set[int]]:
        """Return the inputs that can get a message, and the processes that can give one, if filters let all pass."""
        got: set[tuple[int, int]] = set()
        gave: set[int] = set()
        todo = [-1]
        while todo:
            for n, port in self.readers[todo.pop()]:
                got.add((n, port))
                kind = self.kinds[n]
                fires = {"gone": False, "join": {(n, 0), (n, 1)} <= got}.get(kind, True)
                if fires and n not in gave:
                    gave.add(n)
                    todo.append(n)
        return got, gave

    def never_empties(self) -> bool:
        """Whether some message that came in leaves one on the wires for ever, however unlucky it is.

        Barriers never fire, filters drop, limits are reached: what is left moves on until the same wires are full.
        """
        got, _ = self.reached()
        for start in got:
            full, seen = frozenset([start]), set()
            while full and full not in seen:
                seen.add(full)
                full = frozenset(reader for n, port in full if self._answers(n, port) for reader in self.readers[n])
            if full:
                return True
        return False

    def _answers(self, n: int, port: int) -> bool:
        kind = self.kinds[n]
        return kind in ("map", "merge", "agent") or (kind == "split" and port == 1)


@settings(max_examples=400)
@given(bodies())
def test_what_is_told_of_a_body_is_what_messages_do_in_it(body: tuple[list[str], list[tuple[int, tuple[int, int]]]]):
    """A barrier is told of only if it cannot fire, a loop only if it cannot end, and something whenever it is so."""
    kinds, wires = body
    simulation = Simulation(kinds, wires)
    got, gave = simulation.reached()
    _, diagnostics = check_source(Source("x.plumb", text_of(kinds, wires)))
    found = defaultdict(list)
    for diagnostic in diagnostics:
        found[diagnostic.code].append(diagnostic)
    assert found.keys() <= {"E0502", "E0508", "E0509", "W0513", "W0514", "W0515"}
    assert bool(found["E0509"]) == simulation.never_empties()
    named = [d.message.split("'")[1] for d in found["E0508"]]
    for name in named:
        n = int(name.removeprefix("p"))
        assert kinds[n] == "join"
        assert n not in gave
    starving = [n for n, kind in enumerate(kinds) if kind == "join" and 1 <= len({p for m, p in got if m == n}) < 2]
    assert bool(starving) <= bool(named or found["E0502"])
    if not (named or found["E0502"]):
        dead = {n for n, kind in enumerate(kinds) if KINDS[kind][1] and not any(m == n for m, _ in got)}
        if not found["E0509"]:
            assert bool(dead) == bool(found["W0514"])


CORNERS = {
    "nested twice": (
        "let a : !int -> !int = map(value)\n"
        "let b : !int -> !int = map(value) ; a\n"
        "let c : !int -> !int = plumb(x, y) { x ; b ; y }\n"
        "let main : !int -> !int = plumb(i, o) { i ; c ; c  c ; o }",
        "c -> c",
    ),
    "by spawn": (
        "let a : !int -> !int = map(value)\n"
        "let main : !int -> !int = plumb(i, o) {\n"
        "  let back : !int = channel\n  i ; back\n  spawn a(back, back)\n  back ; o\n}",
        "back -> a -> back",
    ),
}


@pytest.mark.parametrize("name", CORNERS)
def test_a_loop_is_told_as_the_way_round(name: str):
    """By the names of the text: of channels, and of bodies."""
    text, path = CORNERS[name]
    _, (diagnostic,) = check_source(Source("x.plumb", text))
    assert diagnostic.code == "E0509"
    assert f"the loop {path} never ends" in diagnostic.message


def test_a_loop_without_an_entry_is_fed_where_a_program_can_name_it():
    """A map in a chain has no name; the control input that it feeds has."""
    text = """
        let a : (!string, !json) -> (!string, !json) = agent { }
        let main : !string -> !string = plumb(i, o) {
          i ; a@input  a@output ; o
          a@ctrl_out ; map({ get_memory: true }) ; a@ctrl_in
        }"""
    _, (diagnostic,) = check_source(Source("x.plumb", text))
    assert (diagnostic.code, diagnostic.help) == ("E0502", "wire an input to it: input ; a@ctrl_in")


@pytest.mark.parametrize(("of_two", "of_three"), [*product(("(x * y) ; barrier", "(x * y) ; merge"), repeat=2)])
def test_with_three_inputs_nothing_is_told_that_is_not_so(of_two: str, of_three: str):
    """Cases in which two inputs have no messages are not kept apart; then a barrier is rather not told of."""
    pair = f"let two : (!int, !int) -> !json = plumb(x, y, z) {{ {of_two} ; z }}\n"
    third = of_three.replace("x * y", "two * w")
    text = pair + (
        f"let three : (!int, !int, !int) -> !json = plumb(x, y, w, z) {{ x ; two@x  y ; two@y  {third} ; z }}\n"
        "let main : !int -> !json = plumb(i, o) { i ; three@w  empty ; three@x  i ; three@y  three ; o }"
    )
    _, diagnostics = check_source(Source("x.plumb", text))
    fires = "merge" in of_two or "merge" in of_three
    assert [d.code for d in diagnostics] == ([] if fires else ["E0508"])
