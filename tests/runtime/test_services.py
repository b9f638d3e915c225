"""Records of services: one of a name, found from below, judged by what the system says."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from fabric.errors import ConfigError, NotRunning
from fabric.runtime.processes import Process, identify, is_alive, memory_bytes, open_handle
from fabric.runtime.services import (
    Outcome,
    Record,
    find_record,
    find_records,
    find_service,
    hold_name,
    read_record,
    record_file,
    write_record,
    write_record_in_place,
)

GONE = Process(2**22 - 1, "1@00000000")


def record(project: str = "demo", *, process: Process = GONE, spec: str = "/x/demo.plumb") -> Record:
    return Record(1, project, spec, process, "/nowhere/service.sock", 1795258800.0)


def us() -> Process:
    process = identify(os.getpid())
    assert process is not None
    return process


def written(state: Path, *records: Record) -> None:
    (state / "run").mkdir(parents=True, exist_ok=True)
    for one in records:
        write_record(one, record_file(state, one.project))


def test_a_process_is_its_number_and_when_it_started():
    """Another one of the same number is another one; a zombie is none."""
    assert is_alive(us())
    assert not is_alive(Process(os.getpid(), "1@00000000"))
    assert memory_bytes(us())
    assert memory_bytes(Process(os.getpid(), "1@00000000")) is None
    child = subprocess.Popen(["true"])
    process = identify(child.pid)
    assert process is not None
    handle = open_handle(process)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(process)
    assert open_handle(process) is None
    child.wait()
    assert identify(child.pid) is None
    if handle is not None:
        os.close(handle)


def test_a_record_is_read_as_it_was_written(tmp_path: Path):
    """Replaced as a whole; with its outcome it fits into its own place, should the disk be full."""
    written(tmp_path, record())
    file = record_file(tmp_path, "demo")
    assert read_record(file) == record()
    size_bytes = file.stat().st_size
    ended = msgspec.structs.replace(record(), outcome=Outcome(1, 1795258900.0, 0.5, ("child_died", "x" * 100)))
    write_record_in_place(ended, file)
    assert read_record(file) == ended
    assert file.stat().st_size == size_bytes
    assert sorted(path.name for path in file.parent.iterdir()) == ["demo.json"]


def test_a_file_that_is_no_record_is_an_error_that_names_it(tmp_path: Path):
    """Not a service that is not there. It is in nobody's way who names another."""
    written(tmp_path, record("up", process=us()))
    record_file(tmp_path, "demo").write_text('{"project": "demo"}')
    with pytest.raises(ConfigError, match=r"demo\.json is not the record of a service"):
        find_service(tmp_path, tmp_path, spec=None, project=None)
    assert find_service(tmp_path, tmp_path, spec=None, project="up").process == us()


def test_a_name_is_held_by_one(tmp_path: Path):
    """By whom is said; it is free again afterwards, while the record stays."""
    with hold_name("demo", tmp_path):
        written(tmp_path, record(process=us()))
        with (
            pytest.raises(ConfigError, match=f"'demo' is running already, pid {os.getpid()}"),
            hold_name("demo", tmp_path),
        ):
            pass
    with hold_name("demo", tmp_path):
        assert read_record(record_file(tmp_path, "demo")) is not None


@pytest.mark.parametrize("name", ["", "a/b", "..", ".x", "a b", "x\n"])
def test_what_cannot_be_a_file_cannot_name_a_service(name: str, tmp_path: Path):
    """Nothing is written."""
    with pytest.raises(ConfigError, match="cannot name a service"), hold_name(name, tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_services_are_found_from_below_and_running_ones_first(tmp_path: Path):
    """A dead one that is nearer does not hide one that runs."""
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    running = record("up", process=us())
    written(tmp_path / ".fabric", running)
    written(below / ".fabric", record("dead"))
    assert find_service(below, None, spec=None, project=None) == running
    assert find_record(below, None, spec=None, project=None) == (tmp_path / ".fabric", running)
    assert find_record(below, None, spec=None, project="dead") == (below / ".fabric", record("dead"))
    with pytest.raises(NotRunning, match="no service 'dead' runs"):
        find_service(below, None, spec=None, project="dead")


def test_several_are_told_apart_by_name_or_program(tmp_path: Path):
    """Without either, the error names them."""
    first, second = (record(name, process=us(), spec=str(tmp_path / f"{name}.plumb")) for name in ("a", "b"))
    written(tmp_path, first, second)
    assert find_service(tmp_path, tmp_path, spec=None, project="a") == first
    assert find_service(tmp_path, tmp_path, spec=tmp_path / "b.plumb", project=None) == second
    with pytest.raises(NotRunning, match="several services are meant: a, b; name one with --project"):
        find_service(tmp_path, tmp_path, spec=None, project=None)


def test_those_that_are_listed_are_those_that_are_found(tmp_path: Path):
    """Of the nearest directory where one that is meant runs, with those that have ended there; else where one was."""
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    running = record("up", process=us())
    written(tmp_path / ".fabric", running, record("old"))
    written(below / ".fabric", record("dead"), record("up", spec="/x/other.plumb"))
    assert find_records(below, None, spec=None, project=None)[1] == [record("old"), running]
    assert find_records(below, None, spec=None, project="up")[1] == [running]
    assert find_records(below, None, spec=None, project="dead")[1] == [record("dead")]
    assert find_records(below, None, spec=Path("/x/other.plumb"), project=None)[1] == [
        record("up", spec="/x/other.plumb")
    ]
    assert find_records(below, None, spec=None, project="none")[1] == []


def test_a_broken_record_hides_no_service_of_another_name(tmp_path: Path):
    """It is told of if it could be meant."""
    written(tmp_path, record("up", process=us()))
    record_file(tmp_path, "demo").write_text("{")
    written(tmp_path / "a" / ".fabric", record("up", process=us()))
    record_file(tmp_path / ".fabric", "demo").parent.mkdir(parents=True)
    record_file(tmp_path / ".fabric", "demo").write_text("{")
    assert find_records(tmp_path / "a", None, spec=None, project=None)[1] == [record("up", process=us())]
    assert find_records(tmp_path, tmp_path, spec=None, project="up")[1] == [record("up", process=us())]
    with pytest.raises(ConfigError, match=r"demo\.json is not the record of a service"):
        find_records(tmp_path, tmp_path, spec=None, project=None)
