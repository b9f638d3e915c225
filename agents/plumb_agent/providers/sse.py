"""The framing of server-sent events: bytes in, events out.

httpx2 has this, too. But what it raises for an event that is too large leaves asynchronous generators behind which trio
cannot clean up, and it takes a byte order mark for a part of a field's name. So the format is read here, without I/O.

Lines end with CR, LF or both, wherever the bytes are cut. An event ends with an empty line; one that is not ended when
the bytes are is none. Fields that are not known are passed over, and bytes that are no UTF-8 replaced.

Source: WHATWG, HTML Living Standard, 9.2.6 "Interpreting an event stream".
"""

from __future__ import annotations

__all__ = ["EventTooLarge", "SseDecoder"]

import codecs
from collections.abc import Iterator


class EventTooLarge(ValueError):
    """An event has more bytes than it may have."""


class SseDecoder:
    """Reads one stream.

    Args:
        event_bytes_max: of one event, and of a line that has no end yet.
    """

    def __init__(self, event_bytes_max: int) -> None:
        self._event_bytes_max = event_bytes_max
        self._line: list[bytes] = []
        self._after_cr = False
        self._first = True
        self._kind = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[tuple[str, str]]:
        """Take bytes and return the events that they end: kind and data.

        Raises:
            EventTooLarge: more has come of one event than may.
        """
        if not data:
            return
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        self._after_cr = data.endswith(b"\r")
        *ended, rest = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for piece in ended:
            self._add(piece)
            line = b"".join(self._line)
            self._line.clear()
            event = self._take(line)
            if event is not None:
                yield event
        self._add(rest)

    def _add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._event_bytes_max:
            raise EventTooLarge(f"an event has more than {self._event_bytes_max} bytes")
        if piece:
            self._line.append(piece)

    def _take(self, line: bytes) -> tuple[str, str] | None:
        if self._first:
            line = line.removeprefix(codecs.BOM_UTF8)
            self._first = False
        if not line:
            event = (self._kind or "message", "\n".join(self._data)) if self._data else None
            self._kind = ""
            self._data = []
            self._size = 0
            return event
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._kind = value
        else:
            self._size -= len(line)  # it is not kept, so any number of them may come
        return None
