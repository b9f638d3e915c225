"""What a hop costs: our relay beside a blocking one of bare pyzmq, in one run.

    python tests/benchmarks/relay.py [--json] [--messages N] [--rounds N] [--before CHECKOUT]

A source process pushes frames of 1 KiB of JSON over ipc to a relay process, which pushes them to a sink process. The
yardstick relays with a blocking ``recv`` and ``send``. Ours runs under trio on :mod:`fabric.transport`:

identity    frames go on as they came
validated   split, decoded and checked by a session that has one channel, sent on as the same bytes
fused N     the same with N maps in the channel: decoded once, computed, encoded once

Then the latency of one hop at 500 messages a second, that of a quiet channel beside a flooded one in the same relay,
and the rate of an echo worker behind the session: without promises, with messages validated, with commit markers; with
all of these over TCP instead of ipc, and over TCP with keys.

Rates are medians of rounds in which the ways take turns, so that what else the machine does falls on all of them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from ctypes import c_uint64
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import trio
import zmq

from fabric.compiler import compile_file
from fabric.launch.process import open_launcher
from fabric.plan.place import Host, Placement, place
from fabric.plan.plan import Plan, WorkerPlan
from fabric.runtime.coordinator import Coordinator
from fabric.session.events import (
    Answered,
    Approval,
    DeadLetter,
    Deliver,
    Heard,
    Input,
    Note,
    Outcome,
    Output,
    Refuse,
    Seen,
    Start,
)
from fabric.session.session import Session, Settings
from fabric.transport.gate import Gate
from fabric.transport.ports import Receiver, Sender
from fabric.transport.sockets import make_key_pair, open_sockets
from fabric.wire.codec import decode, encode_traced
from fabric.wire.spec import WorkerKey

AHEAD_MAX = 4_000
"""Frames that the source may be ahead of the sink: what a window does in earnest. Otherwise queues fill the memory."""

WINDOW_CHECK = 64
"""The source looks at the sink's count once in so many frames."""

PACED_S = 0.002
"""Between two messages when latency is measured."""

CHAINS = (1, 4, 8)

ORDER = {
    "id": 1,
    "customer": "c-4711",
    "note": "x" * 700,
    "lines": [{"sku": f"sku-{i}", "count": i, "price": 9.5} for i in range(4)],
    "total": 38,
    "paid": False,
}

TYPES = """
type Line = { sku: string, count: int, price: number }
type Order = { id: int, customer: string, note: string, lines: [Line], total: int, paid: bool }
"""

FIELDS = "id: id, customer: customer, note: note, lines: lines, total: total + 1, paid: paid"

spawn = multiprocessing.get_context("spawn")


def program(maps: int) -> str:
    """Return a program with so many maps between input and output."""
    chain = " ; ".join(["input", *(["map({" + FIELDS + "})"] * maps), "output"])
    return TYPES + f"let main : !Order -> !Order = plumb(input, output) {{ {chain} }}\n"


ECHO = TYPES + (
    'let echo : !Order -> !Order = python { call: "echo:echo" }\n'
    "let main : !Order -> !Order = plumb(input, output) { input ; echo ; output }\n"
)


UNTYPED = ECHO.replace("!Order", "!json")


def plan_of(text: str, directory: Path) -> Plan:
    """Compile a program."""
    path = directory / "main.plumb"
    path.write_text(text)
    (directory / "echo.py").write_text("def echo(order):\n    return order\n")
    plan, _ = compile_file(path, run_directory=str(directory))
    return plan


# --- The processes ------------------------------------------------------------------------------------------------


def source(endpoint: str, sunk: Any, messages: int, paced_s: float) -> None:
    """Push frames; those of a paced one carry the time in their span id."""
    socket = zmq.Context().socket(zmq.PUSH)
    socket.bind(endpoint)
    payload = msgspec.json.encode(ORDER)
    frame = encode_traced("source", payload, bytes(16), bytes(8), 1, b"")
    for sent in range(messages):
        if paced_s:
            time.sleep(paced_s)
            frame = encode_traced("source", payload, bytes(16), time.monotonic_ns().to_bytes(8), 1, b"")
        elif sent % WINDOW_CHECK == 0:
            while sent - sunk.value > AHEAD_MAX:
                time.sleep(0.0005)
        socket.send(frame)
    time.sleep(3600)


