"""Random graphs of all that a session has to keep apart, and what has to come out of them.

A *place* does something to a message; a *way* leads from one place to another, for messages whose number it selects,
and writes its name into the message's path. So no two messages with one id and one path exist: whatever is lost,
doubled or joined with the wrong partner shows in what comes out, and so does order: what took one path comes out as it
came in.

==========  ============================================================================================================
place       what it does
==========  ============================================================================================================
step        a map
worker      a python worker, one output for each message
spread      a python worker, 0 to 2 outputs
agent       an agent that remembers: it answers with how many messages it has seen before, and the last of them; the
            graph may read its telemetry, and ask for its memory each time that a message comes in
diamond     a worker, a copy, something on both sides, a barrier that lets through what are two sides of one message
body        a nested body with places of its own, and loops among them
channels    a worker that is spawned, on channels
==========  ============================================================================================================
"""

from __future__ import annotations

__all__ = ["Graph", "History", "Moved", "answer", "spread", "step"]

import json
import random
from collections import Counter, deque
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from string import ascii_lowercase
from typing import Any, NamedTuple

MODULUS = 97
TYPES = """type M = { id: int, n: int, steps: int, path: string }
type R = { id: int, n: int, steps: int, path: string, seen: int, last: int }
type H = { id: int, seen: int, last: int }
type T = { id: int }
type K = { kind: string }
"""
HERE = __name__
MESSAGES_MAX = 200
"""Messages at places in one run; a graph that makes more gets fewer inputs, or fewer steps."""


# --- what workers and agents do; python workers and scripts name these ------------------------------------------------


def moved(n: int) -> int:
    return (n * 3 + 1) % MODULUS


def step(message: dict[str, Any]) -> dict[str, Any]:
    """What a worker does, as a step does."""
    return message | {"n": moved(message["n"])}


