"""What a coordinator tells of its session as spans, if the environment asks for it."""

from __future__ import annotations

__all__ = ["Tracer", "open_tracer"]

import hashlib
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

from fabric.errors import ConfigError
from fabric.plan.plan import Plan
from fabric.runtime.coordinator import Report
from fabric.session.events import Note
from fabric.session.spans import About
from fabric.tracing.exporter import MISSING, Exporter, is_installed
from fabric.tracing.setting import read_tracing
from fabric.tracing.span import Span

SERVICE = "fabric-coordinator"


class Tracer:
    """Sends the spans of one session.

    Args:
        exporter: of this process.
        about: the session.
        report: hears how it ends, if something was lost.
    """

    def __init__(self, exporter: Exporter, about: About, report: Report) -> None:
        self.about = about
        self._exporter = exporter
        self._report = report
        self._offset_s = time.time() - trio.current_time()

    def tell(self, spans: Sequence[Span]) -> None:
        """See ``coordinator.Tracer``."""
        self._exporter.emit(spans, self._offset_s)

    async def end(self) -> None:
        """Send what is left, which takes no longer than ``FLUSH_S``."""
        exporter = self._exporter
        await trio.to_thread.run_sync(exporter.close, abandon_on_cancel=True)
        if exporter.lost:
            fields = {"sent": exporter.sent, "lost": exporter.lost, "reason": exporter.reason}
            self._report.noted(Note("warning", "tracing.ended", fields))


@asynccontextmanager
async def open_tracer(plan: Plan, environment: Mapping[str, str], report: Report) -> AsyncIterator[Tracer | None]:
    """Give what sends spans of a session; ``None``: nobody wants any.

    Raises:
        ConfigError: the environment asks for what is not installed, or cannot be.
    """
    settings = read_tracing(environment)
    if settings is None:
        yield None
        return
    if not is_installed():
        raise ConfigError(MISSING)
    token = trio.lowlevel.current_trio_token()

    def note(event: str, fields: dict[str, object]) -> None:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(report.noted, Note("warning", event, fields))

    path = Path(plan.path)
    about = About(path.stem, _digest(path), os.urandom(16).hex(), settings.caller, settings.content)
    project = environment.get("FABRIC_PROJECT") or path.parent.name
    exporter = Exporter(settings, SERVICE, {"fabric.project": project}, note)
    try:
        yield Tracer(exporter, about, report)
    finally:
        exporter.close(0.0)


def _digest(path: Path) -> str:
    """Return that of a program's text; nothing of one that has no file."""
    try:
        return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    except OSError:
        return ""
