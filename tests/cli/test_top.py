"""What ``top`` shows, to the letter."""

from __future__ import annotations

from fabric.cli.top import Look, TopChannel, TopWorker, compare, render_top
from fabric.runtime.service_protocol import Status, WorkerStatus

BEFORE = Look(
    100.0,
    Status(
        "ready", (WorkerStatus("a", "ready", 10, 10, 0, 0), WorkerStatus("b", "ready", 9, 8, 0, 1)), channels={"c": 4}
    ),
    {"a": 1, "b": 2},
    {"a": 1.0, "b": 1.0},
    {"a": 2**20, "b": 2**20},
)
NOW = Look(
    102.0,
    Status(
        "ready",
        (
            WorkerStatus("a", "busy", 20, 15, 3, 5, still_s=0.5),
            WorkerStatus("b", "ready", 8, 8, 0, 0, still_s=75.0, waits_on=("a",)),
        ),
        channels={"c": 14},
    ),
    {"a": 1, "b": 7},
    {"a": 1.5, "b": 0.25},
    {"a": 2**21, "b": 2**20},
)


def test_two_looks_make_rates():
    """A process that is another one has used no time that can be told, and nobody takes a message back."""
    top = compare("demo", BEFORE, NOW)
    assert top.interval_s == 2.0
    assert top.workers == (
        TopWorker("a", "busy", 1, 5.0, 2.5, 8, 5, 0.5, (), 25.0, 2**21),
        TopWorker("b", "ready", 7, 0.0, 0.0, 0, 0, 75.0, ("a",), None, 2**20),
    )
    assert top.channels == (TopChannel("c", 14, 5.0),)


def test_they_are_two_tables():
    """Workers, channels."""
    assert render_top(compare("demo", BEFORE, NOW)) == [
        "demo · ready",
        "WORKER  STATE  PID  IN/s  OUT/s  QUEUE  STILL  WAITING ON  CPU   MEM",
        "a       busy   1    5.0   2.5    8      0s     itself, 0s  25 %  2 MiB",
        "b       ready  7    0.0   0.0    0      1m15s  a           -     1 MiB",
        "",
        "CHANNEL  MESSAGES  /s",
        "c        14        5.0",
    ]
