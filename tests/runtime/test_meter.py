"""What is counted of what a session tells: by worker what is a process's, by node what is the program's."""

from __future__ import annotations

from typing import Any

import msgspec
from plans import plan_of

from fabric.plan.replicas import Replicas, replicated
from fabric.runtime.meter import EXITS, Meter
from fabric.session.events import Note
from fabric.wire.lifecycle import BROKE_OFF

ONE = 'let f : !int -> !int = python { call: "m:f" }\nlet main : !int -> !int = plumb(i, o) { i ; f ; o }\n'


def meter(*, replicas: int = 1, runner: str = "process") -> Meter:
    plan = replicated(plan_of(ONE), {"f": Replicas(replicas)}) if replicas > 1 else plan_of(ONE)
    workers = tuple(msgspec.structs.replace(worker, runner=runner) for worker in plan.workers)
    return Meter(msgspec.structs.replace(plan, workers=workers))


def told(counts: Meter, *events: tuple[str, dict[str, Any]]) -> None:
    for event, fields in events:
        counts.noted(Note("info", event, fields))


def counted(counts: Meter, name: str) -> dict[tuple[str, ...], Any]:
    """Return what was counted of a metric, without what was not."""
    return {one.labels: one.value for one in counts.samples() if one.name == name and one.value}


AWAITED = ("worker.awaited", {"worker": "f", "host": "b"})
READY = ("worker.ready", {"worker": "f"})
GONE = ("worker.disconnected", {"worker": "f", "state": "RUNNING"})


def test_a_worker_that_somebody_else_starts_is_lost_and_comes_back():
    """Its connection that breaks off is an end; that it is there again is a start."""
    counts = meter(runner="external")
    told(counts, AWAITED, READY)
    assert (counted(counts, "fabric_worker_exits_total"), counts.lost) == ({}, frozenset())
    told(counts, GONE, AWAITED)
    assert counts.lost == {"f"}
    assert counted(counts, "fabric_worker_exits_total") == {("f", "lost"): 1}
    told(counts, READY)
    assert counts.lost == frozenset()
    assert counted(counts, "fabric_worker_starts_total") == {("f",): 2}


def test_a_connection_to_a_worker_that_was_never_there_is_no_end_of_it():
    """It is opened again and again, until somebody starts it."""
    counts = meter(runner="external")
    told(counts, AWAITED, GONE, AWAITED, GONE, AWAITED)
    assert (counted(counts, "fabric_worker_exits_total"), counts.lost) == ({}, frozenset())
    told(counts, READY)
    assert counted(counts, "fabric_worker_starts_total") == {("f",): 1}


def test_a_worker_that_somebody_else_starts_may_leave_in_order():
    """That is no loss; what breaks off while the session fails is one."""
    counts = meter(runner="external")
    told(counts, READY, ("worker.exited", {"worker": "f", "status": 0}))
    told(counts, READY, ("worker.exited", {"worker": "f", "status": BROKE_OFF}))
    assert counted(counts, "fabric_worker_exits_total") == {("f", "ok"): 1, ("f", "lost"): 1}


def test_dead_letters_and_calls_of_models_are_the_nodes():
    """Whichever replica it was; each reason and node is there from the start, and no other."""
    counts = meter(replicas=2)
    before = {one.labels for one in counts.samples() if one.name == "fabric_dead_letters_total"}
    assert {worker for worker, _ in before} == {"f"}
    told(counts, ("message.dead_lettered", {"worker": "f", "reason": "poison"}))
    for replica in ("f#1", "f#2"):
        counts.worker_wrote(replica, '{"log":"warning","event":"llm_retried","code":"overloaded"}')
    assert {one.labels for one in counts.samples() if one.name == "fabric_dead_letters_total"} == before
    assert counted(counts, "fabric_dead_letters_total") == {("f", "poison"): 1}
    assert counted(counts, "fabric_llm_requests_total") == {("f", "", "", "overloaded"): 2}


def test_processes_are_told_by_replica():
    """Each has its own."""
    counts = meter(replicas=2)
    told(counts, ("worker.spawned", {"worker": "f#1", "pid": None}), ("worker.exited", {"worker": "f#1", "status": -9}))
    assert counted(counts, "fabric_worker_starts_total") == {("f#1",): 1}
    assert counted(counts, "fabric_worker_exits_total") == {("f#1", "signal"): 1}
    exits = {one.labels for one in counts.samples() if one.name == "fabric_worker_exits_total"}
    assert exits == {(name, how) for name in ("f#1", "f#2") for how in EXITS}
