"""What ``ps`` shows, to the letter."""

from __future__ import annotations

import msgspec
import pytest

from fabric.cli.listing import describe, render_queues, render_table, render_wires, words
from fabric.graph.ir import End
from fabric.runtime.processes import Process
from fabric.runtime.service_protocol import QueueStatus, Status, WorkerStatus
from fabric.runtime.services import Outcome, Record, WorkerRecord
from fabric.wire.payload import encode_json, to_plain

STARTED = 1795258800.0
WORKERS = (
    WorkerRecord("composer", "agent", "anthropic/claude-haiku-4-5", "ready", Process(41201, "1@b"), STARTED),
    WorkerRecord("checker", "python", "checks:check", "ready", Process(41202, "2@b"), STARTED + 1),
    WorkerRecord("old", "worker", "x" * 60, "failed", Process(41203, "3@b"), STARTED, exit_status=-9),
)
RECORD = Record(
    1,
    "review",
    "/p/review.plumb",
    Process(41200, "0@b"),
    "/r/s",
    STARTED,
    "ready",
    WORKERS,
    http="http://127.0.0.1:9464",
    token_file="/p/.fabric/run/review.token",
)
STATUS = Status(
    "ready",
    (
        WorkerStatus("composer", "busy", 14, 13, 2, 1, still_s=3.2, oldest_age_s=7.5),
        WorkerStatus("checker", "ready", 13, 13, 0, 0, still_s=3.2, waits_on=("composer", "input")),
        WorkerStatus("old", "exited", 2, 1, 0, 0, still_s=60.0),
    ),
    {"input": 14},
    {"output": 12},
    rejected={"checker": {"marker": 3}},
)
DEAD = {"old": 2, "gone": 1}
MEMORY: dict[str, int | None] = {"composer": 32 * 2**20, "checker": 13 * 2**20}


def test_a_running_service_as_a_table():
    """One line a worker."""
    row = describe(RECORD, STATUS, alive=True, memory=MEMORY, dead=DEAD, now=STARTED + 3725)
    assert words(row) is None
    assert render_table([row]) == (
        "WORKER    KIND                                             STATE        PID    UPTIME  RESTARTS  IN  OUT"
        "  UNACK  QUEUE  OLDEST  DEAD  MEM     WAITING ON\n"
        "composer  agent anthropic/claude-haiku-4-5                 busy         41201  1h02m   0         14  13 "
        "  1      2      7s      0     32 MiB  itself, 3s\n"
        "checker   python checks:check                              ready        41202  1h02m   0         13  13 "
        "  0      0      -       0     13 MiB  composer, input\n"
        f"old       worker {'x' * 39}…  failed (-9)  -      -       0         2   1    0      0      -       2     -"
        "       -"
    )


def test_a_narrow_terminal_gets_less_of_it_in_one_line_each():
    """What is asked for least gives way first, and what is still too wide is cut."""
    row = describe(RECORD, STATUS, alive=True, memory=MEMORY, dead=DEAD, now=STARTED + 3725)
    assert render_table([row], 100).splitlines() == [
        "WORKER    STATE        PID    UPTIME  RESTARTS  IN  OUT  UNACK  QUEUE  OLDEST  DEAD  WAITING ON",
        "composer  busy         41201  1h02m   0         14  13   1      2      7s      0     itself, 3s",
        "checker   ready        41202  1h02m   0         13  13   0      0      -       0     composer, input",
        "old       failed (-9)  -      -       0         2   1    0      0      -       2     -",
    ]
    narrow = render_table([row], 60).splitlines()
    assert [len(line) for line in narrow[:2]] == [60, 60]
    assert all(line.endswith("…") for line in narrow[:2])


