"""What a service writes down while it runs."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import trio
from plans import plan_of

from fabric.runtime.journal import UNWRITTEN_BYTES_MAX, Journal
from fabric.runtime.log_files import LogReader
from fabric.runtime.processes import Process
from fabric.runtime.services import Outcome, Record, log_directory, read_record, record_file
from fabric.session.events import Note

PLAN = plan_of('let main : !int -> !int = python { call: "m:f" }\n')


def journal(state: Path) -> Journal:
    record_file(state, "demo").parent.mkdir(parents=True)
    return Journal(PLAN, "demo", state, "/nowhere/s", process=Process(1, "x"), level="info")


def recorded(state: Path) -> Record:
    record = read_record(record_file(state, "demo"))
    assert record is not None
    return record


async def kept(journal: Journal, told: list[Note]) -> None:
    """Let it write what it has to."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(journal.keep, told.append))
        await journal.finish()
        nursery.cancel_scope.cancel()


async def test_transitions_and_lines_are_on_disk(tmp_path: Path):
    """Before the service ends, for it may be killed."""
    service = journal(tmp_path)
    assert recorded(tmp_path).phase == "starting"
    service.noted(Note("info", "worker.spawned", {"worker": "main", "pid": 1}))
    service.noted(Note("info", "worker.ready", {"worker": "main"}))
    service.noted(Note("debug", "worker.telemetry", {"worker": "main"}))
    service.opened()
    service.worker_wrote("main", "hello")
    service.noted(Note("warning", "worker.exited", {"worker": "main", "status": 3}))
    await kept(service, [])
    record = recorded(tmp_path)
    (worker,) = record.workers
    assert (record.phase, record.outcome) == ("ready", None)
    assert (worker.kind, worker.what, worker.state, worker.exit_status) == ("python", "m:f", "failed", 3)
    assert worker.process is not None
    assert worker.process.pid == 1
    service.end(Outcome(1, 4e9, messages=4))
    assert recorded(tmp_path).outcome == Outcome(1, 4e9, messages=4)
    with LogReader(log_directory(tmp_path, "demo")) as reader:
        assert [entry.line or entry.event for entry in reader.more()] == [
            "fabric.starting", "worker.spawned", "worker.ready", "fabric.ready", "hello", "worker.exited",
            "fabric.stopped",
        ]  # fmt: skip
    assert service.unwritten == 0


async def test_what_cannot_be_written_is_told_once_and_counted(tmp_path: Path):
    """The service goes on."""
    (tmp_path / "logs").write_text("a file where a folder should be")
    service = journal(tmp_path)
    told: list[Note] = []
    service.worker_wrote("main", "one")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(service.keep, told.append))
        while not told:
            await trio.lowlevel.checkpoint()
        service.worker_wrote("main", "two")
        await service.finish()
        nursery.cancel_scope.cancel()
    (note,) = told
    assert (note.level, note.event) == ("error", "log.unwritten")
    assert str(tmp_path) in note.fields["reason"]
    assert service.unwritten == 3  # and the note that it starts
    service.end(Outcome(0, 5.0))
    assert service.unwritten == 4
    assert recorded(tmp_path).outcome == Outcome(0, 5.0)


def test_lines_that_wait_for_the_disk_are_bounded(tmp_path: Path):
    """What is beyond is counted."""
    service = journal(tmp_path)
    line = "x" * 1024 * 1024
    for _ in range(2 * UNWRITTEN_BYTES_MAX // len(line)):
        service.worker_wrote("main", line)
    assert service.unwritten == UNWRITTEN_BYTES_MAX // len(line) + 1
    service.end(Outcome(0, 5.0))


async def test_a_worker_that_is_started_again_is_counted(tmp_path: Path):
    """With its new process, and without the exit of the old one."""
    service = journal(tmp_path)
    for name, fields in (("spawned", {"pid": 1}), ("ready", {}), ("exited", {"status": 0}), ("stopped", {})):
        service.noted(Note("info", f"worker.{name}", {"worker": "main", **fields}))
    (worker,) = service.record.workers
    assert (worker.state, worker.exit_status, worker.restarts) == ("stopped", 0, 0)
    service.noted(Note("info", "worker.spawned", {"worker": "main", "pid": os.getpid()}))
    await kept(service, [])
    (worker,) = recorded(tmp_path).workers
    assert (worker.state, worker.exit_status, worker.restarts) == ("starting", None, 1)
    assert worker.process is not None
    assert worker.process.pid == os.getpid()
    service.end(Outcome(0, 4e9))


def test_a_worker_that_could_not_be_started_has_failed(tmp_path: Path):
    """It does not start for ever. One that is only stopped again, because it may be started once more, is stopped."""
    service = journal(tmp_path)
    not_started = Note("warning", "worker.not_started", {"worker": "main", "reason": "no memory"})
    service.noted(not_started)
    assert [worker.state for worker in service.record.workers] == ["failed"]
    service.noted(not_started)
    service.noted(Note("error", "worker.stopped", {"worker": "main", "reason": "no memory"}))
    assert [worker.state for worker in service.record.workers] == ["stopped"]
    service.end(Outcome(4, 4e9))