def sink(endpoint: str, sunk: Any, messages: int, results: Any) -> None:
    """Pull frames; tell how many a second there were after the first, and how old they were, in microseconds."""
    socket = zmq.Context().socket(zmq.PULL)
    socket.connect(endpoint)
    socket.recv()
    started_s = time.perf_counter()
    ages = []
    span = slice(4 + len("source") + 18, 4 + len("source") + 26)
    for count in range(1, messages):
        frame = socket.recv()
        ages.append(time.monotonic_ns() - int.from_bytes(frame[span]))
        if count % WINDOW_CHECK == 0:
            sunk.value = count
    results.put((messages / (time.perf_counter() - started_s), sorted(age / 1000 for age in ages)))
    time.sleep(3600)


def blocking_relay(channels: Sequence[tuple[str, str]], _: str) -> None:
    """Relay one channel with a blocking loop: the yardstick."""
    ((pull_from, push_to),) = channels
    context = zmq.Context()
    puller, pusher = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    pusher.bind(push_to)
    puller.connect(pull_from)
    while True:
        pusher.send(puller.recv())


def our_relay(channels: Sequence[tuple[str, str]], kind: str) -> None:
    """Relay channels on our transport; ``kind`` is ``identity`` or the number of maps in the session."""
    trio.run(_relay, channels, kind)


