"""Frames to bytes and back. The layout is in ``PROTOCOL.md`` §2.

    u32 topic length | topic | payload           payload: (nothing)            end of channel
                                                          0x01 | id            marker
                                                          0x02 | provenance    traced message
                                                          anything else        bare JSON

All integers are big-endian. Markers and ends are recognised before any JSON is parsed.
"""

from __future__ import annotations

__all__ = ["FRAME_BYTES_MAX", "PARENTS_MAX", "PAYLOAD_BYTES_MAX", "TOPIC_BYTES_MAX", "decode", "encode", "is_eof"]

from struct import Struct

from fabric.errors import LocalProtocolError, RemoteProtocolError
from fabric.wire.frame import Data, Eof, Frame, Marker, Provenance

FRAME_BYTES_MAX = 16 * 1024 * 1024
"""Larger frames are refused by the sender, and by the receiver's socket (``ZMQ_MAXMSGSIZE``).

Without the limit a 20-byte header that claims 8 GiB makes libzmq reserve 8 GiB.
"""

TOPIC_BYTES_MAX = 255
PARENTS_MAX = 255

_LENGTH = Struct(">I")
_TRACED = Struct(">BB16s8sQB")  # 0x02, flags, trace id, span id, seq, number of parents
PAYLOAD_BYTES_MAX = FRAME_BYTES_MAX - (_LENGTH.size + TOPIC_BYTES_MAX + _TRACED.size + 8 * PARENTS_MAX)
"""A payload of this size fits into a frame, whatever its topic and its parents."""

_MARKER = 0x01
_TRACE = 0x02


def encode(frame: Frame) -> bytes:
    """Return the one part of the ZeroMQ message.

    Raises:
        LocalProtocolError: a part is over its limit or has not the size that the layout gives it; the caller's fault.
    """
    topic = _bytes(frame.topic, "topic")
    if len(topic) > TOPIC_BYTES_MAX:
        raise LocalProtocolError(f"topic of {len(topic)} bytes; at most {TOPIC_BYTES_MAX}")
    head = _LENGTH.pack(len(topic)) + topic
    match frame:
        case Eof():
            return head
        case Marker():
            raw = head + b"\x01" + _bytes(frame.id, "marker")
        case Data():
            raw = head + (_traced(frame.provenance) if frame.provenance else b"") + frame.payload
            if frame.provenance is None and frame.payload[:1] in (b"", b"\x01", b"\x02"):
                raise LocalProtocolError("bare JSON may not be empty or start with 0x01 or 0x02")
    if len(raw) > FRAME_BYTES_MAX:
        raise LocalProtocolError(f"frame of {len(raw)} bytes; at most {FRAME_BYTES_MAX}")
    return raw


def _traced(origin: Provenance) -> bytes:
    count, rest = divmod(len(origin.parents), 8)
    if rest or count > PARENTS_MAX:
        raise LocalProtocolError(f"parents of {len(origin.parents)} bytes; 8 each, at most {PARENTS_MAX} of them")
    if len(origin.trace_id) != 16 or len(origin.span_id) != 8:  # struct would pad or cut them in silence
        raise LocalProtocolError(f"ids of {len(origin.trace_id)} and {len(origin.span_id)} bytes; 16 and 8")
    if not (0 <= origin.seq < 1 << 64 and 0 <= origin.flags < 1 << 8):
        raise LocalProtocolError(f"seq {origin.seq} has 8 bytes, flags {origin.flags} one")
    return _TRACED.pack(_TRACE, origin.flags, origin.trace_id, origin.span_id, origin.seq, count) + origin.parents


def decode(raw: bytes) -> Frame:
    """Read the one part of a ZeroMQ message.

    Raises:
        RemoteProtocolError: ``reason`` is ``short``, ``topic``, ``oversize`` or ``marker``; the sender's fault.
    """
    if len(raw) > FRAME_BYTES_MAX:
        raise RemoteProtocolError("oversize", f"frame of {len(raw)} bytes; at most {FRAME_BYTES_MAX}")
    if len(raw) < 4:
        raise RemoteProtocolError("short", f"frame of {len(raw)} bytes has no topic length")
    (length,) = _LENGTH.unpack_from(raw)
    start = 4 + length
    if length > TOPIC_BYTES_MAX or start > len(raw):
        raise RemoteProtocolError("topic", f"topic length {length} in a frame of {len(raw)} bytes")
    topic = _text(raw[4:start], "topic")
    if start == len(raw):
        return Eof(topic)
    kind = raw[start]
    if kind == _MARKER:
        return Marker(topic, _text(raw[start + 1 :], "marker"))
    if kind != _TRACE:
        return Data(topic, raw[start:])
    body = start + _TRACED.size
    if len(raw) < body:
        raise RemoteProtocolError("short", f"traced header cut after {len(raw) - start} of {_TRACED.size} bytes")
    _, flags, trace_id, span_id, seq, count = _TRACED.unpack_from(raw, start)
    end = body + 8 * count
    if len(raw) < end:
        raise RemoteProtocolError("short", f"{count} parents announced, {len(raw) - body} bytes left")
    return Data(topic, raw[end:], Provenance(trace_id, span_id, seq, raw[body:end], flags))


def _bytes(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise LocalProtocolError(f"{what} cannot be written as UTF-8: {error}") from None


def is_eof(raw: bytes) -> bool:
    """Tell the end of a channel without decoding the frame."""
    return len(raw) >= 4 and int.from_bytes(raw[:4], "big") + 4 == len(raw)


def _text(raw: bytes, reason: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise RemoteProtocolError(reason, f"{reason} is not UTF-8: {error}") from None
