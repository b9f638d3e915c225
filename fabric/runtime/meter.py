"""Counts what a session tells in passing: what its snapshot does not have, since it is over when somebody looks."""

from __future__ import annotations

__all__ = ["Meter"]

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import get_args

import msgspec
import trio

from fabric.metrics import Buckets, Sample
from fabric.plan.plan import Plan
from fabric.runtime.log_files import NOTES
from fabric.runtime.processes import Process, cpu_s, identify, memory_bytes
from fabric.session.durations import Durations, Histogram
from fabric.session.events import DeathCause, Note

EXITS = ("ok", "error", "signal", "killed")
"""How a process ended: by itself with 0, with another status, by a signal, or because we ended it by force."""

LAG_S = 0.25
"""Between two looks at how late the loop is."""

_LAGS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_STARTS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

_LEVELS = frozenset({"debug", "info", "warning", "error"})
_RETRIED = frozenset({"rate_limited", "overloaded", "timeout"})
"""Codes of an attempt that is made again which are outcomes of their own; any other is a ``retry``."""

_DECISIONS = {"time": "expired"}
"""By whom a call was not approved, where that was not a denial."""


class _Line(msgspec.Struct):
    """What a worker logs, as far as it is counted."""

    log: str = ""
    event: str = ""
    code: str = ""


_decode_line = msgspec.json.Decoder(_Line).decode


class Meter:
    """Hears what a report hears (``coordinator.Report``).

    Args:
        plan: what runs.
        clock: in seconds.

    Attributes:
        started_at: when it began, unix time.
    """

    def __init__(self, plan: Plan, clock: Callable[[], float] = time.monotonic) -> None:
        self.started_at = time.time()
        self._clock = clock
        names = [worker.name for worker in plan.workers]
        self._models = {
            worker.name: (str(worker.spec.config.get("provider", "")), str(worker.spec.config.get("model", "")))
            for worker in plan.workers
        }
        self._processes: dict[str, Process] = {}
        self._spawned_s: dict[str, float] = {}
        self._forced: set[str] = set()
        self._starts: Counter[str] = Counter(dict.fromkeys(names, 0))
        self._killed: Counter[str] = Counter(dict.fromkeys(names, 0))
        self._exits: Counter[tuple[str, str]] = Counter({(name, how): 0 for name in names for how in EXITS})
        self._letters: Counter[tuple[str, str]] = Counter({(name, why): 0 for name in names for why in _CAUSES})
        self._unpaired: Counter[str] = Counter(
            {node.id: 0 for node in plan.graph.nodes.values() if node.kind == "barrier"}
        )
        self._retried: Counter[tuple[str, str]] = Counter()
        self._approvals: Counter[tuple[str, str]] = Counter()
        self._lines: Counter[tuple[str, str]] = Counter()
        self._ready = {name: Histogram(_STARTS_S) for name in names}
        self._lag = Histogram(_LAGS_S)

    # --- what happens ---

    def noted(self, note: Note) -> None:
        """Count what a note tells."""
        self._lines[NOTES, note.level] += 1
        worker = str(note.fields.get("worker", ""))
        match note.event:
            case "worker.spawned":
                self._spawned(worker, note.fields.get("pid"))
            case "worker.ready" if worker in self._spawned_s:
                self._ready[worker].add(self._clock() - self._spawned_s.pop(worker))
            case "worker.killed":
                self._killed[worker] += 1
                self._forced.add(worker)
            case "worker.at_fault":
                self._forced.add(worker)
            case "worker.exited":
                self._exited(worker, int(note.fields["status"]))
            case "message.dead_lettered":
                self._letters[worker, str(note.fields["reason"])] += 1
            case "barrier.unpaired":
                self._unpaired[str(note.fields["barrier"])] += int(note.fields["messages"])
            case "tool.approved":
                self._approvals[str(note.fields["tool"]), "approved"] += 1
            case "tool.denied":
                self._approvals[str(note.fields["tool"]), _DECISIONS.get(str(note.fields["by"]), "denied")] += 1

    def worker_wrote(self, worker: str, line: str) -> None:
        """Count a line; one that is no log line of a level counts as ``none``."""
        level = "none"
        if line.startswith("{"):
            try:
                said = _decode_line(line)
            except (msgspec.DecodeError, ValueError, RecursionError):
                said = _Line()
            level = said.log if said.log in _LEVELS else level
            if said.event == "llm_retried":
                self._retried[worker, said.code if said.code in _RETRIED else "retry"] += 1
        self._lines[worker, level] += 1

    def _spawned(self, worker: str, pid: int | None) -> None:
        self._starts[worker] += 1
        self._spawned_s[worker] = self._clock()
        self._forced.discard(worker)
        process = identify(pid) if pid is not None else None
        if process is not None:
            self._processes[worker] = process

    def _exited(self, worker: str, status: int) -> None:
        ended = "killed" if worker in self._forced else "signal"
        self._exits[worker, "ok" if status == 0 else "error" if status > 0 else ended] += 1
        self._processes.pop(worker, None)

    async def watch_loop(self) -> None:
        """Measure how late the loop is, for ever."""
        while True:
            until_s = trio.current_time() + LAG_S
            await trio.sleep_until(until_s)
            self._lag.add(max(0.0, trio.current_time() - until_s))

    # --- what is scraped ---

    def samples(self) -> Iterator[Sample]:
        """Yield what was counted, and what the processes use."""
        yield Sample("fabric_loop_lag_seconds", buckets(self._lag.durations))
        for name, by_label in (
            ("fabric_worker_starts_total", self._starts),
            ("fabric_shutdown_forced_total", self._killed),
        ):
            yield from (Sample(name, count, (label,)) for label, count in by_label.items())
        yield from (Sample("fabric_barrier_unpaired_total", count, (name,)) for name, count in self._unpaired.items())
        for name, pairs in (
            ("fabric_worker_exits_total", self._exits),
            ("fabric_dead_letters_total", self._letters),
            ("fabric_approvals_total", self._approvals),
            ("fabric_log_lines_total", self._lines),
        ):
            yield from (Sample(name, count, labels) for labels, count in pairs.items())
        for (worker, outcome), count in self._retried.items():
            yield Sample("fabric_llm_requests_total", count, (worker, *self._models.get(worker, ("", "")), outcome))
        for worker, histogram in self._ready.items():
            yield Sample("fabric_worker_ready_seconds", buckets(histogram.durations), (worker,))
        for worker, process in self._processes.items():
            used_bytes, used_s = memory_bytes(process), cpu_s(process)
            if used_bytes is not None and used_s is not None:
                yield Sample("fabric_worker_memory_bytes", used_bytes, (worker,))
                yield Sample("fabric_worker_cpu_seconds_total", used_s, (worker,))


_CAUSES: tuple[str, ...] = get_args(DeathCause)


def buckets(durations: Durations) -> Buckets:
    """Return what was counted as a histogram's value."""
    return Buckets(durations.bounds_s, durations.counts, durations.total_s)
