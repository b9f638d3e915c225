"""What ``ps`` shows, to the letter."""

from __future__ import annotations

from fabric.cli.listing import describe, render_table, words
from fabric.runtime.processes import Process
from fabric.runtime.service_protocol import Status, WorkerStatus
from fabric.runtime.services import Outcome, Record, WorkerRecord
from fabric.wire.payload import encode_json, to_plain

STARTED = 1795258800.0
WORKERS = (
    WorkerRecord("composer", "agent", "anthropic/claude-haiku-4-5", "ready", Process(41201, "1@b"), STARTED),
    WorkerRecord("checker", "python", "checks:check", "ready", Process(41202, "2@b"), STARTED + 1),
    WorkerRecord("old", "worker", "x" * 60, "failed", Process(41203, "3@b"), STARTED, exit_status=-9),
)
RECORD = Record(1, "review", "/p/review.plumb", Process(41200, "0@b"), "/r/s", STARTED, "ready", WORKERS)
STATUS = Status(
    "ready",
    (
        WorkerStatus("composer", "busy", 14, 13, 2, 1, still_s=3.2),
        WorkerStatus("checker", "ready", 13, 13, 0, 0, still_s=3.2, waits_on=("composer", "input")),
        WorkerStatus("old", "exited", 2, 1, 0, 0, still_s=60.0),
    ),
    {"input": 14},
    {"output": 12},
    rejected={"checker": {"marker": 3}},
)
MEMORY: dict[str, int | None] = {"composer": 32 * 2**20, "checker": 13 * 2**20}


def test_a_running_service_as_a_table():
    """One line a worker."""
    row = describe(RECORD, STATUS, alive=True, memory=MEMORY, now=STARTED + 3725)
    assert words(row) is None
    assert render_table([row]) == (
        "WORKER    KIND                                             STATE        PID    UPTIME  RESTARTS  IN  OUT"
        "  QUEUE  WAITING ON       MEM\n"
        "composer  agent anthropic/claude-haiku-4-5                 busy         41201  1h02m   0         14  13 "
        "  3      itself, 3s       32 MiB\n"
        "checker   python checks:check                              ready        41202  1h02m   0         13  13 "
        "  0      composer, input  13 MiB\n"
        f"old       worker {'x' * 39}…  failed (-9)  -      -       0         2   1    0      -                -"
    )


def test_a_running_service_as_an_object():
    """The shape that programs may rely on."""
    row = describe(RECORD, STATUS, alive=True, memory=MEMORY, now=STARTED + 61.5)
    assert encode_json({"v": 1, "services": to_plain([row])}).decode() == (
        '{"v":1,"services":[{"project":"review","spec":"/p/review.plumb","state":"ready","pid":41200,'
        '"started_at":"2026-11-21T11:00:00.000000Z","answers":true,"ended_at":null,"exit_code":null,"error":null,'
        '"inputs":{"input":14},"outputs":{"output":12},"workers":['
        '{"worker":"composer","kind":"agent","what":"anthropic/claude-haiku-4-5","state":"busy","pid":41201,'
        '"uptime_s":61.5,"restarts":0,"exit_status":null,"accepted":14,"answered":13,"waiting":2,"unacknowledged":1,'
        '"still_s":3.2,"waits_on":[],"memory_bytes":33554432,"rejected":{}},'
        '{"worker":"checker","kind":"python","what":"checks:check","state":"ready","pid":41202,"uptime_s":60.5,'
        '"restarts":0,"exit_status":null,"accepted":13,"answered":13,"waiting":0,"unacknowledged":0,"still_s":3.2,'
        '"waits_on":["composer","input"],"memory_bytes":13631488,"rejected":{"marker":3}},'
        f'{{"worker":"old","kind":"worker","what":"{"x" * 60}","state":"failed","pid":null,"uptime_s":null,'
        '"restarts":0,"exit_status":-9,"accepted":2,"answered":1,"waiting":0,"unacknowledged":0,"still_s":60.0,'
        '"waits_on":[],"memory_bytes":null,"rejected":{}}]}]}'
    )


def test_a_service_that_does_not_answer_shows_what_is_known():
    """Its record, and its processes."""
    row = describe(RECORD, None, alive=True, memory=MEMORY, now=STARTED + 5)
    assert (row.state, row.answers) == ("ready", False)
    assert words(row) == "'review': its coordinator (pid 41200) runs, and does not answer: what is shown may be old"
    assert render_table([row]).splitlines()[2] == (
        "checker   python checks:check                              ready        41202  4s      0         -   -    "
        "-      -           13 MiB"
    )


def test_a_killed_service_tells_which_workers_live_on():
    """And what to do."""
    row = describe(RECORD, None, alive=False, memory={"checker": 1}, now=STARTED + 5)
    assert (row.state, row.answers, row.exit_code) == ("killed", None, None)
    assert [worker.state for worker in row.workers] == ["gone", "orphaned", "failed"]
    assert words(row) == (
        "'review': its coordinator (pid 41200) was killed; still alive: checker (pid 41202);"
        " fabric down -p review clears away"
    )


def test_an_ended_service_tells_how_and_when():
    """With the reason, if there is one."""
    import msgspec

    ended = msgspec.structs.replace(RECORD, outcome=Outcome(1, STARTED + 60, 0.1, ("child_died", "worker 'a' died")))
    row = describe(ended, None, alive=False, memory={}, now=STARTED + 70)
    assert row.state == "ended"
    assert words(row) == "'review' ended with exit code 1 at 2026-11-21T11:01:00.000000Z: worker 'a' died"


def test_several_services_have_their_names_in_front():
    """Also one without workers."""
    import msgspec

    bare = msgspec.structs.replace(RECORD, project="bare", workers=())
    rows = [describe(one, None, alive=True, memory={}, now=STARTED) for one in (bare, RECORD)]
    lines = render_table(rows).splitlines()
    assert [line.split()[0] for line in lines] == ["PROJECT", "bare", "review", "review", "review"]
