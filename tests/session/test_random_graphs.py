"""Random graphs with loops: the session gives what a direct computation gives, each output once, and ends."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial

import pytest
import trio
from plans import plan_of
from three_ways import RUNNERS
from trio.testing import MockClock

from fabric.plan.plan import Plan
from fabric.testing import Runner, simulate
from fabric.transport.ports import Transport
from fabric.wire.codec import decode, encode
from fabric.wire.frame import Data, Eof, Marker
from fabric.wire.spec import WorkerSpec

STEPS_MAX = 12
"""Each message counts its steps and leaves the loops after so many."""


class Graph:
    """A random routing: at each place a message goes to the places that its number chooses."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        self.places = [f"p{i}" for i in range(rng.randint(1, 5))]
        self.workers = {place for place in self.places if rng.random() < 0.5}
        # (source, modulus, remainder, target): a message with that remainder goes that way; several ways make copies.
        self.ways = [
            (place, modulus, rng.randrange(modulus), rng.choice(self.places))
            for place in self.places
            for modulus in rng.choices((2, 3, 4), k=rng.randint(1, 3))
        ]
        self.entries = rng.sample(self.places, rng.randint(1, len(self.places)))
        while unreached := set(self.places) - self.reached():
            self.entries.append(min(unreached))

    def reached(self) -> set[str]:
        reached = set(self.entries)
        for _ in self.places:
            reached |= {target for source, _, _, target in self.ways if source in reached}
        return reached

    def text(self) -> str:
        lines = ["type M = { n: int, steps: int }"]
        lines += [
            f"let {place} : !M -> !M = "
            + ('python { call: "not:imported" }' if place in self.workers else "map({n: n + 1, steps: steps + 1})")
            for place in self.places
        ]
        lines += ["let main : !int -> !int = plumb(i, o) {"]
        lines += [f"  i ; map({{n: value, steps: 0}}) ; {place}" for place in self.entries]
        lines += [
            f"  {place} ; filter(n % {modulus} = {remainder} && steps < {STEPS_MAX}) ; {target}"
            for place, modulus, remainder, target in self.ways
        ]
        lines += [f"  {place} ; filter(steps = {STEPS_MAX}).n ; o" for place in self.places]
        return "\n".join([*lines, "}"])

    def direct(self, value: int) -> Counter[int]:
        """Count the outputs of an input."""
        out: Counter[int] = Counter()
        at: Counter[tuple[str, int]] = Counter((place, value) for place in self.entries)
        for step in range(1, STEPS_MAX + 1):
            moved: Counter[tuple[str, int]] = Counter()
            for (place, n), count in at.items():
                if step == STEPS_MAX:
                    out[n + 1] += count
                for source, modulus, remainder, target in self.ways:
                    if source == place and (n + 1) % modulus == remainder:
                        moved[target, n + 1] += count
            at = moved
        return out


async def stepping_worker(spec: WorkerSpec, transport: Transport, endpoints: dict[str, str]) -> int:
    """A worker in the simplest form: what ``map({n: n + 1, steps: steps + 1})`` does, after a random while."""
    import msgspec

    rng = random.Random(spec.name)
    source = transport.receiver(endpoints["input"], bind=False)
    sink = transport.sender(endpoints["output"], bind=True)
    ctrl_in = transport.receiver(endpoints["ctrl_in"], bind=False)
    ctrl_out = transport.sender(endpoints["ctrl_out"], bind=True)
    ctrl_out.send_nowait(encode(Data(spec.name, b'{"status":"ready"}')))
    open_ = True
    while open_:
        for raw in await source.receive():
            await trio.sleep(rng.random())  # simulated time
            match decode(raw):
                case Data(_, payload):
                    message = msgspec.json.decode(payload)
                    stepped = {"n": message["n"] + 1, "steps": message["steps"] + 1}
                    sink.send_nowait(encode(Data(spec.name, msgspec.json.encode(stepped))))
                case Marker(_, marker):
                    sink.send_nowait(encode(Marker(spec.name, marker)))
                case Eof():
                    sink.send_nowait(encode(Eof(spec.name)))
                    open_ = False
    while not any(isinstance(decode(raw), Eof) for raw in await ctrl_in.receive()):
        pass
    ctrl_out.send_nowait(encode(Eof(spec.name)))
    return 0


def outcome(plan: Plan, values: list[int], runners: dict[str, Runner]) -> Counter[int]:
    inputs = [("i", str(value).encode()) for value in values]
    done = trio.run(partial(simulate, plan, inputs, runners=runners), clock=MockClock(autojump_threshold=0))
    assert (done.finish.exit_code, done.finish.error) == (0, None)
    return Counter(int(payload) for _, payload in done.outputs)


@pytest.mark.parametrize("seed", range(60))
def test_a_random_graph_gives_what_a_direct_computation_gives(seed: int):
    """Loops in loops, copies with several ways back, entries anywhere, workers and morphisms mixed."""
    graph = Graph(seed)
    values = list(range(8))
    expected: Counter[int] = Counter()
    for value in values:
        expected += graph.direct(value)
    if sum(expected.values()) > 5_000:
        values, expected = values[:1], graph.direct(values[0])
    assert outcome(plan_of(graph.text()), values, RUNNERS | {"python": stepping_worker}) == expected
