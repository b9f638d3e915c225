"""Frames to bytes and back. The layout is in ``PROTOCOL.md`` §2.

    u32 topic length | topic | payload           payload: (nothing)            end of channel
                                                          0x01 | id            marker
                                                          0x02 | provenance    traced message
                                                          0x03 | frames        batch
                                                          0x04 | JSON          decline
                                                          anything else        bare JSON

All integers are big-endian. Markers and ends are recognised before any JSON is parsed. A batch is several frames in one
ZeroMQ message, nothing else: what a message costs in the library and its threads is more than all that we do with it.
"""

from __future__ import annotations

__all__ = [
    "BATCH_BYTES_MAX",
    "BATCH_FRAMES_MAX",
    "BATCH_FRAMES_READ_MAX",
    "BATCH_START",
    "FRAME_BYTES_MAX",
    "PARENTS_MAX",
    "PAYLOAD_BYTES_MAX",
    "TOPIC_BYTES_MAX",
    "Answers",
    "BatchWriter",
    "Question",
    "begins_connection",
    "decode",
    "encode",
    "encode_batch",
    "encode_traced",
    "is_batch",
    "is_eof",
    "join",
    "payload_of",
    "read_answers",
    "read_question",
    "read_questions",
    "split",
]

from collections.abc import Iterable, Sequence
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from fabric.errors import LocalProtocolError, RemoteProtocolError
from fabric.wire.frame import PROBE_PREFIX, Data, Decline, Eof, Frame, Marker, Provenance

FRAME_BYTES_MAX = 16 * 1024 * 1024
"""Larger frames are refused by the sender, and by the receiver's socket (``ZMQ_MAXMSGSIZE``).

Without the limit a 20-byte header that claims 8 GiB makes libzmq reserve 8 GiB.
"""

TOPIC_BYTES_MAX = 255
PARENTS_MAX = 255

_LENGTH = Struct(">I")
_LENGTHS = Struct(">II")
_ANSWER = Struct(">QQB")  # span id, seq, number of parents
_TRACED = Struct(">BB16s8sQB")  # 0x02, flags, trace id, span id, seq, number of parents
_SEQ = Struct(">Q")
_SEQ_AT = 26  # in a traced header
PAYLOAD_BYTES_MAX = FRAME_BYTES_MAX - (_LENGTH.size + TOPIC_BYTES_MAX + _TRACED.size + 8 * PARENTS_MAX) - 1024
"""A payload of this size fits into a frame, whatever its topic and its parents; also in a batch, with its marker."""

BATCH_FRAMES_MAX = 64
"""Frames after which a worker sends its batch: 32 answers and their markers. It goes on while they are read."""

BATCH_BYTES_MAX = 256 * 1024
"""What a batch is filled to. Beyond it nothing is gained, and the one who reads would wait for its end."""

BATCH_FRAMES_READ_MAX = 10_000
"""A batch with more is refused: four million frames without a byte fit into one, and take seconds to read."""

_MARKER = 0x01
_TRACE = 0x02
_BATCH = 0x03
_DECLINE = 0x04
_NOT_JSON = (b"", b"\x01", b"\x02", b"\x03", b"\x04")
_BATCH_HEAD = b"\0\0\0\0\x03"  # a batch has no topic: its frames have theirs
BATCH_START = len(_BATCH_HEAD)
"""Offset of a batch's first frame."""


def encode(frame: Frame) -> bytes:
    """Return the one part of the ZeroMQ message.

    Raises:
        LocalProtocolError: a part is over its limit or has not the size that the layout gives it; the caller's fault.
    """
    head = _head(frame.topic)
    match frame:
        case Eof():
            return head
        case Marker():
            raw = head + b"\x01" + _bytes(frame.id, "marker")
        case Decline():
            raw = head + b"\x04" + frame.payload
        case Data():
            raw = head + (_traced(frame.provenance) if frame.provenance else b"") + frame.payload
            if frame.provenance is None and frame.payload[:1] in _NOT_JSON:
                raise LocalProtocolError("bare JSON may not be empty or start with 0x01 to 0x04")
    if len(raw) > FRAME_BYTES_MAX:
        raise LocalProtocolError(f"frame of {len(raw)} bytes; at most {FRAME_BYTES_MAX}")
    return raw


