"""What ``up`` prints, to the letter."""

from __future__ import annotations

import pytest
from plans import plan_of

from fabric.cli.log_lines import LogLines
from fabric.cli.progress import Progress, Screen, summary
from fabric.runtime.services import Outcome
from fabric.session.events import LossReport, Note

PLAN = plan_of(
    'let one : !int -> !int = python { call: "m:f" }\n'
    'let other : !int -> !int = worker { command: ["cat", "-u"] transport: "stdio" }\n'
    "let main : !int -> !int = plumb(i, o) { i ; one ; other ; o }\n"
)


class Shown:
    """A screen at a fixed time, and what it wrote."""

    def __init__(self, progress: Progress, *, json: bool = False, attached: bool = True) -> None:
        self.written: list[str] = []
        self.screen = Screen(
            PLAN,
            LogLines.of(["one", "other"], json=json),
            progress,
            "warning",
            attached=lambda _: attached,
            write=self.written.append,
            clock=lambda: 1795258800.0,
            columns=30,
        )

    def started(self) -> Shown:
        self.screen.begin(0.041)
        for number, name in enumerate(("one", "other")):
            self.screen.noted(Note("info", "worker.spawned", {"worker": name, "pid": number}))
        self.screen.noted(Note("info", "worker.ready", {"worker": "other"}))
        self.screen.worker_wrote("other", "hello")
        self.screen.noted(Note("info", "worker.ready", {"worker": "one"}))
        self.screen.opened()
        return self


def test_a_plain_start_has_a_line_for_each_worker_that_is_ready():
    """Log lines come in between."""
    head, *lines = Shown("plain").started().written
    assert head.endswith("program.plumb · 2 workers, 3 channels · checked in 41 ms")
    assert lines == [
        " ✔ other  cat -u  ready  0.00s  pid 1",
        "other  | hello",
        " ✔ one    m:f     ready  0.00s  pid 0",
        "ready · fabric send talks to it · Ctrl-C drains, twice stops",
    ]


def test_on_a_terminal_the_rows_are_drawn_over_themselves():
    """In one write each, never wider than the terminal; a log line pushes them down."""
    _, first, *rest, last = Shown("tty").started().written
    up, end = "\x1b[2F", "\x1b[K"
    one, other = " ⠿ one    m:f     starting", " ✔ other  cat -u  ready  0.00s  pid 1"
    assert first == f" · other  cat -u  waiting{end}\n · one    m:f     waiting{end}"
    assert rest[-2] == f"{up}other  | hello{end}\n{other[:29]}{end}\n{one[:29]}{end}"
    assert all(text.startswith(up) for text in rest)
    assert last.startswith("ready · ")


def test_progress_as_objects_has_one_for_each_transition():
    """And nothing else on the way."""
    ts = "2026-11-21T11:00:00.000000Z"
    written = Shown("json", json=True).started().written
    assert written[1] == f'{{"ts":"{ts}","log":"info","event":"worker.spawned","worker":"one","pid":0}}'
    assert written[3] == f'{{"ts":"{ts}","log":"info","event":"worker.ready","worker":"other"}}'
    assert written[-1] == f'{{"ts":"{ts}","log":"info","event":"fabric.ready"}}'


def test_a_quiet_start_prints_log_lines_alone():
    """The summary remains."""
    shown = Shown("quiet").started()
    assert shown.written == ["other  | hello"]
    shown.screen.stopped(Outcome(0, 0.0), 0)
    assert shown.written[1:] == [" ✔ drained in 0.0s · 0 messages out · 0 dead letters"]


@pytest.mark.parametrize("attached", [True, False])
def test_what_a_failed_worker_wrote_is_shown_once(attached: bool):
    """As it came, or at the end: the last twenty lines."""
    shown = Shown("quiet", attached=attached)
    for number in range(30):
        shown.screen.worker_wrote("one", f"line {number}")
    shown.screen.worker_wrote("other", "not asked for")
    shown.screen.noted(Note("warning", "worker.exited", {"worker": "one", "status": 3}))
    shown.screen.stopped(Outcome(1, 0.0, 1.25), 2)
    lines = [line for line in shown.written if line.startswith("one    | line")]
    assert lines == [f"one    | line {number}" for number in range(0 if attached else 10, 30)]
    assert shown.written[-2:] == [
        "2 log lines could not be written",
        " ✘ ended with exit code 1 in 1.2s · 0 messages out · 0 dead letters",
    ]


def test_a_worker_that_was_not_ready_in_time_has_failed_too():
    """What it said is what one wants to know."""
    shown = Shown("quiet", attached=False)
    shown.screen.noted(Note("info", "worker.ready", {"worker": "one"}))
    shown.screen.worker_wrote("one", "fine")
    shown.screen.worker_wrote("other", "waiting for the database")
    shown.screen.noted(Note("error", "session.failed", {"code": "ready_timeout", "message": "x"}))
    shown.screen.stopped(Outcome(4, 0.0), 0)
    assert shown.written[:2] == ["last lines of other:", "other  | waiting for the database"]


def test_the_summary_counts():
    """One line of it."""
    outcome = Outcome(5, 0.0, 3.44, None, 14, 1, LossReport(0, 2, 0))
    assert summary(outcome) == (
        " ✘ ended with exit code 5 in 3.4s · 14 messages out (1 of them claimed by nobody)"
        " · 2 dead letters (fabric dead list)"
    )
    full_disk = Outcome(5, 0.0, 3.44, None, 14, 0, LossReport(0, 2, 0), 1)
    assert summary(full_disk).endswith(" · 2 dead letters (fabric dead list, 1 not kept)")


def test_a_service_that_is_to_end_is_not_called_ready():
    """Even if its workers are."""
    shown = Shown("plain")
    shown.screen.asked_to_stop()
    shown.screen.opened()
    assert shown.written == ["draining: no more input is taken"]


def test_a_worker_that_somebody_else_starts_says_how_as_long_as_it_is_waited_for():
    """First in its row, then with what is missing."""
    shown = Shown("plain")
    shown.screen.noted(Note("info", "worker.awaited", {"worker": "one"}))
    shown.screen.noted(Note("warning", "worker.awaited", {"worker": "one", "missing": "has not connected"}))
    row, missing = shown.written
    assert row.endswith("; start it where it runs: fabric worker one")
    assert missing == "worker 'one' has not connected; start it where it runs: fabric worker one"
