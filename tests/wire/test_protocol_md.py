"""What PROTOCOL.md shows is what happens: its bytes, and its worker."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

import fabric.wire
from fabric.session.losses import REASONS
from fabric.wire.codec import decode, encode
from fabric.wire.frame import Data, Eof, Frame, Marker, Provenance
from fabric.wire.lifecycle import TABLE, Step

TEXT = (Path(fabric.wire.__file__).parent / "PROTOCOL.md").read_text()

TRACE, SPAN = bytes(range(16)), bytes(range(16, 24))
EXAMPLES: dict[str, Frame] = {
    "end of channel": Eof("judge"),
    "marker": Marker("judge", "ack/judge/1/7"),
    "bare message": Data("judge", b'{"y":true}'),
    "traced message": Data("input", b'"hello"', Provenance(TRACE, SPAN, 7, flags=1)),
    "with one parent": Data("judge", b"42", Provenance(TRACE, bytes(range(32, 40)), 3, SPAN, 1)),
}


def block(language: str) -> str:
    """Return the only code block of a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    return found


def test_the_examples_are_these_frames_byte_by_byte():
    """One of each kind, both ways."""
    shown = {line[:18].strip(): bytes.fromhex(line[18:]) for line in block("hex").splitlines()}
    assert shown == {name: encode(frame) for name, frame in EXAMPLES.items()}
    assert {name: decode(raw) for name, raw in shown.items()} == EXAMPLES


def test_the_lifecycle_is_printed_from_the_table():
    """After a change of the table: paste what this test prints."""
    steps = list(Step)
    rows = sorted(TABLE.items(), key=lambda row: (row[0][0].value, steps.index(row[0][1])))
    lines = ["| state | what happens | next state |", "|---|---|---|"]
    lines += [f"| {state.name} | {step.value} | {after.name} |" for (state, step), after in rows]
    (shown,) = re.findall(r"<!-- lifecycle: .*? -->\n(.*?)<!-- end -->", TEXT, re.DOTALL)
    assert shown.splitlines() == lines


def test_the_reasons_why_a_frame_is_refused_are_the_words_that_are_counted_by():
    """Each has a row; a row without a word is about the reason above it."""
    (shown,) = re.findall(r"<!-- refused: .*? -->\n(.*?)<!-- end -->", TEXT, re.DOTALL)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown.splitlines()[2:]]
    assert {reason.strip("`") for reason, _, _ in rows if reason} == REASONS
    assert {lost for _, _, lost in rows} == {"yes", "no"}


# --- The worker of §11, against sockets that play the coordinator --------------------------------------------------


class Coordinator:
    """The other side of one worker's sockets, in plain pyzmq."""

    def __init__(self, directory: Path) -> None:
        self.context = zmq.Context()
        self.endpoints: dict[str, str] = {}
        self.sockets: dict[str, zmq.Socket[bytes]] = {}
        for port, kind in (("INPUT", zmq.PUSH), ("CTRL_IN", zmq.PUSH), ("OUTPUT", zmq.PULL), ("CTRL_OUT", zmq.PULL)):
            self.endpoints[f"PLUMB_ENDPOINT_{port}"] = endpoint = f"ipc://{directory}/{port}"
            socket = self.sockets[port] = self.context.socket(kind)
            socket.set(zmq.RCVTIMEO, 20_000)
            (socket.bind if kind == zmq.PUSH else socket.connect)(endpoint)

    def send(self, port: str, *frames: Frame) -> None:
        for frame in frames:
            self.sockets[port].send(encode(frame))

    def receive(self, port: str) -> Frame:
        return decode(self.sockets[port].recv())


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[Coordinator]:
    made = Coordinator(tmp_path)
    yield made
    made.context.destroy(linger=0)


@pytest.fixture
def worker(coordinator: Coordinator, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    path = tmp_path / "double.py"
    path.write_text(block("python"))
    environment = {"PATH": os.environ["PATH"], "FABRIC_WORKER": "double", **coordinator.endpoints}
    with subprocess.Popen([sys.executable, "-I", path], env=environment, stderr=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.mark.processes
def test_the_worker_of_the_document_does_what_the_document_says(
    coordinator: Coordinator, worker: subprocess.Popen[bytes]
):
    """Announcement, probe, bare and traced messages, markers in order, the whole shutdown, a clean exit."""
    assert coordinator.receive("CTRL_OUT") == Data("double", b'{"status":"ready"}')
    coordinator.send("INPUT", Marker("fabric", "probe/double/1"))
    assert coordinator.receive("OUTPUT") == Marker("double", "probe/double/1")
    coordinator.send(
        "INPUT",
        Data("fabric", b"21"),
        Marker("fabric", "ack/double/1/1"),
        Data("fabric", b'"ab"', Provenance(TRACE, SPAN, 2, b"parent-1parent-2", 1)),
        Marker("fabric", "ack/double/1/2"),
        Marker("fabric", "ack/double/1/3"),
        Eof("fabric"),
    )
    assert coordinator.receive("OUTPUT") == Data("double", b"42")
    assert coordinator.receive("OUTPUT") == Marker("double", "ack/double/1/1")
    traced = coordinator.receive("OUTPUT")
    assert isinstance(traced, Data)
    assert traced.provenance is not None
    assert json.loads(traced.payload) == "abab"
    assert traced.provenance == Provenance(TRACE, traced.provenance.span_id, 1, SPAN, 1)
    assert coordinator.receive("OUTPUT") == Marker("double", "ack/double/1/2")
    assert coordinator.receive("OUTPUT") == Marker("double", "ack/double/1/3")
    assert coordinator.receive("OUTPUT") == Eof("double")
    coordinator.send("CTRL_IN", Data("fabric", b'{"stop":true}'), Eof("fabric"))
    assert coordinator.receive("CTRL_OUT") == Eof("double")
    _, stderr = worker.communicate(timeout=20)
    assert (worker.returncode, stderr) == (0, b"")
