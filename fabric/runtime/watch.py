"""What others may know of a session without asking it for anything: whether it is ready, and its metrics."""

from __future__ import annotations

__all__ = ["Watch"]

import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import trio

from fabric import __version__
from fabric.metrics import Page, Sample
from fabric.plan.channels import channels
from fabric.plan.plan import Plan
from fabric.runtime.coordinator import Coordinator
from fabric.runtime.meter import Meter
from fabric.runtime.readiness import PULSE_S, Missing, missing
from fabric.runtime.readings import read_channels, read_session
from fabric.runtime.services import project_name
from fabric.session.events import Note
from fabric.transport.sockets import libzmq_version

if TYPE_CHECKING:  # sessions that are kept nowhere need no buckets
    from fabric.runtime.keeping import Kept


class Watch:
    """Watches one session. It is a report of it as well, and may be one before the session begins.

    Args:
        plan: what runs.
        kept: how it is kept, if it is.

    Attributes:
        page: of its metrics.
        noted, worker_wrote: as of ``coordinator.Report``.
    """

    def __init__(self, plan: Plan, kept: Kept | None = None) -> None:
        self.page = Page(self._samples)
        self._kept = kept
        self._plan = plan
        self._spec = project_name(Path(plan.path))
        self._channels = channels(plan)
        self._meter = Meter(plan)
        self._coordinator: Coordinator | None = None

    def noted(self, note: Note) -> None:
        """See ``Report``."""
        self._meter.noted(note)

    def worker_wrote(self, worker: str, line: str) -> None:
        """See ``Report``."""
        self._meter.worker_wrote(worker, line)

    async def run(self, coordinator: Coordinator) -> None:
        """Ask the workers whether they move, and measure the loop, for ever."""
        self._coordinator = coordinator
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._meter.watch_loop)
            while True:
                await trio.sleep(PULSE_S)
                coordinator.look_after()

    def missing(self) -> tuple[Missing, ...]:
        """Return what the session lacks for being ready."""
        coordinator = self._coordinator
        if coordinator is None:
            return (Missing("starting", "no worker is started yet"),)
        snapshot, figures = coordinator.snapshot(), coordinator.figures()
        return missing(self._plan, snapshot, figures, coordinator.now_s, draining=coordinator.closing)

    def channels(self) -> list[dict[str, object]]:
        """Return how the channels stand, as they are shown."""
        if self._coordinator is None:
            return []
        read = read_channels(
            self._channels, self._coordinator.snapshot(), self._coordinator.figures(), self._coordinator.now_s
        )
        return [msgspec.structs.asdict(channel) for channel in read]

    def _samples(self) -> Iterator[Sample]:
        versions = (__version__, platform.python_version(), libzmq_version())
        yield Sample("fabric_build_info", 1, versions)
        yield Sample("fabric_up", 1, (self._spec,))
        yield Sample("fabric_ready", 0 if self.missing() else 1, (self._spec,))
        yield Sample("fabric_start_time_seconds", self._meter.started_at, (self._spec,))
        yield from self._meter.samples()
        coordinator = self._coordinator
        if coordinator is not None:
            yield from self._of_log(coordinator)
            yield from read_session(
                self._plan,
                self._spec,
                self._channels,
                coordinator.snapshot(),
                coordinator.figures(),
                now_s=coordinator.now_s,
                now=time.time(),
                lost=self._meter.lost,
            )

    def _of_log(self, coordinator: Coordinator) -> Iterator[Sample]:
        if self._kept is None or coordinator.resumed is None:
            return
        recorder = coordinator.resumed.recorder
        yield Sample("fabric_session_events_total", self._kept.entries + recorder.written)
        yield Sample("fabric_session_bytes", self._kept.size_bytes + recorder.written_bytes)
        if self._kept.meter is not None:
            yield from self._kept.meter.samples()
