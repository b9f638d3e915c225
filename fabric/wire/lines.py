"""JSON lines: the wire of a program that uses stdin and stdout.

A line is one JSON value. Anything that is not data travels as ``{"__port": NAME, "msg": VALUE}``. A data value that
happens to look like that is wrapped by its sender as ``{"__port": "data", "msg": VALUE}``.
"""

from __future__ import annotations

__all__ = [
    "DATA",
    "DECLINE",
    "LINE_BYTES_MAX",
    "MARKER",
    "LineBridge",
    "LineSplitter",
    "Written",
    "one_line",
    "read_line",
    "write_line",
]

from collections import deque
from collections.abc import Iterator

import msgspec

from fabric.errors import LocalProtocolError, ValueRejected
from fabric.wire.codec import PAYLOAD_BYTES_MAX, decode, encode
from fabric.wire.control import MARK_ALL_PORTS, ready
from fabric.wire.frame import Data, Decline, Eof, Marker
from fabric.wire.payload import STRING, encode_json, validator

DATA = "data"
"""The port of plain lines."""

DECLINE = "decline"
"""The port on which a program that works for a tool says that it cannot do a message, instead of answering it."""

MARKER = "marker"
"""The port on which a program that said ``markers: true`` gets its markers and echoes them; ``msg`` is the id."""


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    port: str = msgspec.field(name="__port")
    msg: msgspec.Raw


_decode = msgspec.json.Decoder(_Envelope).decode


def read_line(line: bytes) -> tuple[str, bytes]:
    """Return the port and the JSON text of a line. The text of a plain line is not checked to be JSON."""
    line = line.strip()
    if b'"__port"' in line:
        try:
            envelope = _decode(line)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return DATA, line
        return envelope.port, bytes(envelope.msg)
    return DATA, line


def write_line(port: str, payload: bytes) -> bytes:
    """Return the line, with its line end, that carries this JSON text on this port."""
    payload = one_line(payload)
    if port != DATA or read_line(payload) != (DATA, payload):
        payload = b'{"__port":' + encode_json(port) + b',"msg":' + payload + b"}"
    return payload + b"\n"


LINE_BYTES_MAX = PAYLOAD_BYTES_MAX
"""A longer line would not fit into a frame, and one without end would fill the memory."""


class LineSplitter:
    """Cuts a stream of bytes into lines without their ends.

    Args:
        size_bytes_max: of a line.
    """

    def __init__(self, size_bytes_max: int = LINE_BYTES_MAX) -> None:
        self._size_bytes_max = size_bytes_max
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the lines that this chunk completes; an empty chunk, the end of the stream, completes the last one.

        Raises:
            ValueRejected: a line is too long; those before it were yielded.
        """
        *whole, tail = chunk.split(b"\n") if chunk else (b"", b"")
        for piece in whole:
            line, self._rest = bytes(self._rest + piece), bytearray()
            self._refuse_long(len(line))
            if chunk or line:
                yield line
        self._rest += tail
        self._refuse_long(len(self._rest))

    def _refuse_long(self, size_bytes: int) -> None:
        if size_bytes > self._size_bytes_max:
            limit = f"a line of at most {self._size_bytes_max} bytes"
            raise ValueRejected("$", limit, f"one of {size_bytes} bytes or more")


def one_line(payload: bytes) -> bytes:
    """Return JSON text without line ends: in JSON they are white space between tokens, for strings escape them."""
    return payload.replace(b"\n", b" ").replace(b"\r", b" ")


class Written(msgspec.Struct, frozen=True):
    """What a frame means for a program on lines.

    Attributes:
        lines: to write to its stdin.
        answers: frames (port, bytes) that answer at once, in its stead.
        ended: its stdin is to be closed, behind the lines before.
    """

    lines: bytes = b""
    answers: tuple[tuple[str, bytes], ...] = ()
    ended: bool = False


class LineBridge:
    """Frames for a program that reads and writes lines, and its lines as frames. Pure.

    A program that said that it echoes markers gets them as lines on the port ``marker``. From any other, one line is
    one answer: the marker of the oldest unanswered message is taken to follow it.

    Args:
        name: of the program's worker; the topic of its frames.
        echoes: whether it echoes markers.
        calls: whether it may call tools. The end of its stdin waits for what they give.
    """

    def __init__(self, name: str, *, echoes: bool, calls: bool = False) -> None:
        self._name = name
        self._echoes = echoes
        self._unanswered: deque[str] = deque()
        self._may_call = calls
        self._calls = 0
        self._ending = False
        self._ended = False

    def started(self) -> list[tuple[str, bytes]]:
        """Return the frames (port, bytes) that announce the program: it is ready since it runs."""
        return [("ctrl_out", encode(Data(self._name, ready(MARK_ALL_PORTS))))]

    def to_program(self, port: str, raw: bytes) -> Written:
        """Return what to do for a frame on one of the program's input ports."""
        if self._ended:
            return Written()
        match decode(raw):
            case Data(_, payload):
                self._calls -= port == "tool_resp"
                self._ended = self._ending and not self._calls
                return Written(write_line(DATA if port == "input" else port, payload), ended=self._ended)
            case Marker(_, marker) if self._echoes:
                return Written(write_line(MARKER, encode_json(marker)))
            case Marker(_, marker) if marker.startswith("ack/"):
                self._unanswered.append(marker)
            case Marker() as probe:
                return Written(answers=(("output", encode(probe)),))
            case Eof() if port == "input":
                self._ending = True
                self._ended = not self._calls  # a result would find no stdin any more
                return Written(ended=self._ended)
        return Written()

    def exited(self, status: int) -> list[tuple[str, bytes]]:
        """Return the frames that its exit stands for: an end of its channels only with status 0."""
        end = encode(Eof(self._name))
        return [(port, end) for port in ("output", "ctrl_out", "telemetry")] if status == 0 else []

    def from_program(self, line: bytes) -> list[tuple[str, bytes]]:
        """Return the frames (port, bytes) that a line stands for; none for a blank one.

        Raises:
            ValueRejected: the line is too long for a frame, or its marker is no marker. The program's fault.
        """
        try:
            return self._frames(line)
        except LocalProtocolError as error:
            raise ValueRejected("$", "a line that fits into a frame", str(error)) from None

    def _frames(self, line: bytes) -> list[tuple[str, bytes]]:
        port, payload = read_line(line)
        if not payload:
            return []
        if port == MARKER and self._echoes:
            return self._markers(validator(STRING).decode(payload))
        if payload[0] in b"\x01\x02\x03\x04":  # no JSON starts so, and no frame of bare JSON may
            payload = b" " + payload
        if port not in (DATA, "output", DECLINE):
            self._calls += self._may_call and port == "tool_req"  # others are refused, and get no response
            return [(port, encode(Data(self._name, payload)))]
        said = Decline if port == DECLINE else Data
        frames = [("output", encode(said(self._name, payload)))]
        if not self._echoes and self._unanswered:
            frames += self._markers(self._unanswered.popleft())
        return frames

    def _markers(self, marker: str) -> list[tuple[str, bytes]]:
        """Return a marker on every port: stdout is one channel, so what it follows there it follows on each."""
        raw = encode(Marker(self._name, marker))
        return [(port, raw) for port in ("telemetry", "ctrl_out", "output")]