@lru_cache(maxsize=4096)
def _head(topic: str) -> bytes:
    raw = _bytes(topic, "topic")
    if len(raw) > TOPIC_BYTES_MAX:
        raise LocalProtocolError(f"topic of {len(raw)} bytes; at most {TOPIC_BYTES_MAX}")
    return _LENGTH.pack(len(raw)) + raw


def encode_traced(
    topic: str, payload: bytes, trace_id: bytes, span_id: bytes, seq: int, parents: bytes, flags: int = 0
) -> bytes:
    """Return what :func:`encode` makes of a traced message with these parts. They have to fit: nothing is checked.

    Half of what the way over :class:`~fabric.wire.frame.Data` costs.
    """
    header = _TRACED.pack(_TRACE, flags, trace_id, span_id, seq, len(parents) >> 3)
    return b"".join((_head(topic), header, parents, payload))


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
        RemoteProtocolError: the sender's fault: ``short``, ``topic``, ``oversize``, ``marker_id`` or ``batch``.
    """
    if len(raw) > FRAME_BYTES_MAX:
        raise RemoteProtocolError("oversize", f"frame of {len(raw)} bytes; at most {FRAME_BYTES_MAX}")
    if len(raw) < 4:
        raise RemoteProtocolError("short", f"frame of {len(raw)} bytes has no topic length")
    (length,) = _LENGTH.unpack_from(raw)
    start = 4 + length
    if length > TOPIC_BYTES_MAX or start > len(raw):
        raise RemoteProtocolError("topic", f"topic length {length} in a frame of {len(raw)} bytes")
    topic = _topic(raw[4:start])
    if start == len(raw):
        return Eof(topic)
    kind = raw[start]
    if kind == _MARKER:
        return Marker(topic, _text(raw[start + 1 :], "marker_id", "marker"))
    if kind == _BATCH:
        raise RemoteProtocolError("batch", "a batch inside of a batch, or with a topic")
    if kind == _DECLINE:
        return Decline(topic, raw[start + 1 :])
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


def join(frames: Sequence[bytes]) -> Iterable[bytes]:
    """Yield frames that say the same as these, as few as batches of at most ``BATCH_BYTES_MAX`` allow.

    An end of channel does not go into a batch: who looks for it need not open one.
    """
    parts: list[bytes] = []
    size_bytes = 0
    for frame in frames:
        if parts and size_bytes + len(frame) > BATCH_BYTES_MAX:
            yield _batch(parts)
            parts, size_bytes = [], 0
        parts.append(frame)
        size_bytes += len(frame)
    if parts:
        yield _batch(parts)


def _batch(frames: list[bytes]) -> bytes:
    if len(frames) == 1:
        return frames[0]
    pack = _LENGTH.pack
    parts = [_BATCH_HEAD]
    for frame in frames:
        parts += (pack(len(frame)), frame)
    return b"".join(parts)


def encode_batch(messages: Iterable[tuple[str, bytes, bytes, bytes, int, bytes, bytes]], markers: str) -> list[bytes]:
    """Return batches of traced messages, each followed by a marker: what :func:`join` makes of their frames, cheaper.

    Args:
        messages: as topic, JSON text, trace id, span id, seq, parents, and the payload of the marker's frame. They have
            to fit: nothing is checked.
        markers: topic of the markers.
    """
    marker_head = _head(markers)
    batches = []
    parts = [_BATCH_HEAD]
    size_bytes = 0
    for topic, payload, trace_id, span_id, seq, parents, marker in messages:
        head = _head(topic)
        length = len(head) + _TRACED.size + len(parents) + len(payload)
        if size_bytes + length > BATCH_BYTES_MAX and size_bytes:
            batches.append(b"".join(parts))
            parts, size_bytes = [_BATCH_HEAD], 0
        size_bytes += length
        header = _TRACED.pack(_TRACE, 0, trace_id, span_id, seq, len(parents) >> 3)
        marker_length = _LENGTH.pack(len(marker_head) + len(marker))
        parts += (_LENGTH.pack(length), head, header, parents, payload, marker_length, marker_head, marker)
    if size_bytes:
        batches.append(b"".join(parts))
    return batches


_PROBE_HEAD = b"\x01" + PROBE_PREFIX.encode()


def begins_connection(raw: bytes) -> bool:
    """Whether a frame is a probe, with which a connection begins."""
    return raw.startswith(_PROBE_HEAD, 4 + int.from_bytes(raw[:4]))


def is_batch(raw: bytes) -> bool:
    """Tell a batch from other frames."""
    return raw[:BATCH_START] == _BATCH_HEAD


def split(raw: bytes, start: int = BATCH_START) -> Sequence[bytes]:
    """Return the frames of a batch, in order, those from an offset on; of any other frame itself.

    Raises:
        RemoteProtocolError: it is cut short, or has too many frames; the sender's fault. ``reason`` is ``batch``.
    """
    if not is_batch(raw):
        return (raw,)
    frames = []
    end = len(raw)
    length_at = _LENGTH.unpack_from
    while start < end:
        if start + 4 > end:
            raise RemoteProtocolError("batch", f"batch of {end} bytes, cut at {start}")
        (length,) = length_at(raw, start)
        start += 4
        if start + length > end:
            raise RemoteProtocolError("batch", f"a frame of {length} bytes announced, {end - start} bytes left")
        frames.append(raw[start : start + length])
        start += length
        if len(frames) > BATCH_FRAMES_READ_MAX:
            raise RemoteProtocolError("batch", f"a batch of more than {BATCH_FRAMES_READ_MAX} frames")
    return frames


class Answers(NamedTuple):
    """What is in a batch of answers.

    Attributes:
        groups: the messages in groups, one for each marker that was found; each message as the port, its JSON text and
            its span id.
        behind: the offset behind the last marker, for :func:`split`: what is there may be right or wrong.
        first, last: seq of the first and of the last of the messages; 0 if there is none.
    """

    groups: list[list[tuple[str, bytes, bytes | None]]]
    behind: int
    first: int
    last: int


def read_answers(raw: bytes, port: str, markers: Sequence[bytes]) -> Answers:
    """Read a batch as far as it consists of traced messages and of the markers with these payloads, in their order."""
    groups: list[list[tuple[str, bytes, bytes | None]]] = []
    group: list[tuple[str, bytes, bytes | None]] = []
    start = done = BATCH_START
    first = last = latest = 0
    end = len(raw)
    lengths_at = _LENGTHS.unpack_from
    for marker in markers:
        while start + 8 < end:
            length, topic_length = lengths_at(raw, start)
            stop, payload = start + 4 + length, start + 8 + topic_length
            body = payload + _TRACED.size
            if not body < stop <= end or raw[payload] != _TRACE:
                break
            body += raw[body - 1] * 8
            if body >= stop:
                break
            group.append((port, raw[body:stop], raw[payload + 18 : payload + 26]))
            latest = payload
            if not first:
                first = payload
            start = stop
        if start + 8 >= end:
            break
        length, topic_length = lengths_at(raw, start)
        stop = start + 4 + length
        if stop > end or raw[start + 8 + topic_length : stop] != marker:
            break
        groups.append(group)
        group = []
        start = done = stop
        last = latest
    if not last:
        return Answers(groups, done, 0, 0)
    (seq,), (last_seq,) = _SEQ.unpack_from(raw, first + _SEQ_AT), _SEQ.unpack_from(raw, last + _SEQ_AT)
    return Answers(groups, done, seq, last_seq)


class Question(NamedTuple):
    """A message as the one sees it who answers it.

    Attributes:
        origin: its flags and its trace id, as the answer repeats them; empty if it is bare.
        span_id: its own, the parent of the answer.
        payload: JSON text.
        marker: payload of the frame behind it.
        behind: offset in the batch behind that frame.
    """

    origin: bytes
    span_id: bytes
    payload: bytes
    marker: bytes = b""
    behind: int = 0


def read_question(raw: bytes) -> Question:
    """Read the frame of a message; it has to be one."""
    start = 4 + int.from_bytes(raw[:4])
    if raw[start] != _TRACE:
        return Question(b"", b"", raw[start:])
    body = start + _TRACED.size
    return Question(raw[start + 1 : start + 18], raw[start + 18 : start + 26], raw[body + 8 * raw[body - 1] :])


def read_questions(raw: bytes) -> list[Question]:
    """Read a batch as far as it consists of traced messages and one marker behind each."""
    questions = []
    start, end = BATCH_START, len(raw)
    lengths_at = _LENGTHS.unpack_from
    while start + 8 < end:
        length, topic_length = lengths_at(raw, start)
        stop, at = start + 4 + length, start + 8 + topic_length
        body = at + _TRACED.size
        if not (body < stop and stop + 8 < end and raw[at] == _TRACE):
            break
        body += 8 * raw[body - 1]
        length, topic_length = lengths_at(raw, stop)
        start, marker = stop + 4 + length, stop + 8 + topic_length
        if not (body < stop and marker < start <= end and raw[marker] == _MARKER):
            break
        span = at + 18
        questions.append(Question(raw[at + 1 : span], raw[span : span + 8], raw[body:stop], raw[marker:start], start))
    return questions


class BatchWriter:
    """Frames of one sender that leave together.

    Args:
        topic: its name.
        span: the span id of its first message, as an integer; those that follow count on.

    Attributes:
        frames, size_bytes: what was written since it was taken.
    """

    def __init__(self, topic: str, span: int) -> None:
        self._head = _head(topic)
        self._span = span
        self._seq = 0
        self._parts = [_BATCH_HEAD]
        self.frames = 0
        self.size_bytes = 0

    def answer(self, question: Question, payload: bytes) -> None:
        """Write the answer to a message: of its trace, with it as the one parent; to a bare message a bare one."""
        if not question.origin:
            self.write(payload)
            return
        self._seq += 1
        self._span = (self._span + 1) & 0xFFFF_FFFF_FFFF_FFFF
        rest = _ANSWER.pack(self._span, self._seq, 1)
        length = len(self._head) + 1 + 17 + _ANSWER.size + 8 + len(payload)
        self._parts += (_LENGTH.pack(length), self._head, b"\x02", question.origin, rest, question.span_id, payload)
        self.frames += 1
        self.size_bytes += length

    def write(self, payload: bytes) -> None:
        """Write a frame with this payload: a marker's, a decline's, or a bare message."""
        length = len(self._head) + len(payload)
        self._parts += (_LENGTH.pack(length), self._head, payload)
        self.frames += 1
        self.size_bytes += length

    @property
    def full(self) -> bool:
        """Whether it is time to take what there is."""
        return self.frames >= BATCH_FRAMES_MAX or self.size_bytes >= BATCH_BYTES_MAX

    def take(self) -> bytes | None:
        """Return what was written, as a batch, or as a frame if it is but one; and begin anew. ``None``: nothing."""
        parts, frames = self._parts, self.frames
        self._parts, self.frames, self.size_bytes = [_BATCH_HEAD], 0, 0
        return b"".join(parts if frames > 1 else parts[2:]) if frames else None


def payload_of(raw: bytes) -> bytes:
    """Return the payload of a well-formed frame as it is, first byte and all."""
    return raw[4 + int.from_bytes(raw[:4]) :]


def _bytes(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise LocalProtocolError(f"{what} cannot be written as UTF-8: {error}") from None


def is_eof(raw: bytes) -> bool:
    """Tell the end of a channel without decoding the frame."""
    if len(raw) < 4 or int.from_bytes(raw[:4]) + 4 != len(raw) or len(raw) > 4 + TOPIC_BYTES_MAX:
        return False
    try:
        _topic(raw[4:])
    except RemoteProtocolError:
        return False
    return True


@lru_cache(maxsize=4096)
def _topic(raw: bytes) -> str:
    return _text(raw, "topic", "topic")


def _text(raw: bytes, reason: str, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        where = f"byte {raw[error.start]:#x} at {error.start}"  # not the error's own words: they keep all of the bytes
        raise RemoteProtocolError(reason, f"{what} is not UTF-8: {where}") from None