def spread(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give 0 to 2 messages, each with another number."""
    for k in range(message["n"] % 3):
        yield message | {"n": (moved(message["n"]) + k) % MODULUS, "path": f"{message['path']}{k}"}


def answer(text: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """What an agent answers: the message, how many it has answered before, and the id of the last of these."""
    before = [message["content"] for message in messages[:-1] if message["role"] == "user"]
    return step(json.loads(text)) | {"seen": len(before), "last": json.loads(before[-1])["id"] if before else 0}


# --- the graph --------------------------------------------------------------------------------------------------------


class Way(NamedTuple):
    """From one place to another, or out; for messages with this remainder."""

    name: str
    source: str
    modulus: int
    remainder: int
    target: str


class Moved(NamedTuple):
    """A message that came out."""

    id: int
    n: int
    path: str


class History(NamedTuple):
    """What an agent said of its memory when it answered a message."""

    id: int
    seen: int
    last: int


class Graph:
    """One graph.

    Attributes:
        places: kind by name; those of a body have its name before theirs.
        inputs: ids of the messages by boundary input.
        steps_max: after so many places a message leaves.
        heard: agents whose telemetry is read.
        asked: agents that are asked for their memory, and for an acknowledgement, at every message of the first input.
    """

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        self.places: dict[str, str] = {}
        self.ways: list[Way] = []
        self.sides: dict[str, tuple[str, str]] = {}
        self.heard: list[str] = []
        self.asked: list[str] = []
        self.inner: dict[str, list[str]] = {}
        self.steps_max = rng.randint(4, 9)
        kinds = ("step", "step", "worker", "worker", "spread", "agent", "diamond", "body", "channels")
        top = [self._place(rng, f"p{i}", rng.choice(kinds)) for i in range(rng.randint(1, 5))]
        if not {"worker", "spread", "agent", "diamond", "channels"} & set(self.places.values()):
            top.append(self._place(rng, f"p{len(top)}", rng.choice(("worker", "agent", "diamond"))))
        for place in top:
            for _ in range(rng.randint(1, 3)):
                self._way(rng, place, rng.choice([*top, *top, *top, "o"]))
            self._way(rng, place, "o", rng.choice((1, 2, 2, 5)))  # what has been everywhere is to be seen
        entries = rng.sample(top, rng.randint(1, len(top)))
        while unreached := set(top) - self._reached(entries):
            entries.append(min(unreached))
        ports = ["i", "j"][: rng.randint(1, 2)]
        self.entries = [(rng.choice(ports), place) for place in entries]
        self.entries += [(port, rng.choice(top)) for port in ports if port not in {p for p, _ in self.entries}]
        number = rng.randint(3, 12)
        while self._visits(self._inputs(ports, number)) > MESSAGES_MAX:
            if number > 3:
                number //= 2
            else:
                self.steps_max -= 1
        self.inputs = self._inputs(ports, number)

    def _inputs(self, ports: list[str], number: int) -> list[tuple[str, int]]:
        return [(ports[k % len(ports)], k + 1) for k in range(number)]

    def _place(self, rng: random.Random, name: str, kind: str) -> str:
        self.places[name] = kind
        if kind == "agent":
            self.heard += [name] * rng.randint(0, 1)
            self.asked += [name] * rng.randint(0, 1)
        if kind == "diamond":
            self.sides[name] = rng.choice(
                [("worker", "worker"), ("worker", "step"), ("step", "worker"), ("step", "step")]
            )
        if kind == "body":
            kinds = ("step", "worker", "worker", "spread", "diamond", "channels")
            inner = [self._place(rng, f"{name}_{i}", rng.choice(kinds)) for i in range(rng.randint(1, 3))]
            self.inner[name] = inner
            for place in inner:
                for _ in range(rng.randint(1, 2)):
                    self._way(rng, place, rng.choice([*inner, name]))
            for one, other in pairwise(inner):  # all can be reached
                self._way(rng, one, other)
            self._way(rng, inner[-1], name, rng.choice((1, 1, 2)))
        return name

    def _way(self, rng: random.Random, source: str, target: str, modulus: int = 0) -> None:
        modulus = modulus or rng.choice((1, 2, 2, 3, 4))
        letter = ascii_lowercase[len(self.ways) % 26] + "'" * (len(self.ways) // 26)
        self.ways.append(Way(letter, source, modulus, rng.randrange(modulus), target))

    def _reached(self, entries: list[str]) -> set[str]:
        reached = set(entries)
        for _ in self.places:
            reached |= {way.target for way in self.ways if way.source in reached}
        return reached

    # --- as a program ---

    @property
    def agents(self) -> list[str]:
        """The places that remember."""
        return [name for name, kind in self.places.items() if kind == "agent"]

    def text(self) -> str:
        """Return the program."""
        bodies = [self._body(name) for name in self.inner]
        top = [name for name in self.places if not any(name in inner for inner in self.inner.values())]
        ports = sorted({port for port, _ in self.entries})
        said = {f"h_{agent}": "!H" for agent in self.agents}
        said |= {f"t_{agent}": "!T" for agent in self.heard} | {f"k_{agent}": "!K" for agent in self.asked}
        outputs = ["!M", *said.values()]
        types = f"({', '.join('!int' for _ in ports)}) -> ({', '.join(outputs)})"
        types = types.replace("(!int)", "!int").replace("(!M)", "!M")
        lines = [TYPES, *self._declared(top), *bodies]
        lines += [f"let main : {types} = plumb({', '.join([*ports, 'o', *said])}) {{"]
        lines += self._spawned(top)
        lines += [
            f'  {port} ; map({{id: value, n: value, steps: 0, path: "{number}"}}) ; {self._in(place)}'
            for number, (port, place) in enumerate(self.entries)
        ]
        lines += self._wired(top, "o")
        lines += [f"  {agent} ; map({{id: id, seen: seen, last: last}}) ; h_{agent}" for agent in self.agents]
        lines += [
            f'  {agent}@telemetry ; filter(kind = "output") ; map({{id: content.id}}) ; t_{agent}'
            for agent in self.heard
        ]
        for agent in self.asked:
            lines.append(f"  {ports[0]} ; map({{get_memory: true, resume: true}}) ; {agent}@ctrl_in")
            lines.append(f'  {agent}@ctrl_out ; filter(kind = "resume_ack") ; map({{kind: kind}}) ; k_{agent}')
        return "\n".join([*lines, "}"])

    def _body(self, name: str) -> str:
        inner = self.inner[name]
        lines = [*self._declared(inner), f"let {name} : !M -> !M = plumb(a, b) {{", *self._spawned(inner)]
        lines += [f"  a ; {self._in(inner[0])}", *self._wired(inner, "b")]
        return "\n".join([*lines, "}"])

    def _declared(self, places: list[str]) -> Iterator[str]:
        python = f'python {{ call: "{HERE}:step" }}'
        for name in places:
            match self.places[name]:
                case "step":
                    yield f"let {name} : !M -> !M = map({_STEPPED})"
                case "worker" | "channels":
                    yield f"let {name} : !M -> !M = {python}"
                case "spread":
                    yield f'let {name} : !M -> !M = python {{ call: "{HERE}:spread" }}'
                case "agent":
                    takes = "(!M, !{ get_memory: bool, resume: bool })" if name in self.asked else "!M"
                    yield f'let {name} : {takes} -> !R = agent {{ provider: "scripted" script: "{HERE}:answer" }}'
                case "diamond":
                    yield f"let {name}_head : !M -> !M = {python}"
                    for side, kind in zip("lr", self.sides[name], strict=True):
                        yield f"let {name}_{side} : !M -> !M = {python if kind == 'worker' else f'map({_STEPPED})'}"
                    yield f"let {name} : !M -> !M = plumb(a, b) {{"
                    yield f"  a ; {name}_head ; ({name}_l * {name}_r) ; barrier ; {_JOINED} ; b\n}}"

    def _spawned(self, places: list[str]) -> Iterator[str]:
        for name in places:
            if self.places[name] == "channels":
                yield f"  let {name}_in : !M = channel\n  let {name}_out : !M = channel"
                yield f"  spawn {name}(input={name}_in, output={name}_out)"

    def _wired(self, places: list[str], out: str) -> Iterator[str]:
        for way in self.ways:
            if way.source in places:
                chosen = f"n % {way.modulus} = {way.remainder} && steps < {self.steps_max}"
                target = out if way.target not in places else self._in(way.target)
                kept = "id: id, n: n, steps: steps + 1"
                marked = f'map({{{kept}, path: path + "{way.name}"}})'
                yield f"  {self._out(way.source)} ; filter({chosen}) ; {marked} ; {target}"
        for place in places:
            end = "map({id: id, n: n, steps: steps, path: path}) ; " if self.places[place] == "agent" else ""
            yield f"  {self._out(place)} ; filter(steps = {self.steps_max}) ; {end}{out}"

    def _in(self, place: str) -> str:
        return f"{place}_in" if self.places[place] == "channels" else place

    def _out(self, place: str) -> str:
        return f"{place}_out" if self.places[place] == "channels" else place

    # --- by a direct computation ---

    @property
    def requests(self) -> int:
        """How often an agent is asked for an acknowledgement."""
        first = min(port for port, _ in self.entries)
        return sum(port == first for port, _ in self.inputs)

    @cached_property
    def direct(self) -> Counter[Moved]:
        """What has to come out, counted."""
        return self._followed(self.inputs)[0]

    @property
    def visits(self) -> int:
        """How often a message is at a place."""
        return self._visits(self.inputs)

    def _visits(self, inputs: list[tuple[str, int]]) -> int:
        return self._followed(inputs)[1]

    def _followed(self, inputs: list[tuple[str, int]]) -> tuple[Counter[Moved], int]:
        out: Counter[Moved] = Counter()
        visits = 0
        at: deque[tuple[str, Moved, int]] = deque(
            (place, Moved(id_, id_, str(number)), 0)
            for port, id_ in inputs
            for number, (entry, place) in enumerate(self.entries)
            if entry == port
        )
        while at:
            place, message, steps = at.popleft()
            visits += 1
            if visits > MESSAGES_MAX:
                break
            for result in self._done(place, message):
                at.extend(self._onward(place, result, steps, out))
        return out, visits

    def _done(self, place: str, message: Moved) -> Iterator[Moved]:
        id_, n, path = message
        match self.places[place]:
            case "body":
                yield message  # it goes in; what comes out goes on from there
            case "spread":
                for given in spread({"id": id_, "n": n, "path": path}):
                    yield Moved(id_, given["n"], given["path"])
            case "diamond":
                yield Moved(id_, moved(moved(n)), f"{path}<>")
            case _:
                yield Moved(id_, moved(n), path)

    def _onward(self, place: str, message: Moved, steps: int, out: Counter[Moved]) -> Iterator[tuple[str, Moved, int]]:
        if self.places[place] == "body":
            yield self.inner[place][0], message, steps
        else:
            yield from self._leaving(place, message, steps, out)

    def _leaving(self, place: str, message: Moved, steps: int, out: Counter[Moved]) -> Iterator[tuple[str, Moved, int]]:
        body = next((name for name, inner in self.inner.items() if place in inner), None)
        if steps == self.steps_max:
            if body is None:
                out[message] += 1
            else:
                yield from self._leaving(body, message, steps, out)
            return
        for way in self.ways:
            if way.source == place and message.n % way.modulus == way.remainder:
                gone = message._replace(path=message.path + way.name)
                if way.target == "o":
                    out[gone] += 1
                elif way.target == body:
                    yield from self._leaving(body, gone, steps + 1, out)
                else:
                    yield way.target, gone, steps + 1


_JOINED = (
    "filter(value[0].id = value[1].id && value[0].path = value[1].path)"
    ' ; map({id: value[0].id, n: value[0].n, steps: value[0].steps, path: value[0].path + "<>"})'
)
_STEPPED = f"{{id: id, n: (n * 3 + 1) % {MODULUS}, steps: steps, path: path}}"
