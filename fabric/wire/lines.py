"""JSON lines: the wire of a program that uses stdin and stdout.

A line is one JSON value. Anything that is not data travels as ``{"__port": NAME, "msg": VALUE}``. A data value that
happens to look like that is wrapped by its sender as ``{"__port": "data", "msg": VALUE}``.
"""

from __future__ import annotations

__all__ = ["DATA", "MARKER", "LineBridge", "read_line", "write_line"]

from collections import deque

import msgspec

from fabric.errors import LocalProtocolError, ValueRejected
from fabric.wire.codec import decode, encode
from fabric.wire.frame import Data, Marker
from fabric.wire.payload import STRING, encode_json, validator

DATA = "data"
"""The port of plain lines."""

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
    if b"\n" in payload or b"\r" in payload:  # in JSON: white space between tokens, for a string has them escaped
        payload = payload.replace(b"\n", b" ").replace(b"\r", b" ")
    if port != DATA or read_line(payload) != (DATA, payload):
        payload = b'{"__port":' + encode_json(port) + b',"msg":' + payload + b"}"
    return payload + b"\n"


class LineBridge:
    """Frames for a program that reads and writes lines, and its lines as frames. Pure.

    A program that said that it echoes markers gets them as lines on the port ``marker``. From any other, one line is
    one answer: the marker of the oldest unanswered message is taken to follow it.

    Args:
        name: of the program's worker; the topic of its frames.
        echoes: whether it echoes markers.
    """

    def __init__(self, name: str, *, echoes: bool) -> None:
        self._name = name
        self._echoes = echoes
        self._unanswered: deque[str] = deque()

    def to_program(self, port: str, raw: bytes) -> tuple[bytes, list[tuple[str, bytes]]]:
        """Return the lines to write for a frame, and the frames (port, bytes) that answer it at once.

        The end of ``input`` is no line: close the program's stdin.
        """
        match decode(raw):
            case Data(_, payload):
                return write_line(DATA if port == "input" else port, payload), []
            case Marker(_, marker) if self._echoes:
                return write_line(MARKER, encode_json(marker)), []
            case Marker(_, marker) if marker.startswith("ack/"):
                self._unanswered.append(marker)
            case Marker() as probe:
                return b"", [("output", encode(probe))]
        return b"", []

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
        if payload[0] in b"\x01\x02":  # no JSON starts so, and no frame of bare JSON may
            payload = b" " + payload
        if port not in (DATA, "output"):
            return [(port, encode(Data(self._name, payload)))]
        frames = [("output", encode(Data(self._name, payload)))]
        if not self._echoes and self._unanswered:
            frames += self._markers(self._unanswered.popleft())
        return frames

    def _markers(self, marker: str) -> list[tuple[str, bytes]]:
        """Return a marker on every port: stdout is one channel, so what it follows there it follows on each."""
        raw = encode(Marker(self._name, marker))
        return [(port, raw) for port in ("telemetry", "ctrl_out", "output")]
