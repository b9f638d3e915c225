"""Workers that send damaged frames between their answers, and count what has to become of each.

    hostile_worker.py sockets|lines SEED FRAMES INPUTS FILE

What they count goes to FILE, as JSON: frames by reason for which they have to be refused, how many of these count as
lost, and messages that are taken by port, those among them that are no JSON apart. Frames that would be a fault of the
process are not sent, nor ends of ports that are needed; nor markers of its own, which no damage makes.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import zmq
from any_frames import frames

from fabric.errors import RemoteProtocolError, ValueRejected
from fabric.wire.codec import decode, encode, is_batch, payload_of, split
from fabric.wire.control import parse_ready
from fabric.wire.frame import Data, Eof, Frame, Marker
from fabric.wire.lines import LineBridge
from fabric.wire.payload import decode_json

NAME = os.environ.get("FABRIC_WORKER", "h")
BEHIND_END = 20
"""Frames behind the end of the output."""


class Expected:
    """What has to become of what is sent."""

    def __init__(self) -> None:
        self.rejected: Counter[str] = Counter()
        self.lost = 0
        self.taken: Counter[str] = Counter()
        self.no_json: Counter[str] = Counter()
        self.frames = 0
        self.ready = False
        self.asked = False  # whether a message is in flight

    def send(self, port: str, raw: bytes) -> bool:
        """Count a frame; return whether it may be sent."""
        try:
            parts = split(raw)
            found = [self._reason(port, part, in_batch=is_batch(raw)) for part in parts]
        except RemoteProtocolError as error:
            found = [(error.reason, True, b"")]
        if None in found:
            return False
        self.frames += 1
        for reason, lost, payload in filter(None, found):
            if reason:
                self.rejected[reason] += 1
                self.lost += lost
            elif port != "ctrl_out":
                self._take(port, payload)
        return True

    def _take(self, port: str, payload: bytes) -> None:
        try:
            decode_json(payload)
        except ValueRejected:
            self.no_json[port] += 1
            self.lost += 1
        else:
            self.taken[port] += 1

    def _reason(self, port: str, raw: bytes, *, in_batch: bool) -> tuple[str, bool, bytes] | None:
        """Return why a frame is refused, if it is; whether it is lost then; its message. ``None``: not to be sent."""
        try:
            frame = decode(raw)
        except RemoteProtocolError as error:
            return error.reason, True, b""
        match frame:
            case Eof() if in_batch:
                return "batch", False, b""
            case Eof() if port == "output" and not self.ready:
                return "lifecycle", False, b""
            case Eof():
                return None
            case Marker():
                return "marker", False, b""
            case Data(_, payload):
                return self._data(port, payload)

    def _data(self, port: str, payload: bytes) -> tuple[str, bool, bytes] | None:
        announces = parse_ready(payload) is not None
        if port == "ctrl_out" and announces:
            return ("announced", False, b"") if self.ready else None
        if port == "ctrl_out" and not self.ready:
            return "unannounced", True, b""
        if port == "output" and not self.asked:
            return "unasked", True, b""
        if port not in ("output", "ctrl_out", "telemetry"):
            return "port", True, b""
        return "", False, payload

    def write(self, path: Path) -> None:
        told = {"frames": self.frames, "rejected": self.rejected, "lost": self.lost}
        path.write_text(json.dumps(told | {"taken": self.taken, "no_json": self.no_json}))


class Sockets:
    """A worker on sockets."""

    def __init__(self, expected: Expected, damaged: Iterator[bytes]) -> None:
        self._context = zmq.Context()
        self._expected = expected
        self._damaged = damaged
        self._in = {port: self._open(port, zmq.PULL) for port in ("input", "ctrl_in")}
        self._out = {port: self._open(port, zmq.PUSH) for port in ("output", "ctrl_out", "telemetry")}

    def _open(self, port: str, kind: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.set(zmq.SNDHWM, 0)
        endpoint = os.environ[f"PLUMB_ENDPOINT_{port.upper()}"]
        (socket.connect if kind == zmq.PULL else socket.bind)(endpoint)
        return socket

    def say(self, port: str, frame: Frame) -> None:
        self._out[port].send(encode(frame))

    def damage(self, count: int) -> None:
        """Send damaged frames, on one port after the other."""
        sent = 0
        ports = tuple(self._out)
        while sent < count:
            port = ports[sent % len(ports)]
            raw = next(self._damaged)
            if self._expected.send(port, raw):
                self._out[port].send(raw)
            sent += 1

    def run(self, count: int, inputs: int) -> None:
        expected = self._expected
        self.damage(count // 20)
        self.say("ctrl_out", Data(NAME, b'{"status":"ready"}'))
        expected.ready = True
        while not isinstance(frame := decode(self._in["input"].recv()), Eof):
            if isinstance(frame, Marker):
                self.say("output", Marker(NAME, frame.id))
                expected.asked = False
                continue
            expected.asked = True
            self.damage(count * 9 // (inputs * 10))
            self.say("output", Data(NAME, frame.payload))
        self.damage(count // 20)
        self.say("output", Eof(NAME))
        for _ in range(BEHIND_END):  # whether each of these is seen depends on who is faster
            self.say("output", Marker(NAME, "x"))
            self.say("output", Eof(NAME))
        while not isinstance(decode(self._in["ctrl_in"].recv()), Eof):
            pass
        for port in ("ctrl_out", "telemetry"):
            self.say(port, Eof(NAME))
        self._context.destroy(linger=-1)


def run_lines(expected: Expected, damaged: Iterator[bytes], count: int, inputs: int) -> None:
    """Answer lines, and print damaged frames as lines between them."""
    bridge = LineBridge(NAME, echoes=True)
    expected.ready = True
    write: Callable[[bytes], object] = sys.stdout.buffer.write
    for text in sys.stdin.buffer:
        if text.startswith(b'{"__port":"marker"'):
            write(text)
            expected.asked = False
        else:
            expected.asked = True
            for _ in range(count // inputs):
                raw = next(damaged)
                line = (payload_of(raw) or raw).replace(b"\n", b"")
                try:
                    made = bridge.from_program(line)
                except ValueRejected:  # no marker at all: the program would be killed
                    continue
                sent = [expected.send(port, raw) for port, raw in made]
                if all(sent):
                    write(line + b"\n")
            write(text)
        sys.stdout.buffer.flush()


def main() -> None:
    way, seed, count, inputs, file = sys.argv[1:]
    expected = Expected()
    damaged = (raw for _, raw in frames(int(seed), 0, 1 << 60))
    if way == "sockets":
        Sockets(expected, damaged).run(int(count), int(inputs))
    else:
        run_lines(expected, damaged, int(count), int(inputs))
    expected.write(Path(file))


if __name__ == "__main__":
    main()
