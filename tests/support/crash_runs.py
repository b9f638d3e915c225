"""One run of a random graph in which processes die, held against the run in which none does."""

from __future__ import annotations

__all__ = [
    "FAULT_KINDS",
    "GRAPHS",
    "Digest",
    "Outcome",
    "faults_of",
    "prepared",
    "reference",
    "run_case",
    "simulated",
    "wrong_with",
]

import hashlib
import random
from collections import Counter, defaultdict
from functools import lru_cache
from typing import Any, NamedTuple, get_args
from zlib import crc32

import msgspec
import random_graphs
import trio
from plans import plan_of
from random_graphs import Graph, History, Moved

from fabric.plan.plan import Plan
from fabric.plan.replicas import MARK, Replicas, replicated
from fabric.session.events import Command, Event, Send
from fabric.session.settings import Settings, WorkerSettings
from fabric.session.spans import About
from fabric.testing import (
    Faults,
    Phase,
    Process,
    ProcessRecord,
    Restart,
    Runner,
    Simulated,
    Watch,
    draw_faults,
    function_runner,
    run_seeded,
    simulate,
)
from fabric.wire.codec import decode, encode
from fabric.wire.frame import Data, Eof, Marker
from fabric.wire.spec import WorkerSpec
from plumb_agent.logs import Logger
from plumb_agent.worker import open_ports, run_worker

SETTINGS = Settings(grace_s=1_000.0, restarts_max=1_000, redeliveries_max=1_000)
"""No crash is one too many, and no stall too long: what is looked for is what is lost on the way."""

QUEUES = (1, 2, 10, SETTINGS.queue)
"""How many messages may wait in a place: with one, whatever can wait for another does."""


def settings_of(seed: int, plan: Plan) -> Settings:
    """Return how the run with this seed is run: bounds, and for whom silence is the end."""
    rng = random.Random(f"settings {seed}")
    impatient = {worker.name: WorkerSettings(idle_timeout_s=60.0) for worker in plan.workers if rng.random() < 0.2}
    return msgspec.structs.replace(SETTINGS, queue=rng.choice(QUEUES), workers=impatient)


VIRTUAL_S_MAX = 100_000.0
"""Simulated time in which a run has to end. It would be hours; it takes none."""

GRAPHS = 2_000
"""Seeds share graphs, for what a graph gives without faults has to be computed once for each."""


# --- workers ----------------------------------------------------------------------------------------------------------


async def simple_worker(spec: WorkerSpec, process: Process, endpoints: dict[str, str]) -> int:
    """A python worker as PROTOCOL.md has it at the least: no batches, each frame by itself, after a random while."""
    rng = random.Random(endpoints["output"])
    function = FUNCTIONS[spec.config["call"]]
    source = process.receiver(endpoints["input"], bind=False)
    sink = process.sender(endpoints["output"], bind=True)
    ctrl_in = process.receiver(endpoints["ctrl_in"], bind=False)
    ctrl_out = process.sender(endpoints["ctrl_out"], bind=True)
    ctrl_out.send_nowait(encode(Data(spec.name, b'{"status":"ready"}')))
    open_ = True
    while open_:
        for raw in await source.receive():
            match decode(raw):
                case Data(_, payload):
                    await trio.sleep(rng.random())
                    given = function(msgspec.json.decode(payload))
                    for message in [given] if isinstance(given, dict) else given:
                        sink.send_nowait(encode(Data(spec.name, msgspec.json.encode(message))))
                        await trio.sleep(rng.choice((0.0, rng.random())))
                case Marker(_, marker):
                    sink.send_nowait(encode(Marker(spec.name, marker)))
                case Eof():
                    sink.send_nowait(encode(Eof(spec.name)))
                    open_ = False
    over = False
    while not over:
        for raw in await ctrl_in.receive():
            if b'"announce"' in raw:
                return 1  # nobody is left who would end it in order
            over = isinstance(decode(raw), Eof)
    ctrl_out.send_nowait(encode(Eof(spec.name)))
    return 0


async def agent(spec: WorkerSpec, process: Process, endpoints: dict[str, str]) -> int:
    """Our agent; what it takes from chance and the clock is the same each time."""
    rng = random.Random(f"{endpoints['output']} {process.number}")
    logger = Logger(lambda line: process.complain(line.decode().rstrip("\n")))
    ports = open_ports(process, endpoints)
    return await run_worker(spec, ports, logger=logger, clock=trio.current_time, new_id=rng.randbytes)


async def slow_step(message: dict[str, Any]) -> dict[str, Any]:
    await trio.sleep(len(message["path"]) % 5 / 10)
    return random_graphs.step(message)


FUNCTIONS = {f"random_graphs:{name}": getattr(random_graphs, name) for name in ("step", "spread")}
PYTHON: list[Runner] = [
    simple_worker,
    function_runner(FUNCTIONS),
    function_runner(FUNCTIONS | {"random_graphs:step": slow_step}),
]