@pytest.mark.parametrize(
    ("status", "kind", "waiting"),
    [
        (WorkerStatus("a", "busy", 1, 0, 0, 1, still_s=75.0, stalled=True), "agent",
         "stalled 75 s (model may be thinking)"),
        (WorkerStatus("a", "busy", 1, 0, 0, 1, still_s=75.0, stalled=True), "python", "stalled 75 s"),
        (WorkerStatus("a", "restarting", 1, 0, 1, 0, starts_in_s=1.7), "agent", "restarting in 2 s"),
        (WorkerStatus("a", "restarting", 1, 0, 1, 0, starts_in_s=0.0), "agent", "restarting in 1 s"),
        (WorkerStatus("a", "busy", 1, 1, 4, 0, held_by=(End("slow", "input"), End("b", "l"))), "agent",
         "room at 'slow', 'b'"),
        (WorkerStatus("a", "busy", 1, 0, 0, 1, paused=True), "agent", "resume: it is paused"),
        (WorkerStatus("a", "stopped", 1, 1, 4, 0), "agent", "fabric start a"),
        (WorkerStatus("a", "ready", 1, 1, 0, 0, waits_on=("i", "b")), "agent", "i, b"),
    ],
)  # fmt: skip
def test_a_worker_says_what_it_waits_for(status: WorkerStatus, kind: str, waiting: str):
    """And what it takes, where it takes somebody."""
    record = msgspec.structs.replace(RECORD, workers=(WorkerRecord("a", kind, "x", "ready"),))
    row = describe(record, Status("ready", (status,)), alive=True, memory={}, dead={}, now=STARTED)
    assert render_table([row]).splitlines()[1].endswith(f"  -    {waiting}")


def test_a_worker_that_crashed_and_is_started_again_has_not_failed():
    """Its record says so in between, with its status."""
    crashed = WorkerRecord("a", "python", "x", "failed", exit_status=-9)
    record = msgspec.structs.replace(RECORD, workers=(crashed,))
    status = Status("ready", (WorkerStatus("a", "restarting", 1, 0, 1, 0, starts_in_s=2.0),))
    row = describe(record, status, alive=True, memory={}, dead={}, now=STARTED)
    assert (row.workers[0].state, row.workers[0].exit_status) == ("restarting", -9)


def test_conversations_that_are_under_way_have_a_line_each():
    """With what comes next."""
    status = Status("ready", monitors={"shelf": "protocol Shelf, step 3: expected string from 'reader' (recv)"})
    row = describe(RECORD, status, alive=True, memory={}, dead={}, now=STARTED)
    assert render_wires([row]) == ["wire 'shelf': protocol Shelf, step 3: expected string from 'reader' (recv)"]


def test_what_waits_for_replicas_has_a_line_each():
    """Whom the others wait for is named; a queue with nothing in it has none."""
    busy = QueueStatus("f", ("f#1", "f#2"), 3, 2, "f#2", full=True, held_by=(End("g", "input"),), oldest_age_s=75.0)
    status = Status("ready", queues=(busy, QueueStatus("g", ("g#1", "g#2"), 0, 0, "")))
    row = describe(RECORD, status, alive=True, memory={}, dead={"f": 1}, now=STARTED)
    assert render_queues([row]) == [
        "queue of 'f' (2 replicas): 3 waiting, the oldest for 1m15s, until there is room at 'g'; 2 answered ahead of"
        " their turn, which wait for f#2, and nothing new is dealt; 1 dead letter"
    ]


def test_a_running_service_as_an_object():
    """The shape that programs may rely on."""
    row = describe(RECORD, STATUS, alive=True, memory=MEMORY, dead=DEAD, now=STARTED + 61.5)
    assert encode_json({"v": 1, "services": to_plain([row])}).decode() == (
        '{"v":1,"services":[{"project":"review","spec":"/p/review.plumb","state":"ready","pid":41200,'
        '"started_at":"2026-11-21T11:00:00.000000Z","answers":true,"ended_at":null,"exit_code":null,"error":null,'
        '"inputs":{"input":14},"outputs":{"output":12},"dead_letters":3,"monitors":{},"insecure":[],"workers":['
        '{"worker":"composer","kind":"agent","what":"anthropic/claude-haiku-4-5","state":"busy","pid":41201,'
        '"uptime_s":61.5,"restarts":0,"exit_status":null,"accepted":14,"answered":13,"waiting":2,"unacknowledged":1,'
        '"still_s":3.2,"oldest_s":7.5,"waits_on":[],"room_at":[],"paused":false,"stalled":false,"starts_in_s":null,'
        '"dead_letters":0,"memory_bytes":33554432,"rejected":{},"place":"","awaited":false},'
        '{"worker":"checker","kind":"python","what":"checks:check","state":"ready","pid":41202,"uptime_s":60.5,'
        '"restarts":0,"exit_status":null,"accepted":13,"answered":13,"waiting":0,"unacknowledged":0,"still_s":3.2,'
        '"oldest_s":null,"waits_on":["composer","input"],"room_at":[],"paused":false,"stalled":false,'
        '"starts_in_s":null,"dead_letters":0,"memory_bytes":13631488,"rejected":{"marker":3},"place":"","awaited":false},'
        f'{{"worker":"old","kind":"worker","what":"{"x" * 60}","state":"failed","pid":null,"uptime_s":null,'
        '"restarts":0,"exit_status":-9,"accepted":2,"answered":1,"waiting":0,"unacknowledged":0,"still_s":60.0,'
        '"oldest_s":null,"waits_on":[],"room_at":[],"paused":false,"stalled":false,"starts_in_s":null,'
        '"dead_letters":2,"memory_bytes":null,"rejected":{},"place":"","awaited":false}],"queues":[],'
        '"http":"http://127.0.0.1:9464","token_file":"/p/.fabric/run/review.token"}]}'
    )


