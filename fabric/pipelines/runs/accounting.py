"""What runs of a pipeline take: metrics of all of them, and spans of each.

A run hands its performers to :meth:`RunAccount.watch`, so that every piece of work is seen when it begins and when it
is done, also that of steps that are discarded. What counts is read from the RunContext when the run is over. Nothing
here changes what a run does.
"""

from __future__ import annotations

__all__ = ["Account", "RunAccount", "account_of", "name_of"]

import atexit
import logging
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabric.pipelines.results import AttemptLog, RunContext
from fabric.pipelines.runs.spans import Piece, RunFacts, spans_of
from fabric.pipelines.spec import Pipeline
from fabric.pipelines.work import Done, LlmWork, Performer, Work
from fabric.session.durations import Histogram
from fabric.tracing.exporter import Exporter, open_exporter
from fabric.tracing.span import Span

if TYPE_CHECKING:
    from fabric.metrics import Sample

_log = logging.getLogger("fabric.pipelines")
_opening = threading.Lock()

END_S = 10.0
"""How long the end of a process may wait for its last spans, if there is a collector to take them. A short run ends
before OpenTelemetry is even loaded."""
_exporters: list[Exporter | None] = []


def _exporter_of_process() -> Exporter | None:
    """Return what sends spans of this process; ``None``: the environment asks for none. It is opened once, and sends
    what waits when the process ends."""
    with _opening:
        if not _exporters:
            name = os.environ.get("OTEL_SERVICE_NAME", "").strip() or "fabric-pipeline"
            exporter = open_exporter(os.environ, name, _note)
            if exporter is not None:
                atexit.register(exporter.close, END_S)
            _exporters.append(exporter)
        return _exporters[0]


def _note(event: str, fields: dict[str, object]) -> None:
    _log.warning("%s: %s", event, ", ".join(f"{name}={value}" for name, value in fields.items()))


def account_of(pipeline: Pipeline) -> Account:
    """Return what counts the runs of a pipeline, and tells spans of them if the environment asks for that."""
    return Account(name_of(pipeline.path), _exporter_of_process())


def name_of(path: Path) -> str:
    """Return what a pipeline is called: by its file; by its folder if the file is ``pipeline.yaml``, as most are."""
    path = path.absolute()
    return path.parent.name if path.stem == "pipeline" and path.parent.name else path.stem


class Account:
    """Counts what the runs of one pipeline take. May be used by several threads.

    Args:
        pipeline: what it is called in metrics and spans.
        exporter: takes spans; ``None``: nobody does.
        clock: seconds since 1970.
    """

    def __init__(self, pipeline: str, exporter: Exporter | None = None, clock: Callable[[], float] = time.time) -> None:
        self.pipeline = pipeline
        self._exporter = exporter
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self._costs: dict[tuple[str, ...], float] = defaultdict(float)
        self._runs = Histogram()

    def begin(self) -> RunAccount:
        """Return what sees one run, which begins now."""
        return RunAccount(self, self._clock)

    def samples(self) -> Iterable[Sample]:
        """Return what was counted so far, for a :class:`fabric.metrics.Page`."""
        from fabric.metrics import Buckets, Sample  # only here: what writes pages is not loaded by every run

        with self._lock:
            counts, costs, runs = sorted(self._counts.items()), sorted(self._costs.items()), self._runs.durations
        for (name, labels), count in counts:
            yield Sample(name, count, labels)
        for labels, cost in costs:
            yield Sample("fabric_llm_cost_usd_total", cost, labels)
        yield Sample("fabric_pipeline_run_seconds", Buckets(runs.bounds_s, runs.counts, runs.total_s), (self.pipeline,))

    def take(self, facts: RunFacts) -> None:
        """Add a run that is over."""
        outcome = "failed" if facts.context.failed else "ok"
        with self._lock:
            self._counts["fabric_pipeline_runs_total", (self.pipeline, outcome)] += 1
            self._runs.add(facts.end_s - facts.start_s)
            for name, step in facts.context.steps.items():
                self._counts["fabric_pipeline_steps_total", (self.pipeline, name, step.status)] += 1
            self._count_questions(facts.pieces)
        if self._exporter is not None:
            self._exporter.emit(self._spans(facts))

    def take_questions(self, pieces: Iterable[Piece]) -> None:
        """Add questions that belong to no run."""
        with self._lock:
            self._count_questions(pieces)

    def _count_questions(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            if isinstance(piece.work, LlmWork):
                for log in piece.attempts:
                    self._count(log, piece.work.model.provider)

    def _spans(self, facts: RunFacts) -> list[Span]:
        assert self._exporter is not None
        settings = self._exporter.settings
        trace_id, parent = settings.caller or (os.urandom(16), b"")
        return spans_of(facts, self.pipeline, trace_id, os.urandom(8), parent, content=settings.content)

    def _count(self, log: AttemptLog, provider: str) -> None:
        labels = (log.step, provider, log.model)
        outcome = "cached" if log.cached else "ok" if log.status == "success" else log.error_type or "error"
        self._counts["fabric_llm_requests_total", (*labels, outcome)] += 1
        if log.cached:  # it took nothing
            return
        for name, tokens in (("input", "prompt_tokens"), ("output", "completion_tokens")):
            self._counts[f"fabric_llm_{name}_tokens_total", labels] += (log.tokens or {}).get(tokens, 0)
        if log.cost_usd is None:
            self._counts["fabric_llm_unpriced_requests_total", labels] += 1
        else:
            self._costs[labels] += log.cost_usd


class RunAccount:
    """Sees one run."""

    def __init__(self, account: Account, clock: Callable[[], float]) -> None:
        self._account = account
        self._clock = clock
        self._start_s = clock()
        self._pieces: list[Piece] = []

    def watch(self, performer: Performer) -> Performer:
        """Return a performer that does the same, and is seen."""
        return _Watched(performer, self._clock, self._pieces.append)

    def end(self, context: RunContext) -> None:
        """The run is over."""
        self._account.take(RunFacts(context, tuple(self._pieces), self._start_s, max(self._clock(), self._start_s)))

    def end_of_questions(self) -> None:
        """What was seen is over, and was no run: vocabularies that grew after a batch."""
        self._account.take_questions(self._pieces)


class _Watched:
    """A performer whose work is seen."""

    def __init__(self, performer: Performer, clock: Callable[[], float], tell: Callable[[Piece], Any]) -> None:
        self._performer = performer
        self._clock = clock
        self._tell = tell

    async def perform(self, work: Work) -> Done:
        """Perform it."""
        start_s = self._clock()
        done: Done | None = None
        try:
            done = await self._performer.perform(work)
            return done
        finally:  # it may be cancelled: then its step is discarded
            self._tell(Piece(work, done, start_s, max(self._clock(), start_s)))