async def some_python(spec: WorkerSpec, process: Process, endpoints: dict[str, str]) -> int:
    """One of three ways to be a python worker; the name decides, so that each process of it is alike."""
    return await PYTHON[crc32(spec.name.encode()) % len(PYTHON)](spec, process, endpoints)


RUNNERS: dict[str, Runner] = {"python": some_python, "agent": agent}


# --- runs -------------------------------------------------------------------------------------------------------------


class Digest:
    """All that happened in a session, as a number: each event, its time, each command."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def __call__(self, now_s: float, event: Event, commands: list[Command]) -> None:
        for what in (event, *commands):
            self._hash.update(f"{now_s} {type(what).__name__} ".encode() + msgspec.msgpack.encode(what))

    def __str__(self) -> str:
        return self._hash.hexdigest()


@lru_cache(maxsize=16)
def prepared(graph_seed: int, *, shared: bool = False) -> tuple[Graph, Plan]:
    """Return a graph and its plan; ``shared``: with one to four replicas of each worker that may have some."""
    graph = Graph(graph_seed)
    plan = plan_of(graph.text())
    if shared:
        rng = random.Random(f"replicas {graph_seed}")
        stateless = [worker.name for worker in plan.workers if worker.spec.kind == "python"]
        plan = replicated(plan, {name: Replicas(rng.randint(1, 4)) for name in stateless})
    return graph, plan


def moved_outside(plan: Plan, names: frozenset[str]) -> Plan:
    """Let somebody else start these workers."""
    workers = tuple(
        msgspec.structs.replace(worker, runner="external", spec=msgspec.structs.replace(worker.spec, fenced=True))
        if worker.name in names
        else worker
        for worker in plan.workers
    )
    return msgspec.structs.replace(plan, workers=workers)


def simulated(
    graph_seed: int,
    seed: int,
    faults: Faults,
    settings: Settings = SETTINGS,
    watch: Watch | None = None,
    traced: About | None = None,
    *,
    shared: bool = False,
    outside: frozenset[str] = frozenset(),
) -> Simulated:
    """Run a graph.

    Args:
        shared: whether workers have replicas.
        outside: the workers that somebody else starts.
    """
    graph, plan = prepared(graph_seed, shared=shared)
    plan = moved_outside(plan, outside)
    inputs = [(port, str(id_).encode()) for port, id_ in graph.inputs]

    async def run() -> Simulated:
        with trio.fail_after(VIRTUAL_S_MAX):
            how = {"settings": settings, "seed": seed, "faults": faults, "watch": watch, "traced": traced}
            return await simulate(plan, inputs, runners=RUNNERS, **how)

    return run_seeded(run, seed)


class Reference(NamedTuple):
    """What a graph does without faults: its processes, and what is wrong even then."""

    processes: tuple[ProcessRecord, ...]
    wrong: list[str]


@lru_cache(maxsize=64)
def reference(graph_seed: int, *, shared: bool = False) -> Reference:
    """Run a graph without faults."""
    done = simulated(graph_seed, graph_seed, Faults(), shared=shared)
    return Reference(done.processes, wrong_with(graph_seed, done))


FAULT_KINDS = (
    *get_args(Phase),
    "with frames on their way",
    "in a later process",
    "with status 0",
    "told late",
    "stalled",
    "started anew by hand",
)
"""What is counted: the phase of each crash, what else was true of it, and what is none."""


class Outcome(NamedTuple):
    """What came of one seed.

    Attributes:
        seed: it.
        graph_seed: its graph.
        wrong: what should not be, in words.
        hit: how often each kind of fault came true.
    """

    seed: int
    graph_seed: int
    wrong: list[str]
    hit: Counter[str]


def faults_of(seed: int, crashes: int, graph_seed: int, *, shared: bool = False) -> Faults:
    """Return what goes wrong in the run with this seed; where nobody forgets anything by it, some are started anew."""
    processes = reference(graph_seed, shared=shared).processes
    faults = draw_faults(seed, processes, crashes)
    if prepared(graph_seed)[0].agents:
        return faults
    rng = random.Random(f"restarts {seed}")
    names = [process.worker for process in processes]
    if shared:  # all replicas of one at once, too
        names += [name.partition(MARK)[0] for name in names]
    restarts = [Restart(rng.choice(names), rng.expovariate(0.2)) for _ in range(rng.randint(0, 2))]
    return msgspec.structs.replace(faults, restarts=tuple(restarts))


def run_case(
    seed: int,
    crashes: int = 3,
    graph_seed: int | None = None,
    watch: Watch | None = None,
    *,
    shared: bool = False,
) -> Outcome:
    """Run the graph of a seed with the faults of that seed, and say what is wrong with what came out.

    Args:
        seed: of the faults.
        crashes: at most.
        graph_seed: of the graph, if not the seed's own.
        watch: sees all that happens.
        shared: with replicas.
    """
    if graph_seed is None:
        graph_seed = seed % GRAPHS
    if wrong := reference(graph_seed, shared=shared).wrong:
        return Outcome(seed, graph_seed, [f"without faults: {text}" for text in wrong], Counter())
    faults = faults_of(seed, crashes, graph_seed, shared=shared)
    settings = settings_of(seed, prepared(graph_seed, shared=shared)[1])
    dealt = Dealt(watch)
    try:
        done = simulated(graph_seed, seed, faults, settings, dealt if shared else watch, shared=shared)
    except trio.TooSlowError:
        return Outcome(seed, graph_seed, [f"has not ended after {VIRTUAL_S_MAX:g} simulated seconds"], Counter())
    return Outcome(seed, graph_seed, wrong_with(graph_seed, done), hits(faults, done) + dealt.hit)


class Dealt:
    """Counts what replicas were given. Args: who else looks on."""

    def __init__(self, watch: Watch | None) -> None:
        self.hit: Counter[str] = Counter()
        self._watch = watch

    def __call__(self, now_s: float, event: Event, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Send) and command.port == "input" and MARK in command.worker:
                self.hit[f"given to replica {command.worker.partition(MARK)[2]}"] += 1
        if self._watch is not None:
            self._watch(now_s, event, commands)


def hits(faults: Faults, done: Simulated) -> Counter[str]:
    """Count the faults that came true."""
    hit: Counter[str] = Counter()
    late = {(crash.worker, crash.incarnation) for crash in faults.crashes if crash.told_after_s}
    taken = {(record.worker, record.incarnation): record.steps for record in done.processes}
    hit["stalled"] = sum(taken.get((stall.worker, stall.incarnation), 0) >= stall.step for stall in faults.stalls)
    anew = [note for note in done.notes if note.event == "worker.stopped" and note.fields["reason"] == "restart"]
    hit["started anew by hand"] = len(anew)
    for record in done.processes:
        if record.phase is not None:
            hit[record.phase] += 1
            hit["with frames on their way"] += record.cut > 0
            hit["in a later process"] += record.incarnation > 1
            hit["with status 0"] += record.status == 0
            hit["told late"] += (record.worker, record.incarnation) in late
    return hit


def wrong_with(graph_seed: int, done: Simulated) -> list[str]:
    """Say what should not be: each output exactly once, in order; memories whole; everything settled; a clean end."""
    graph, _ = prepared(graph_seed)
    wrong = []
    losses = done.finish.losses
    if (done.finish.exit_code, done.finish.error) != (0, None):
        wrong.append(f"it ended with {done.finish.exit_code}, {done.finish.error}")
    if losses.lost or losses.dead_lettered or losses.unpaired or done.refusals:
        wrong.append(f"losses: {losses}; {len(done.refusals)} refused")
    out = [_moved(payload) for port, payload in done.outputs if port == "o"]
    expected = graph.direct
    if missing := expected - Counter(out):
        wrong.append(f"{missing.total()} outputs are missing: {_some(missing)}")
    if surplus := Counter(out) - expected:
        wrong.append(f"{surplus.total()} outputs too many: {_some(surplus)}")
    paths: defaultdict[str, list[int]] = defaultdict(list)
    for message in out:
        paths[message.path].append(message.id)
    wrong += [f"path {path} out of order: {ids}" for path, ids in paths.items() if ids != sorted(ids)]
    for name in graph.agents:
        said = [History(**msgspec.json.decode(payload)) for port, payload in done.outputs if port == f"h_{name}"]
        wrong += _wrong_history(name, said)
        if name in graph.heard:
            told = [msgspec.json.decode(payload)["id"] for port, payload in done.outputs if port == f"t_{name}"]
            if told != [history.id for history in said]:
                wrong.append(f"{name} told {told} of {[history.id for history in said]}")
    for name in graph.asked:
        replies = sum(port == f"k_{name}" for port, _ in done.outputs)
        again = any(record.worker == name and record.incarnation > 1 for record in done.processes)
        if replies < graph.requests or (replies > graph.requests and not again):
            wrong.append(f"{name} was asked {graph.requests} times, and answered {replies} times")
    if sorted(done.settled) != list(range(1, len(graph.inputs) + 1)):
        wrong.append(f"settled: {done.settled}")
    return wrong


def _wrong_history(name: str, said: list[History]) -> list[str]:
    """An agent's answers are one conversation: each knows of all before it."""
    last = 0
    for number, history in enumerate(said):
        if (history.seen, history.last) != (number, last):
            return [f"{name} remembers {history.seen} messages, the last {history.last}; it had {number}, last {last}"]
        last = history.id
    return []


def _moved(payload: bytes) -> Moved:
    fields = msgspec.json.decode(payload)
    return Moved(fields["id"], fields["n"], fields["path"])


def _some(counted: Counter[Moved]) -> str:
    return ", ".join(map(str, list(counted)[:3]))
