"""What a service leaves in its state directory while it runs, so that others know of it also when it was killed.

The record is written on transitions only, the logs as lines come. Both are written by a thread: a slow disk delays no
message, and one that is full or gone costs lines, which are counted, but not the session.
"""

from __future__ import annotations

__all__ = ["Journal"]

import errno
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import trio

from fabric.errors import ConfigError
from fabric.launch.engine_address import engine_address
from fabric.plan.place import unsecured
from fabric.plan.plan import Plan
from fabric.runtime.log_files import NOTES, LogWriter, note_entry, timestamp, worker_entry
from fabric.runtime.processes import Process, identify
from fabric.runtime.services import (
    Outcome,
    Record,
    WorkerRecord,
    describe_place,
    describe_worker,
    log_directory,
    record_file,
    write_record,
    write_record_in_place,
)
from fabric.session.events import Level, Note

UNWRITTEN_BYTES_MAX = 8 * 1024 * 1024
"""Lines that may wait for the disk. Beyond, they are counted and left out: they must not fill the memory."""

LAST_WRITE_S = 2.0
"""How long the end of a service waits for a disk that takes nothing."""

_RANK: dict[Level, int] = {"debug": 0, "info": 1, "warning": 2, "error": 3}


class Journal:
    """The record and the logs of one service, whose name the caller holds.

    Attributes:
        unwritten: log lines that could not be written.

    Args:
        plan: what is run.
        project: the service's name.
        state: the state directory.
        socket: where clients connect.
        process: this one.
        level: the lowest level of notes that is logged.
        http, token_file: as in the record.

    Raises:
        ConfigError: the state directory cannot be written.
    """

    def __init__(
        self,
        plan: Plan,
        project: str,
        state: Path,
        socket: str,
        *,
        process: Process,
        level: Level,
        http: str = "",
        token_file: str = "",
    ) -> None:
        self._file = record_file(state, project)
        self._rank = _RANK[level]
        self._writer = LogWriter(log_directory(state, project))
        self._lines: list[tuple[str, bytes]] = []
        self._unwritten_bytes = 0
        self._work = trio.Event()
        self._writing = threading.Lock()
        self._kept = trio.Event()
        self._finishing = False
        self._record_is_new = False
        self._told = False
        self._ending_s: float | None = None
        self.unwritten = 0
        workers = tuple(
            WorkerRecord(worker.name, worker.spec.kind, describe_worker(worker.spec), place=describe_place(worker))
            for worker in plan.workers
        )
        containers = [worker for worker in plan.workers if worker.runner == "container"]
        engines = tuple(sorted({engine_address(worker.engine, os.environ) for worker in containers}))
        self.record = Record(
            1,
            project,
            str(Path(plan.path).resolve()),
            process,
            socket,
            time.time(),
            "starting",
            workers,
            engines=engines,
            http=http,
            token_file=token_file,
            insecure=unsecured(plan),
        )
        try:
            write_record(self.record, self._file)
        except OSError as error:
            raise ConfigError(f"cannot write {self._file}: {error.strerror}") from None
        self._log(Note("info", "fabric.starting", {"spec": plan.path, "pid": process.pid}))

    # --- what happens ---

    def noted(self, note: Note) -> None:
        """Take down a note, and what it means for a worker."""
        self._log(note)
        name = note.fields.get("worker")
        match note.event:
            case "worker.spawned" | "worker.awaited" if "missing" not in note.fields:
                process = identify(pid) if (pid := note.fields.get("pid")) is not None else None
                (before,) = (worker for worker in self.record.workers if worker.name == name)
                restarts = before.restarts + (before.started_at is not None)
                self._worker(
                    name, state="starting", process=process, started_at=time.time(), restarts=restarts, exit_status=None
                )
            case "worker.ready":
                self._worker(name, state="ready")
            case "worker.exited":
                state = "failed" if note.level == "warning" else "exited"
                self._worker(name, state=state, exit_status=note.fields["status"])
            case "worker.disconnected":
                self._worker(name, state="starting")
            case "worker.not_started":
                self._worker(name, state="failed")
            case "worker.stopped":
                self._worker(name, state="stopped")
            case "session.failed":
                self._ending_s = self._ending_s or time.monotonic()

    def worker_wrote(self, worker: str, line: str) -> None:
        """Take down a line that a worker wrote."""
        self._append(worker, worker_entry(timestamp(time.time()), worker, line).raw)

    def opened(self) -> None:
        """Every worker is ready."""
        if self.record.phase == "starting":  # not if it is to end already
            self._log(Note("info", "fabric.ready", {}))
            self._change(phase="ready")

    def asked_to_stop(self) -> None:
        """Somebody wants it to end."""
        self._log(Note("info", "fabric.draining", {}))
        self._ending_s = time.monotonic()
        self._change(phase="draining")

    def _worker(self, name: object, **changes: object) -> None:
        self._change(
            workers=tuple(
                msgspec.structs.replace(worker, **changes) if worker.name == name else worker
                for worker in self.record.workers
            )
        )

    def _change(self, **changes: object) -> None:
        self.record = msgspec.structs.replace(self.record, **changes)
        self._record_is_new = True
        self._work.set()

    def _log(self, note: Note) -> None:
        if _RANK[note.level] >= self._rank:
            self._append(NOTES, note_entry(timestamp(time.time()), note).raw)

    def _append(self, name: str, raw: bytes) -> None:
        if self._unwritten_bytes + len(raw) > UNWRITTEN_BYTES_MAX:
            self.unwritten += 1
            return
        self._lines.append((name, raw + b"\n"))
        self._unwritten_bytes += len(raw)
        self._work.set()

    # --- writing ---

    async def keep(self, tell: Callable[[Note], None]) -> None:
        """Write what there is to write, until :meth:`finish`.

        Args:
            tell: hears once that something cannot be written.
        """
        while self._lines or self._record_is_new or not self._finishing:
            await self._work.wait()
            self._work = trio.Event()
            await self._write_some(tell)
        self._kept.set()

    async def finish(self) -> None:
        """Let what is left be written, if the disk takes it in time."""
        self._finishing = True
        self._work.set()
        with trio.move_on_after(LAST_WRITE_S):
            await self._kept.wait()

    async def _write_some(self, tell: Callable[[Note], None]) -> None:
        lines, self._lines = self._lines, []
        self._unwritten_bytes = 0
        record, self._record_is_new = (self.record if self._record_is_new else None), False
        self.unwritten += len(lines)  # until they are
        written, error = await trio.to_thread.run_sync(self._write, lines, record, abandon_on_cancel=True)
        self.unwritten -= written
        if error is not None and not self._told:
            self._told = True
            where = error.filename or self._file.parent.parent
            tell(Note("error", "log.unwritten", {"reason": f"cannot write {where}: {error.strerror}"}))

    def _write(self, lines: list[tuple[str, bytes]], record: Record | None) -> tuple[int, OSError | None]:
        """Write; return how many lines were written, and the first error."""
        if not self._writing.acquire(timeout=LAST_WRITE_S):
            return 0, TimeoutError(errno.ETIMEDOUT, "the disk takes nothing")
        try:
            return self._write_locked(lines, record)
        finally:
            self._writing.release()

    def _write_locked(self, lines: list[tuple[str, bytes]], record: Record | None) -> tuple[int, OSError | None]:
        written, first = 0, None
        by_name: defaultdict[str, list[bytes]] = defaultdict(list)
        for name, line in lines:
            by_name[name].append(line)
        for name, its_lines in by_name.items():
            try:
                self._writer.write(name, b"".join(its_lines))
                written += len(its_lines)
            except OSError as error:
                first = first or error
        try:
            if record is not None:
                write_record(record, self._file)
        except OSError as error:
            first = first or error
        return written, first

    def end(self, outcome: Outcome) -> Outcome:
        """Write how the service ended, and return it complete. The last thing, outside of the event loop."""
        took_s = time.monotonic() - self._ending_s if self._ending_s is not None else 0.0
        outcome = msgspec.structs.replace(outcome, took_s=took_s)
        self.record = msgspec.structs.replace(self.record, outcome=outcome)
        level: Level = "error" if outcome.exit_code else "info"
        self._lines.append((NOTES, note_entry(timestamp(outcome.at), _stopped(level, outcome)).raw + b"\n"))
        written, error = self._write(self._lines, self.record)
        self.unwritten += len(self._lines) - written
        if error is not None and error.errno == errno.ENOSPC:
            with suppress(OSError):
                write_record_in_place(self.record, self._file)
        self._writer.close()
        return outcome


def _stopped(level: Level, outcome: Outcome) -> Note:
    fields: dict[str, object] = {"exit_code": outcome.exit_code, "messages": outcome.messages}
    if outcome.error is not None:
        fields |= {"code": outcome.error[0], "message": outcome.error[1]}
    return Note(level, "fabric.stopped", fields)
