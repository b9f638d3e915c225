"""Frames of every kind, damaged; and what has to hold of any bytes that come on a wire."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from fabric.errors import RemoteProtocolError, ValueRejected
from fabric.wire.codec import (
    BATCH_START,
    decode,
    encode,
    is_batch,
    is_eof,
    payload_of,
    read_answers,
    read_question,
    read_questions,
    split,
)
from fabric.wire.control import kind_of, parse_ready, paused_by, read_object, replies_to
from fabric.wire.frame import Data, Eof, Frame, Marker
from fabric.wire.lines import LineBridge, LineSplitter, read_line, write_line
from fabric.wire.payload import decode_json

BLOCK = 1_000
"""Frames that come of one state of the generator."""

REASONS = frozenset({"short", "topic", "oversize", "marker_id", "batch"})

MARKERS = [b"\x01ack/f/1/%d" % seq for seq in (1, 2, 3)]

PAYLOADS = [
    b"1",
    b"true",
    b'"text"',
    b'{"y":[1,2.5,null]}',
    b'{"status":"ready","features":["batches","numbered"]}',
    b'{"kind":"pause_ack"}',
    b'{"kind":"memory","messages":[],"pinned":[]}',
    b'{"get_memory":true,"format":"openai","pause":true,"set_temp":1e3}',
    b'{"__port":"marker","msg":"ack/f/1/1"}',
    b'{"__port":"telemetry","msg":{"kind":"x"}}',
    b"[" * 2_000,
    b'{"a":' * 700 + b"1" + b"}" * 700,
    b"9" * 5_000,
    b'"\\ud800"',
    b"NaN",
    b"1e999",
    "\ufeff1".encode(),
]

IDS = ["ack/f/1/1", "ack/f/1/2", "probe/f/1", "ctl/f/1/1", "ack/f/1/" + "9" * 5_000, "merge", ""]

TOPICS = [b"f", b"", b"worker with a long name" * 4, "é".encode() * 60]

LENGTHS = [0, 1, 3, 4, 255, 256, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def frame_of(rng: random.Random) -> bytes:
    """Draw a frame that is right."""
    topic = rng.choice(TOPICS)
    head = struct.pack(">I", len(topic)) + topic
    kind = rng.random()
    if kind < 0.1:
        return head
    if kind < 0.35:
        return head + b"\1" + rng.choice(IDS).encode()
    if kind < 0.55:
        return head + rng.choice(PAYLOADS)
    parents = rng.choice((0, 1, 1, 1, 3, 255))
    header = struct.pack(">BB16s8sQB", 2, rng.getrandbits(1), bytes(16), bytes(8), rng.randrange(1, 5), parents)
    return head + header + bytes(8 * parents) + rng.choice(PAYLOADS)


def batch_of(rng: random.Random) -> bytes:
    """Draw a batch that is right: answers, or questions, with their markers; or anything."""
    frames = []
    for seq in range(rng.randrange(1, 4)):
        traced = struct.pack(">BB16s8sQB", 2, 1, bytes(16), bytes(8), seq + 1, 1) + bytes(8) + rng.choice(PAYLOADS[:6])
        frames += [b"\0\0\0\1f" + traced, b"\0\0\0\1f" + MARKERS[seq]]
    if rng.random() < 0.3:
        frames.insert(rng.randrange(len(frames) + 1), frame_of(rng))
    return b"\0\0\0\0\3" + b"".join(struct.pack(">I", len(raw)) + raw for raw in frames)


# --- Damage ---------------------------------------------------------------------------------------------------------

Damage = Callable[[random.Random, bytes], bytes]


def flip(rng: random.Random, raw: bytes) -> bytes:
    at = rng.randrange(len(raw))
    return raw[:at] + bytes([raw[at] ^ 1 << rng.randrange(8)]) + raw[at + 1 :]


def cut(rng: random.Random, raw: bytes) -> bytes:
    return raw[: rng.randrange(len(raw))]


def leave_out(rng: random.Random, raw: bytes) -> bytes:
    at = rng.randrange(len(raw))
    return raw[:at] + raw[at + rng.randrange(1, 9) :]


def put_in(rng: random.Random, raw: bytes) -> bytes:
    at = rng.randrange(len(raw) + 1)
    return raw[:at] + rng.randbytes(rng.randrange(1, 9)) + raw[at:]


def repeat(rng: random.Random, raw: bytes) -> bytes:
    start = rng.randrange(len(raw))
    end = start + rng.randrange(1, 33)
    return raw[:end] + raw[start:end] * rng.choice((1, 2, 50)) + raw[end:]


def set_length(rng: random.Random, raw: bytes) -> bytes:
    """Write a number of four bytes where one is likely to be."""
    at = rng.choice((0, 0, BATCH_START, rng.randrange(len(raw))))
    number = rng.choice((*LENGTHS, len(raw), len(raw) - 4, len(raw) - 5))
    return raw[:at] + struct.pack(">I", number & 0xFFFFFFFF) + raw[at + 4 :]


def change_kind(rng: random.Random, raw: bytes) -> bytes:
    at = 4 + int.from_bytes(raw[:4])
    return raw[:at] + bytes([rng.choice((0, 1, 2, 3, 0x7B, 0xFF))]) + raw[at + 1 :]


def splice(rng: random.Random, raw: bytes) -> bytes:
    other = frame_of(rng)
    return raw[: rng.randrange(len(raw) + 1)] + other[rng.randrange(len(other) + 1) :]


DAMAGES: tuple[Damage, ...] = (flip, flip, cut, leave_out, put_in, repeat, set_length, change_kind, splice)


def damaged(rng: random.Random, raw: bytes) -> bytes:
    """Damage a frame once, twice or three times; in one of twenty cases not at all."""
    for _ in range(rng.choice((0, *(1,) * 12, *(2,) * 5, 3, 3))):
        raw = rng.choice(DAMAGES)(rng, raw) if raw else rng.randbytes(4)
    return raw


class Numbered(NamedTuple):
    """A damaged frame, and how to get it again."""

    number: int
    raw: bytes


def frames(seed: int, first: int, count: int) -> Iterator[Numbered]:
    """Yield damaged frames, by number: the same ones for the same seed."""
    number = first - first % BLOCK
    while number < first + count:
        rng = random.Random(f"{seed}/{number}")
        for _ in range(BLOCK):
            raw = damaged(rng, batch_of(rng) if rng.random() < 0.3 else frame_of(rng))
            if first <= number < first + count:
                yield Numbered(number, raw)
            number += 1


# --- What has to hold -----------------------------------------------------------------------------------------------


def examine(raw: bytes) -> bool:
    """Read these bytes in every way that bytes of others are read. Return whether they get past the header.

    Raises:
        AssertionError: something does not hold. Any other exception is a failure, too.
    """
    frame = decoded(raw)
    assert is_eof(raw) is isinstance(frame, Eof)
    if frame is not None:
        assert encode(frame) == raw
        assert raw.endswith(payload_of(raw))
    if isinstance(frame, Data):
        assert read_question(raw).payload == frame.payload
        examine_payload(frame.payload)
    parts = examine_batch(raw)
    if len(raw) % 4 == 0:  # it costs as much as all else
        examine_line(raw)
    return frame is not None or parts > 0


def decoded(raw: bytes) -> Frame | None:
    try:
        return decode(raw)
    except RemoteProtocolError as error:
        refused = error
    assert refused.reason in REASONS, refused.reason
    assert len(str(refused)) < 300
    return None


def examine_batch(raw: bytes) -> int:
    """Return how many frames of a batch can be read."""
    if not is_batch(raw):
        return 0
    answers = read_answers(raw, "output", MARKERS)
    questions = read_questions(raw)
    behind = questions[-1].behind if questions else BATCH_START
    assert BATCH_START <= answers.behind <= len(raw)
    assert BATCH_START <= behind <= len(raw)
    try:
        parts = split(raw)
    except RemoteProtocolError:
        return 0
    assert sum(4 + len(part) for part in parts) == len(raw) - BATCH_START
    inside = [decoded(part) for part in parts]
    if None not in inside:  # the short way does not look at topics
        taken = len(parts) - len(split(raw, answers.behind))
        data = [frame for frame in inside[:taken] if isinstance(frame, Data)]
        assert [payload for group in answers.groups for _, payload, _ in group] == [frame.payload for frame in data]
        assert sum(isinstance(frame, Marker) for frame in inside[:taken]) == len(answers.groups)
        numbers = [frame.provenance.seq for frame in data if frame.provenance]
        assert (answers.first, answers.last) == ((numbers[0], numbers[-1]) if numbers else (0, 0))
    return sum(part is not None for part in inside)


def examine_payload(payload: bytes) -> None:
    """What comes on ctrl_out, or is passed on."""
    parse_ready(payload)
    paused_by(payload, before=True)
    kind_of(payload)
    try:
        value = decode_json(payload)
    except ValueRejected:
        return
    replies_to(read_object(payload) if isinstance(value, dict) else {})


def examine_line(raw: bytes) -> None:
    """The same bytes, printed by a program on lines."""
    bridge = LineBridge("f", echoes=bool(raw) and raw[0] & 1 == 1)
    lines = LineSplitter()
    try:
        for line in (*lines.feed(raw), *lines.feed(b"")):
            port, payload = read_line(line)
            assert not payload or read_line(write_line(port, payload))[0] == port
            for _, frame in bridge.from_program(line):
                decode(frame)
    except ValueRejected:
        pass


def described(raw: bytes) -> str:
    """Show a frame, or how it begins."""
    return json.dumps({"bytes": len(raw), "hex": raw[:400].hex()})