def test_a_service_that_does_not_answer_shows_what_is_known():
    """Its record, its processes and its dead letters."""
    row = describe(RECORD, None, alive=True, memory=MEMORY, dead=DEAD, now=STARTED + 5)
    assert (row.state, row.answers) == ("ready", False)
    assert words(row) == "'review': its coordinator (pid 41200) runs, and does not answer: what is shown may be old"
    assert render_table([row]).splitlines()[2] == (
        "checker   python checks:check                              ready        41202  4s      0         -   -    "
        "-      -      -       0     13 MiB  -"
    )


def test_a_killed_service_tells_which_workers_live_on():
    """And what to do."""
    row = describe(RECORD, None, alive=False, memory={"checker": 1}, dead={}, now=STARTED + 5)
    assert (row.state, row.answers, row.exit_code) == ("killed", None, None)
    assert [worker.state for worker in row.workers] == ["gone", "orphaned", "failed"]
    assert words(row) == (
        "'review': its coordinator (pid 41200) was killed; still alive: checker (pid 41202);"
        " fabric down -p review clears away"
    )


def test_of_a_killed_service_nothing_is_claimed_of_workers_that_are_no_processes_here():
    """They may go on: the next coordinator takes them over, and who clears away ends the containers."""
    placed = (
        WorkerRecord("b", "python", "checks:b", "ready", None, STARTED, place="external h2 10.0.0.2"),
        WorkerRecord("c", "python", "checks:c", "ready", None, STARTED, place="container h3 10.0.0.3"),
    )
    row = describe(
        msgspec.structs.replace(RECORD, workers=(WORKERS[0], placed[0])), None, alive=False, memory={}, dead={}, now=5.0
    )
    assert [worker.state for worker in row.workers] == ["gone", "unknown"]
    assert words(row) == (
        "'review': its coordinator (pid 41200) was killed; none of its workers on this host is left; what b (external"
        " h2 10.0.0.2) is at is not known from here: the next fabric up takes over who still runs; fabric down -p"
        " review clears away"
    )
    row = describe(msgspec.structs.replace(RECORD, workers=placed), None, alive=False, memory={}, dead={}, now=5.0)
    assert "takes over who still runs, and fabric down ends the containers; fabric down -p review" in str(words(row))


def test_an_ended_service_tells_how_and_when():
    """With the reason, if there is one."""
    ended = msgspec.structs.replace(RECORD, outcome=Outcome(1, STARTED + 60, 0.1, ("child_died", "worker 'a' died")))
    row = describe(ended, None, alive=False, memory={}, dead={}, now=STARTED + 70)
    assert row.state == "ended"
    assert words(row) == "'review' ended with exit code 1 at 2026-11-21T11:01:00.000000Z: worker 'a' died"


def test_several_services_have_their_names_in_front():
    """Also one without workers."""
    bare = msgspec.structs.replace(RECORD, project="bare", workers=())
    rows = [describe(one, None, alive=True, memory={}, dead={}, now=STARTED) for one in (bare, RECORD)]
    lines = render_table(rows).splitlines()
    assert [line.split()[0] for line in lines] == ["PROJECT", "bare", "review", "review", "review"]
