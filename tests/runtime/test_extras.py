"""Files of what is heard on observed ports."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from fabric.errors import ConfigError
from fabric.runtime.extras import FLUSH_S, UNWRITTEN_BYTES_MAX, open_extras
from fabric.session.events import Heard


class Complaints:
    """Remembers errors."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, dict[str, object]]] = []

    def __call__(self, message: str, code: str, fields: object) -> None:
        self.said.append((message, code, dict(fields)))  # type: ignore[call-overload]


async def test_each_port_has_its_file_of_lines(tmp_path: Path):
    """Worker, tab, JSON on one line; what the file held before is gone."""
    files = {"telemetry": str(tmp_path / "t"), "ctrl_out": str(tmp_path / "c")}
    (tmp_path / "t").write_text("before\n" * 9)
    complaints = Complaints()
    with open_extras(files, complaints) as extras:
        extras.hear([Heard("telemetry", "a", b'{"n":\n1}'), Heard("ctrl_out", "b", b"2")])
        extras.hear([Heard("telemetry", "b", b"3")])
        extras.finish()
        await extras.write()
        extras.report()
    assert (tmp_path / "t").read_bytes() == b'a\t{"n": 1}\nb\t3\n'
    assert (tmp_path / "c").read_bytes() == b"b\t2\n"
    assert complaints.said == []


async def test_what_a_full_disk_does_not_take_is_counted():
    """And said once, at the end; nothing is raised."""
    complaints = Complaints()
    with open_extras({"telemetry": "/dev/full"}, complaints) as extras:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(extras.write)
            extras.hear([Heard("telemetry", "a", b"1"), Heard("telemetry", "a", b"2")])
            extras.finish()
        extras.hear([Heard("telemetry", "a", b"3")])
        extras.report()
    text = "3 lines of telemetry are not in /dev/full: No space left on device"
    assert complaints.said == [(text, "extra_dropped", {"extra": "telemetry", "dropped": 3})]


async def test_a_reader_that_sleeps_is_left_behind(tmp_path: Path):
    """Beyond a bound lines are dropped; the end waits for it no longer than it may."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    complaints = Complaints()
    line = Heard("telemetry", "a", b"1" * (UNWRITTEN_BYTES_MAX // 3))
    try:
        with open_extras({"telemetry": str(pipe)}, complaints) as extras:
            extras.hear([line] * 4)
            extras.finish()
            with trio.CancelScope(deadline=trio.current_time()) as scope:
                await extras.write()
            extras.report()
    finally:
        os.close(reader)
    assert scope.cancelled_caught
    ((text, _, fields),) = complaints.said
    assert fields["dropped"] == 4
    assert text.endswith(f"it took nothing for {FLUSH_S:g} s")


@pytest.mark.parametrize(("name", "reason"), [("no/where", "No such file or directory"), (".", "Is a directory")])
def test_a_file_that_cannot_be_written_is_an_error_at_once(tmp_path: Path, name: str, reason: str):
    """With its name."""
    path = tmp_path / name
    with (
        pytest.raises(ConfigError, match=f"--extra telemetry={path}: cannot write it: {reason}"),
        open_extras({"telemetry": str(path)}, Complaints()),
    ):
        pass


def test_a_pipe_that_nobody_reads_is_an_error_at_once(tmp_path: Path):
    """Opening it would wait for a reader for ever."""
    os.mkfifo(tmp_path / "pipe")
    with (
        pytest.raises(ConfigError, match="cannot write it"),
        open_extras({"telemetry": f"{tmp_path}/pipe"}, Complaints()),
    ):
        pass
