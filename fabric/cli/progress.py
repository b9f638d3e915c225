"""What `up` prints while a service comes, runs and goes; and the one line that is left of it."""

from __future__ import annotations

__all__ = ["PROGRESS", "Progress", "Screen", "choose_progress", "summary"]

import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from fabric import __version__
from fabric.cli.limits import spent_fields, spent_words
from fabric.cli.log_lines import LogLines
from fabric.cli.report import count_of
from fabric.plan.place import say_insecure, unsecured
from fabric.plan.plan import Plan
from fabric.runtime.detach import Child
from fabric.runtime.log_files import Entry, note_entry, timestamp, worker_entry
from fabric.runtime.services import Outcome, describe_place, describe_worker
from fabric.session.approvals import describe
from fabric.session.events import Approval, Level, Note
from fabric.session.failure import STDERR_LINES_KEPT
from fabric.session.startup import start_it

Progress: TypeAlias = Literal["tty", "plain", "json", "quiet"]

PROGRESS = ("auto", "tty", "plain", "json", "quiet")

_RANK: dict[Level, int] = {"debug": 0, "info": 1, "warning": 2, "error": 3}
_STARTS = ("worker.spawned", "worker.awaited", "worker.ready")
_STEERED = ("worker.stopped", "worker.ready")
"""What somebody did by hand to a worker that runs: printed at any level."""
_NEVER_QUIET = ("fabric.insecure", "fabric.stopped", "log.unwritten", "tool.approval_requested")


def choose_progress(said: str, workers: int, *, in_place: bool) -> Progress:
    """Return how the start is shown.

    Args:
        said: what the user wants, one of ``PROGRESS``.
        workers: how many rows it takes.
        in_place: whether it ends up on a terminal; one that is too low for the rows does not do.
    """
    match said:
        case "plain" | "json" | "quiet":
            return said
    fits = workers < shutil.get_terminal_size().lines - 2 and os.environ.get("TERM") != "dumb"
    return "tty" if fits and (in_place or said == "tty") else "plain"


def summary(outcome: Outcome) -> str:
    """Return the line that says how a service ended."""
    done = outcome.exit_code == 0
    sign, how = ("✔", "drained") if done else ("✘", f"ended with exit code {outcome.exit_code}")
    unread = f" ({outcome.unclaimed} of them claimed by nobody)" if outcome.unclaimed else ""
    out, letters = count_of(outcome.messages, "message"), outcome.losses.dead_lettered
    unkept = f", {outcome.unkept} not kept" if outcome.unkept else ""
    where = f" (fabric dead list{unkept})" if letters else ""
    spent = spent_words(outcome.usage, outcome.budget)
    paid = f" · {spent}" if spent else ""
    return (
        f" {sign} {how} in {outcome.took_s:.1f}s · {out} out{unread}{paid} · {count_of(letters, 'dead letter')}{where}"
    )


