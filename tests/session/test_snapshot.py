"""How a session stands, as data."""

from __future__ import annotations

import random

from plans import plan_of

from fabric.session.events import Frames, Input, InputClosed, Launched, Start
from fabric.session.session import Session, Settings
from fabric.session.snapshot import Snapshot, WorkerSnapshot, waits_on
from fabric.wire.codec import encode
from fabric.wire.control import READY
from fabric.wire.frame import Data, Marker

ONE = 'let f : !int -> !int = python { call: "m:f" }\nlet main : !int -> !int = plumb(i, o) { i ; f ; o }\n'


def stands(session: Session) -> WorkerSnapshot:
    (worker,) = session.snapshot().workers
    return worker


def test_a_worker_is_starting_ready_busy_and_draining():
    """Given, answered, waiting for it, with it: its window is 64."""
    session = Session(plan_of(ONE), Settings(), random.Random(1))
    session.handle(Start(), 0.0)
    session.handle(Launched("f", 7), 0.0)
    session.handle(Input("i", [(1, b"1")]), 0.0)
    assert stands(session) == WorkerSnapshot("f", "starting", 0, 0, 1, 0, oldest_s=0.0)
    session.handle(Frames("f", "ctrl_out", [encode(Data("f", READY))]), 0.0)
    session.handle(Frames("f", "output", [encode(Marker("f", "probe/f/1"))]), 0.0)
    assert stands(session) == WorkerSnapshot("f", "busy", 1, 0, 0, 1, oldest_s=0.0)
    for ticket in range(2, 70):
        session.handle(Input("i", [(ticket, b"1")]), 0.0)
    assert stands(session) == WorkerSnapshot("f", "busy", 64, 0, 5, 64, oldest_s=0.0)
    for seq in range(1, 70):
        session.handle(Frames("f", "output", [encode(Marker("f", f"ack/f/1/{seq}"))]), 0.0)
    assert stands(session) == WorkerSnapshot("f", "ready", 69, 69, 0, 0)
    session.handle(InputClosed(), 0.0)
    assert stands(session).activity == "draining"


def test_an_idle_worker_waits_on_the_sides_of_a_barrier_that_are_empty():
    """Steps that need no worker are looked through."""
    plan = plan_of(
        'let a : !int -> !int = python { call: "m:f" }\n'
        'let b : !int -> !int = python { call: "m:f" }\n'
        'let c : !(int, int) -> !int = python { call: "m:f" }\n'
        "let main : !int -> !int = plumb(i, o) {\n"
        "  i ; a\n  i ; b\n  (a * b) ; barrier ; c\n  c ; map(value + 1) ; o\n}\n"
    )
    (barrier,) = (node.id for node in plan.graph.nodes.values() if node.kind == "barrier")
    first, second = (port.name for port in plan.graph.nodes[barrier].inputs)
    assert waits_on(plan, Snapshot((), {barrier: {first: 0, second: 0}}), "c") == ("a", "b")
    assert waits_on(plan, Snapshot((), {barrier: {first: 3, second: 0}}), "c") == ("b",)
    assert waits_on(plan, Snapshot((), {barrier: {first: 0, second: 3}}), "c") == ("a",)
    assert waits_on(plan, Snapshot(()), "a") == ("i",)


def test_a_worker_on_a_loop_waits_on_all_that_may_feed_it():
    """Itself, too."""
    plan = plan_of(
        'let f : !int -> !int = python { call: "m:f" }\n'
        "let main : !int -> !int = plumb(i, o) {\n  i ; f\n  f ; filter(value > 0) ; f\n"
        "  f ; filter(value <= 0) ; o\n}\n"
    )
    assert set(waits_on(plan, Snapshot(()), "f")) == {"i", "f"}
