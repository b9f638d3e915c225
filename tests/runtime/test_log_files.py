"""Logs on disk: bounded, whole lines, readable while they are written and moved."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from fabric.errors import ConfigError
from fabric.runtime.log_files import (
    LogReader,
    LogWriter,
    log_names,
    note_entry,
    parse_entry,
    parse_time,
    timestamp,
    worker_entry,
)
from fabric.session.events import Note


def line(number: int, worker: str = "critic") -> bytes:
    return worker_entry(timestamp(number), worker, f"line {number}").raw + b"\n"


def found(directory: Path) -> list[int]:
    with LogReader(directory) as reader:
        return numbers(reader)


def numbers(reader: LogReader) -> list[int]:
    return [int((entry.line or "").split()[1]) for entry in reader.more()]


def test_entries_say_when_who_and_what():
    """The two forms."""
    entry = worker_entry(timestamp(1795258800.5), "critic", 'said "é"')
    assert entry.raw.decode() == '{"ts":"2026-11-21T11:00:00.500000Z","worker":"critic","line":"said \\"é\\""}'
    note = note_entry(timestamp(0), Note("info", "worker.ready", {"worker": "critic", "telemetry": b"{}"}))
    assert note.raw == (
        b'{"ts":"1970-01-01T00:00:00.000000Z","log":"info","event":"worker.ready","worker":"critic","telemetry":"{}"}'
    )
    assert [parse_entry(raw) for raw in (entry.raw, note.raw)] == [entry, note]


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"1", b'{"ts":"x"}', b'{"line":"x"}', b"[" * 100_000, b"\xff"])
def test_what_is_no_entry_is_none(raw: bytes):
    """A kill may cut a line anywhere."""
    assert parse_entry(raw) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21T11:00:00Z", "2026-11-21T11:00:00.000000Z"),
        ("2026-11-21T12:00:00.25+01:00", "2026-11-21T11:00:00.250000Z"),
        ("90s", "1970-01-01T00:58:30.000000Z"),
        ("0.5", "1970-01-01T00:59:59.500000Z"),
        ("5m", "1970-01-01T00:55:00.000000Z"),
        ("1h", "1970-01-01T00:00:00.000000Z"),
    ],
)
def test_times_are_dates_or_ages(text: str, expected: str):
    """Ages count back from now, here one hour past the epoch."""
    assert parse_time(text, now=3600.0) == expected


@pytest.mark.parametrize("text", ["", "m", "yesterday", "5 minutes", "-5m", "99999999999d", "2026-13-01"])
def test_what_is_no_time_is_refused(text: str):
    """With the two forms that are understood."""
    with pytest.raises(ConfigError, match="expected one like 2026-11-21T11:00:00Z, or an age like 5m"):
        parse_time(text, now=3600.0)


def test_a_full_file_becomes_the_old_one(tmp_path: Path):
    """Two files of the limit at most; what is read are the last lines, in order."""
    writer = LogWriter(tmp_path, size_bytes_max=1000)
    for number in range(100):
        writer.write("critic", line(number))
    writer.close()
    sizes = [path.stat().st_size for path in sorted(tmp_path.iterdir())]
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["critic.jsonl", "critic.jsonl.1"]
    assert max(sizes) <= 1000
    kept = found(tmp_path)
    assert kept == list(range(kept[0], 100))
    assert len(kept) == sum(sizes) // len(line(10))


def test_nothing_is_missed_while_files_move(tmp_path: Path):
    """A reader that looks after every line, or only after two moves, misses nothing that is still there."""
    writer = LogWriter(tmp_path, size_bytes_max=1000)
    seen: list[int] = []
    late: list[int] = []
    with LogReader(tmp_path) as diligent, LogReader(tmp_path) as lazy:
        for number in range(60):
            writer.write("critic", line(number))
            seen += numbers(diligent)
            if number % 20 == 19:  # 13 lines are a file
                late += numbers(lazy)
    assert seen == late == list(range(60))
    writer.close()


def test_a_reader_that_skips_sees_what_comes_from_then_on(tmp_path: Path):
    """Also of a worker that had written nothing before."""
    writer = LogWriter(tmp_path)
    writer.write("critic", line(1))
    with LogReader(tmp_path) as reader:
        reader.skip()
        writer.write("critic", line(2))
        writer.write("editor", line(3, "editor"))
        assert numbers(reader) == [2, 3]
    writer.close()


def test_workers_are_merged_in_the_order_of_time(tmp_path: Path):
    """And the last lines are counted for each."""
    writer = LogWriter(tmp_path)
    for number in range(10):
        worker = "critic" if number % 3 else "editor"
        writer.write(worker, line(number, worker))
    writer.close()
    assert found(tmp_path) == list(range(10))
    with LogReader(tmp_path) as reader:
        last = [entry.line for entry in reader.history(lambda _: True, last=2)]
    assert last == ["line 6", "line 7", "line 8", "line 9"]


def test_a_line_that_was_cut_costs_itself_alone(tmp_path: Path):
    """The next service of the name begins a new line; a reader waits for the rest of one that is being written."""
    path = tmp_path / "critic.jsonl"
    path.write_bytes(line(1) + line(2)[:-5])
    with LogReader(tmp_path) as reader:
        assert numbers(reader) == [1]
        with path.open("ab") as file:
            file.write(line(2)[-5:])
        assert numbers(reader) == [2]
    path.write_bytes(line(1) + line(2)[:-5])
    writer = LogWriter(tmp_path)
    writer.write("critic", line(3))
    assert found(tmp_path) == [1, 3]
    writer.close()


def test_names_that_are_no_file_names_are_read_as_they_were(tmp_path: Path):
    """Who wrote a line stands in the line."""
    writer = LogWriter(tmp_path)
    writer.write("../a b", worker_entry(timestamp(1), "../a b", "x").raw + b"\n")
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == [".._a_b.jsonl"]
    with LogReader(tmp_path) as reader:
        assert [entry.worker for entry in reader.more()] == ["../a b"]


def test_what_cannot_be_written_leaves_no_half_line(tmp_path: Path):
    """It is the caller's to count; what comes when there is room again stands on a line of its own."""
    writer = LogWriter(tmp_path)
    writer.write("critic", line(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(line(1)) + 10, hard))  # as a disk with room for ten bytes more
    try:
        with pytest.raises(OSError, match="too large"):
            writer.write("critic", line(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.write("critic", line(3))
    writer.close()
    assert (tmp_path / "critic.jsonl").read_bytes() == line(1) + line(3)


def test_there_may_be_no_logs(tmp_path: Path):
    """A service that has not written anything yet."""
    assert found(tmp_path / "none") == []
    assert log_names(tmp_path / "none") == set()