class Screen:
    """Hears of a service, and prints.

    Args:
        plan: what is run.
        lines: how log lines are printed.
        progress: how the start is shown.
        level: the lowest level of notes that is printed.
        attached: whether a worker's lines are printed.
        write: takes whole lines, without the end of the last.
        clock: unix time.
        columns: of the terminal, for ``tty``.
        child: of the command that the user started, if it is to be left running.
        budget: what it may use, in words.
        http: where it can be watched, or why it cannot, in words.
        kept: the bucket in which it is kept, and the id of its session.
    """

    def __init__(
        self,
        plan: Plan,
        lines: LogLines,
        progress: Progress,
        level: Level,
        *,
        attached: Callable[[str], bool],
        write: Callable[[str], None],
        clock: Callable[[], float] = time.time,
        columns: int = 80,
        child: Child | None = None,
        budget: str = "",
        http: str = "",
        kept: tuple[str, str] | None = None,
    ) -> None:
        self._http = http
        self._kept = kept
        self._budget = budget
        self._plan = plan
        self._lines = lines
        self._progress = progress
        self._rank = _RANK[level]
        self._attached = attached
        self._write = write
        self._clock = clock
        self._columns = columns
        self._child = child
        self._started_at = clock()
        self._places = {worker.name: describe_place(worker) for worker in plan.workers}
        self._what = {worker.name: describe_worker(worker.spec) for worker in plan.workers}
        self._name_width = max(map(len, self._what), default=0)
        self._what_width = min(30, max(map(len, self._what.values()), default=0))
        self._rows = {name: self._row("·", name, "waiting") for name in self._what}
        self._drawn = 0
        self._opened = self._stopping = False
        self._pids: dict[str, int] = {}
        self._unready = set(self._what)
        self._failed: set[str] = set()
        self._unshown: dict[str, deque[Entry]] = {name: deque(maxlen=STDERR_LINES_KEPT) for name in self._what}

    # --- the start ---

    def begin(self, checked_s: float) -> None:
        """Say what is started; it took so many seconds to check it."""
        loops = sum(component.loop for component in self._plan.components)
        parts = [count_of(len(self._plan.workers), "worker"), count_of(len(self._plan.graph.channels), "channel")]
        parts += [count_of(loops, "feedback loop")] if loops else []
        name, checked_ms = Path(self._plan.path).name, round(checked_s * 1000)
        said = f"fabric {__version__} · {name} · {', '.join(parts)} · checked in {checked_ms} ms"
        fields: dict[str, object] = {"version": __version__, "spec": self._plan.path, "workers": len(self._what)}
        self._say(said, "fabric.starting", fields)
        if self._kept is not None:
            bucket, session = self._kept
            self._say(f" ✔ log  {bucket} {session}", "log.opened", {"bucket": bucket, "session": session})
        insecure = unsecured(self._plan)
        if insecure:
            self._say(say_insecure(insecure), "fabric.insecure", {"workers": list(insecure)})
        self._redraw()

    def opened(self) -> None:
        """Every worker is ready."""
        self._opened = True
        if self._stopping:  # it would not be true for long
            return
        hint = "fabric logs shows what it says, fabric down ends it" if self._child else "Ctrl-C drains, twice stops"
        budget = f"{self._budget} · " if self._budget else ""
        http = f"{self._http} · " if self._http else ""
        fields = {"http": self._http} if self._http.startswith("http") else {}
        self._say(f"ready · {budget}fabric send talks to it · {http}{hint}", "fabric.ready", fields)
        if self._child:
            self._child.started()

    def _start(self, note: Note) -> None:
        """Show one step of a worker's start."""
        name = str(note.fields["worker"])
        if note.event == "worker.spawned":
            if "pid" in note.fields:
                self._pids[name] = note.fields["pid"]
            self._rows[name] = self._row("⠿", name, "starting")
        elif note.event == "worker.awaited":
            self._rows[name] = self._row("⠿", name, f"waiting for handshake  {self._places[name]}")
            if self._progress == "plain" and "missing" in note.fields:  # it was told before, and nobody has come
                self._write(f"worker '{name}' {note.fields['missing']}; {start_it(name)}")
            elif self._progress == "plain":
                self._write(f"{self._rows[name]}; {start_it(name)}")
        else:
            self._unready.discard(name)
            took_s = self._clock() - self._started_at
            self._rows[name] = self._row("✔", name, f"ready  {took_s:.2f}s  {self._where(name)}".rstrip())
            if self._progress == "plain":
                self._write(self._rows[name])
        if self._progress == "json":
            self._write(note_entry(timestamp(self._clock()), note).raw.decode())
        self._redraw()

    def _where(self, name: str) -> str:
        """Say which process it is, or who has started it and where."""
        pid = self._pids.get(name)
        return self._places[name] or (f"pid {pid}" if pid is not None else "")

    def _row(self, sign: str, name: str, state: str) -> str:
        return f" {sign} {name:{self._name_width}}  {self._what[name][: self._what_width]:{self._what_width}}  {state}"

    def _redraw(self, above: str = "") -> None:
        """Draw the rows over themselves, in one write; push them down by what is to stand above them."""
        if self._progress != "tty" or self._opened or not self._rows:
            return
        up = f"\x1b[{self._drawn}F" if self._drawn else ""
        rows = [*above.splitlines(), *(row[: self._columns - 1] for row in self._rows.values())]
        self._write(up + "\n".join(row + "\x1b[K" for row in rows))
        self._drawn = len(self._rows)

    # --- what happens ---

    def noted(self, note: Note) -> None:
        """Show a worker's start, and other notes as lines."""
        name = str(note.fields.get("worker", ""))
        if note.event == "worker.exited" and note.level == "warning":
            self._failed.add(name)
        if note.event == "tool.approval_requested":
            return  # it is asked
        if note.event == "session.failed":
            self._failed |= self._unready
            return  # the last line says it
        if note.event == "worker.ready":
            self._failed.discard(name)  # it did so earlier
        if note.event in _STARTS and not self._opened:
            self._start(note)
        elif (note.event in _STEERED and self._opened) or _RANK[note.level] >= self._rank:
            self._line(note_entry(timestamp(self._clock()), note))

    def worker_wrote(self, worker: str, line: str) -> None:
        """Show a worker's line, or keep it for the case that it fails."""
        entry = worker_entry(timestamp(self._clock()), worker, line)
        if self._attached(worker):
            self._line(entry)
        else:
            self._unshown[worker].append(entry)

    def _line(self, entry: Entry) -> None:
        text = self._lines.render_live(entry)
        if self._drawn and not self._opened:
            self._redraw(above=text)
        else:
            self._write(text)

    # --- what somebody has to decide ---

    def asked(self, approval: Approval) -> None:
        """A call waits for approval: say with which commands it is decided."""
        text = f"{describe(approval)}; fabric approve {approval.id} grants it, with --deny it is refused"
        self._say(text, "tool.approval_requested", msgspec.structs.asdict(approval))

    def say(self, text: str) -> None:
        """Somebody is asked something."""
        self._drawn = 0
        self._write(text)

    # --- the end ---

    def asked_to_stop(self) -> None:
        """Somebody wants it to end."""
        self._stopping = True
        self._say("draining: no more input is taken", "fabric.draining")

    def stopped(self, outcome: Outcome, unwritten: int) -> None:
        """The service is over: show what has not been shown of those that failed, and how it ended.

        Args:
            outcome: how.
            unwritten: log lines that could not be written.
        """
        for name in sorted(self._failed):
            lines = self._unshown.pop(name, ())
            if lines and not self._lines.json:
                self._write(f"last lines of {name}:")
            for entry in lines:
                self._write(self._lines.render_live(entry))
        if unwritten:
            said = f"{count_of(unwritten, 'log line')} could not be written"
            self._say(said, "log.unwritten", {"lines": unwritten}, "warning")
        fields: dict[str, object] = {
            "exit_code": outcome.exit_code,
            "took_s": round(outcome.took_s, 3),
            "messages": outcome.messages,
        }
        fields |= spent_fields(outcome.usage, outcome.budget) if outcome.usage or outcome.budget else {}
        self._say(summary(outcome), "fabric.stopped", fields)

    def _say(self, text: str, event: str, fields: Mapping[str, object] | None = None, level: Level = "info") -> None:
        """Print something of the service as a whole, in the words or as the object that are wanted."""
        self._drawn = 0  # what is written now stands below the rows
        if self._lines.json or self._progress == "json":
            self._write(note_entry(timestamp(self._clock()), Note(level, event, dict(fields or {}))).raw.decode())
        elif self._progress != "quiet" or event in _NEVER_QUIET:
            self._write(text)
