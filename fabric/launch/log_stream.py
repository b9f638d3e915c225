"""What a container wrote, as its engine sends it: pieces of stdout and stderr, each behind a header of eight bytes.

    byte 0      1 stdout, 2 stderr (0 is stdin, which nobody writes to)
    bytes 1-3   zero
    bytes 4-7   how many bytes follow, big endian

A piece may be any part of a line, and pieces of both may come in turn, so each has a line of its own under way.
"""

from __future__ import annotations

__all__ = ["LogStream"]

from fabric.errors import EngineFailed
from fabric.launch.stderr import STDERR_LINE_BYTES_MAX

HEADER_BYTES = 8


class LogStream:
    """Makes lines of what comes. What is longer of a line than others may write is left out."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._rest_bytes = 0
        self._lines: dict[int, bytearray] = {}

    def feed(self, data: bytes) -> list[str]:
        """Take bytes as they come; return the lines that are whole now, without their ends.

        Raises:
            EngineFailed: it is no such stream.
        """
        lines: list[str] = []
        while data:
            if not self._rest_bytes:
                missing = HEADER_BYTES - len(self._header)
                self._header += data[:missing]
                data = data[missing:]
                if len(self._header) < HEADER_BYTES:
                    break
                if self._header[0] > 2 or any(self._header[1:4]):
                    shown = bytes(self._header).hex()
                    raise EngineFailed(f"expected the header of a piece of a container's output, got {shown}")
                self._rest_bytes = int.from_bytes(self._header[4:], "big")
                if self._rest_bytes:
                    continue
                self._header.clear()
                continue
            piece, data = data[: self._rest_bytes], data[self._rest_bytes :]
            lines += self._take(self._header[0], piece)
            self._rest_bytes -= len(piece)
            if not self._rest_bytes:
                self._header.clear()
        return lines

    def _take(self, stream: int, piece: bytes) -> list[str]:
        line = self._lines.setdefault(stream, bytearray())
        *ends, rest = piece.split(b"\n")
        lines = []
        for end in ends:
            lines.append((line + end)[:STDERR_LINE_BYTES_MAX].decode(errors="replace"))
            line.clear()
        line += rest
        del line[STDERR_LINE_BYTES_MAX:]
        return lines

    def end(self) -> list[str]:
        """Return the lines that were not ended."""
        lines = [line.decode(errors="replace") for line in self._lines.values() if line]
        self._lines.clear()
        return lines