async def _relay(channels: Sequence[tuple[str, str]], kind: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with open_sockets() as transport, trio.open_nursery() as nursery:
            for pull_from, push_to in channels:
                sender = transport.sender(push_to, bind=True)
                receiver = transport.receiver(pull_from, bind=False)
                if kind == "identity":
                    nursery.start_soon(_pump, receiver, sender)
                else:
                    plan = plan_of(program(int(kind)), Path(directory))
                    nursery.start_soon(_through_session, plan, receiver, sender)


async def _pump(receiver: Receiver, sender: Sender) -> None:
    while True:
        for raw in await receiver.receive():
            sender.send_nowait(raw)


async def _through_session(plan: Plan, receiver: Receiver, sender: Sender) -> None:
    session = Session(plan, Settings(), random.Random(1))
    session.handle(Start(), 0.0)
    seq = 0
    while True:
        frames = [decode(raw) for raw in await receiver.receive()]
        origins = [frame.provenance for frame in frames]
        event = Input("input", [(number, frame.payload) for number, frame in enumerate(frames)])
        for command in session.handle(event, trio.current_time()):
            if isinstance(command, Deliver):
                for output in command.outputs:
                    seq += 1
                    origin = origins[output.tickets[0]]
                    raw = encode_traced("source", output.payload, origin.trace_id, origin.span_id, seq, origin.parents)
                    sender.send_nowait(raw)


# --- Measuring ----------------------------------------------------------------------------------------------------


class Hop:
    """Processes around one relay. Ends them at its end."""

    def __init__(self, relay: Callable[..., None], kind: str, channels: Sequence[tuple[int, float]]) -> None:
        self._results = [spawn.Queue() for _ in channels]
        self._directory = tempfile.TemporaryDirectory(prefix="r")
        endpoints = [
            (f"ipc://{self._directory.name}/{number}a", f"ipc://{self._directory.name}/{number}b")
            for number in range(len(channels))
        ]
        self._processes = [spawn.Process(target=relay, args=(endpoints, kind), daemon=True)]
        for (messages, paced_s), (first, second), results in zip(channels, endpoints, self._results, strict=True):
            sunk = spawn.RawValue(c_uint64, 0)
            self._processes += [
                spawn.Process(target=sink, args=(second, sunk, messages, results), daemon=True),
                spawn.Process(target=source, args=(first, sunk, messages, paced_s), daemon=True),
            ]

    def __enter__(self) -> Hop:
        for process in self._processes:
            process.start()
        return self

    def result(self, channel: int = 0) -> tuple[float, list[float]]:
        """Wait for a channel's sink: frames a second, and their ages in microseconds, ascending."""
        return self._results[channel].get(timeout=300)

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.join()
        self._directory.cleanup()


WAYS: dict[str, tuple[Callable[..., None], str]] = {
    "blocking pyzmq": (blocking_relay, ""),
    "identity": (our_relay, "identity"),
    "validated": (our_relay, "0"),
    **{f"fused {number}": (our_relay, str(number)) for number in CHAINS},
}


def rates(messages: int, rounds: int) -> dict[str, float]:
    """Return the median rate of each way, frames a second."""
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, (relay, kind) in WAYS.items():
            with Hop(relay, kind, [(messages, 0.0)]) as hop:
                found[name].append(hop.result()[0])
    return {name: statistics.median(values) for name, values in found.items()}


def latencies(messages: int, rounds: int) -> dict[str, float]:
    """Return the median age of a frame behind one hop of each way, in microseconds."""
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, (relay, kind) in WAYS.items():
            with Hop(relay, kind, [(messages, PACED_S)]) as hop:
                found[name].append(statistics.median(hop.result()[1]))
    return {name: statistics.median(values) for name, values in found.items()}


def quiet_beside_flood(messages: int, rounds: int) -> dict[str, list[float]]:
    """Return median and 99th percentile of a quiet channel's ages, in microseconds.

    Alone in our relay, beside a flooded channel in the same relay, and, since a flood keeps the machine busy whoever
    relays what, in a blocking relay of its own beside a flooded blocking relay.
    """
    quiet, flood = (messages, PACED_S), (100_000_000, 0.0)
    found: dict[str, list[list[float]]] = {}

    def note(name: str, ages: list[float]) -> None:
        found.setdefault(name, []).append([ages[len(ages) // 2], ages[int(len(ages) * 0.99)]])

    for _ in range(rounds):
        with Hop(our_relay, "0", [quiet]) as hop:
            note("alone", hop.result()[1])
        with Hop(our_relay, "0", [quiet, flood]) as hop:
            note("beside a flood in the same relay", hop.result()[1])
        with Hop(blocking_relay, "", [flood]), Hop(blocking_relay, "", [quiet]) as hop:
            note("bare pyzmq: in a relay of its own, beside a flooded one", hop.result()[1])
    return {name: [statistics.median(column) for column in zip(*values, strict=True)] for name, values in found.items()}


class _Counter:
    """The client and the report of a session: counts what comes out, hears nothing."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.count = 0
        self.done = trio.Event()

    def opened(self) -> None: ...

    def delivered(self, outputs: Sequence[Output]) -> None:
        self.count += len(outputs)
        if self.count >= self.wanted:
            self.done.set()

    def refused(self, refusal: Refuse) -> None:
        raise SystemExit(refusal.detail)

    def answered(self, answer: Answered) -> None: ...

    def asked(self, approval: Approval) -> None:
        raise SystemExit(f"asked: {approval}")

    def asked_no_more(self, approval: str, outcome: Outcome) -> None: ...

    def buried(self, letter: DeadLetter) -> None:
        raise SystemExit(letter.detail)

    def settled(self, tickets: Sequence[int]) -> None: ...

    def tapped(self, messages: Sequence[Seen]) -> None: ...

    def observed(self, heard: Sequence[Heard]) -> None: ...

    def noted(self, note: Note) -> None: ...

    def worker_wrote(self, worker: str, line: str) -> None:
        print(line, file=sys.stderr)


def _over_tcp(plan: Plan, *, keys: bool) -> tuple[Plan, str, Gate | None]:
    """Return the plan with its workers at TCP addresses of this host, the fabric's secret key, and who is let in."""
    host = Host("here", "127.0.0.1", ports=PORTS)
    plan = place(plan, Placement({"here": host}, "here", runner="external", insecure=not keys))
    fabric, own = make_key_pair(), {worker.name: make_key_pair() for worker in plan.workers}

    def given(worker: WorkerPlan) -> WorkerPlan:
        key = WorkerKey(*own[worker.name], fabric[0]) if keys else None
        spec = msgspec.structs.replace(worker.spec, key=key)
        return msgspec.structs.replace(worker, spec=spec, runner="process")

    plan = msgspec.structs.replace(plan, workers=tuple(map(given, plan.workers)))
    return plan, fabric[1], Gate({name: pair[0] for name, pair in own.items()}) if keys else None


async def _echo(messages: int, directory: Path, *, markers: bool, validated: bool = True, over: str = "ipc") -> float:
    plan = plan_of(ECHO if validated else UNTYPED, directory)
    secret, gate = "", None
    if over != "ipc":
        plan, secret, gate = _over_tcp(plan, keys=over == "tcp with keys")
    # A worker that reads batches may have four times its window.
    workers = tuple(msgspec.structs.replace(worker, compat=not markers, window=16) for worker in plan.workers)
    plan = msgspec.structs.replace(plan, workers=workers)
    payload = msgspec.json.encode(ORDER)
    client = _Counter(messages)
    async with (
        open_launcher(os.environ) as launcher,
        open_sockets(gate=gate) as transport,
        trio.open_nursery() as nursery,
    ):
        session = Session(plan, Settings(), random.Random(1))
        coordinator = Coordinator(session, transport, launcher, client, client, secret=secret)
        nursery.start_soon(coordinator.run)
        await coordinator.wait_for_room()
        started_s = time.perf_counter()
        for start in range(0, messages, 64):
            await coordinator.wait_for_room()
            await trio.lowlevel.checkpoint()
            coordinator.submit("input", [(ticket, payload) for ticket in range(start, min(start + 64, messages))])
        await client.done.wait()
        took_s = time.perf_counter() - started_s
        coordinator.close_input()
    return messages / took_s


PORTS = (21_900, 21_923)

PROMISES: dict[str, dict[str, Any]] = {
    "JSON, at most once": {"markers": False, "validated": False},
    "validated, at most once": {"markers": False, "validated": True},
    "validated, committed": {"markers": True, "validated": True},
    "validated, committed, over tcp": {"markers": True, "validated": True, "over": "tcp"},
    "validated, committed, over tcp with keys": {"markers": True, "validated": True, "over": "tcp with keys"},
}


def echo_rates(messages: int, rounds: int, before: Path | None) -> dict[str, float]:
    """Return messages a second through a coordinator and an echo worker, by what is promised.

    Args:
        messages, rounds: how many.
        before: another checkout, whose coordinator takes its turns with the last of the promises.
    """
    found: dict[str, list[float]] = {name: [] for name in PROMISES}
    for _ in range(rounds):
        for name, promise in PROMISES.items():
            with tempfile.TemporaryDirectory(prefix="r") as directory:
                found[name].append(trio.run(partial(_echo, messages, Path(directory), **promise)))
        if before is not None:
            found.setdefault("the same in the other checkout", []).append(_rate_of(before, messages))
    return {name: statistics.median(values) for name, values in found.items()}


def _rate_of(checkout: Path, messages: int) -> float:
    """Return the rate behind commit markers of another checkout."""
    paths = [str(checkout / "tests" / "benchmarks"), str(checkout), str(checkout / "agents")]
    code = (
        f"import sys, tempfile, trio; sys.path[:0] = {paths!r}\n"
        "from functools import partial; from pathlib import Path; import relay\n"
        "with tempfile.TemporaryDirectory(prefix='r') as directory:\n"
        f"    print(trio.run(partial(relay._echo, {messages}, Path(directory), markers=True)))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}  # for the workers
    done = subprocess.run([sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, env=environment, check=True)
    return float(done.stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", type=Path, help="another checkout, to compare the coordinators")
    arguments = parser.parse_args()
    rate = rates(arguments.messages, arguments.rounds)
    latency = latencies(arguments.messages // 200, arguments.rounds)
    quiet = quiet_beside_flood(arguments.messages // 100, arguments.rounds)
    echo = echo_rates(arguments.messages // 4, arguments.rounds, arguments.before)
    if arguments.json:
        found = {"rate": rate, "p50_us": latency, "quiet_us": quiet, "echo": echo}
        print(json.dumps({"v": 1, "payload_bytes": len(msgspec.json.encode(ORDER)), **found}))
        return
    base = rate["blocking pyzmq"]
    print("| relay, 1 KiB, ipc | frames/s | of blocking pyzmq | one hop p50, µs | times blocking pyzmq |")
    print("|---|---:|---:|---:|---:|")
    for name in WAYS:
        times = latency[name] / latency["blocking pyzmq"]
        print(f"| {name} | {rate[name]:,.0f} | {rate[name] / base:.2f} | {latency[name]:.0f} | {times:.2f} |")
    print("\n| a quiet channel | p50, µs | p99, µs |\n|---|---:|---:|")
    for name, (median, high) in quiet.items():
        print(f"| {name} | {median:.0f} | {high:.0f} |")
    print("\n| echo worker behind the session, window 64 | messages/s | µs a message | beyond the line before |")
    print("|---|---:|---:|---:|")
    last_us = 0.0
    for name, value in echo.items():
        took_us = 1e6 / value
        print(f"| {name} | {value:,.0f} | {took_us:.1f} | {f'{took_us - last_us:+.1f}' if last_us else ''} |")
        last_us = took_us


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
