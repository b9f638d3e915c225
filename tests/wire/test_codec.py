"""Frames to bytes and back."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fabric.errors import LocalProtocolError, RemoteProtocolError
from fabric.wire.codec import (
    BATCH_BYTES_MAX,
    BATCH_FRAMES_READ_MAX,
    FRAME_BYTES_MAX,
    PARENTS_MAX,
    TOPIC_BYTES_MAX,
    BatchWriter,
    decode,
    encode,
    encode_batch,
    encode_traced,
    is_batch,
    is_eof,
    join,
    read_answers,
    read_question,
    read_questions,
    split,
)
from fabric.wire.frame import Data, Decline, Eof, Frame, Marker, Provenance

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=63)  # 63 × 4 bytes: a topic at most
PROVENANCES = st.builds(
    Provenance,
    trace_id=st.binary(min_size=16, max_size=16),
    span_id=st.binary(min_size=8, max_size=8),
    seq=st.integers(0, 2**64 - 1),
    parents=st.lists(st.binary(min_size=8, max_size=8), max_size=PARENTS_MAX).map(b"".join),
    flags=st.integers(0, 255),
)
TRACED = st.builds(Data, TEXTS, st.binary(), PROVENANCES)
FRAMES: st.SearchStrategy[Frame] = st.one_of(
    st.builds(Eof, TEXTS),
    st.builds(Marker, TEXTS, TEXTS),
    st.builds(Decline, TEXTS, st.binary()),
    st.builds(Data, TEXTS, st.binary(min_size=1).filter(lambda payload: payload[0] not in (1, 2, 3, 4))),
    TRACED,
)

HEADER = b"\x00\x00\x00\x01x"
REASONS = {"short", "topic", "oversize", "marker_id", "batch"}


def decoded_or_reason(raw: bytes) -> Frame | str:
    """Return the frame, or the reason of the one error that may come."""
    try:
        return decode(raw)
    except RemoteProtocolError as error:
        return error.reason


@settings(deadline=None)
@given(FRAMES)
def test_what_was_encoded_is_decoded(frame: Frame):
    """For every frame; nothing of it is lost."""
    assert decode(encode(frame)) == frame
    assert is_eof(encode(frame)) == isinstance(frame, Eof)


@settings(deadline=None)
@given(st.lists(FRAMES.map(encode)))
def test_batches_hold_the_same_frames_in_the_same_order(frames: list[bytes]):
    """However many batches it takes."""
    assert [part for raw in join(frames) for part in split(raw)] == frames


def test_a_batch_is_filled_to_its_size_and_a_frame_alone_is_no_batch():
    """Three of 100 KiB: two fit. The rest, and one that is larger than any batch, go as they are."""
    large = encode(Data("x", b"1" * 100 * 1024))
    huge = encode(Data("x", b"1" * BATCH_BYTES_MAX))
    first, second, third = join([large, large, large, huge])
    assert split(first) == [large, large]
    assert (second, third) == (large, huge)


@given(st.binary())
def test_any_bytes_behind_the_head_of_a_batch_are_split_or_refused(rest: bytes):
    """Nothing else is raised, and what was split is all that there was."""
    try:
        frames = split(b"\0\0\0\0\x03" + rest)
    except RemoteProtocolError as error:
        reason = error.reason
    else:
        reason = "batch" if sum(4 + len(frame) for frame in frames) == len(rest) else "something is missing"
    assert reason == "batch"


def test_a_batch_has_a_limit_of_frames():
    """Each costs more to look at than to send."""
    whole = b"\0\0\0\0\x03" + bytes(4) * BATCH_FRAMES_READ_MAX
    assert split(whole) == [b""] * BATCH_FRAMES_READ_MAX
    with pytest.raises(RemoteProtocolError, match="a batch of more than 10000 frames"):
        split(whole + bytes(4))


def test_a_batch_in_a_batch_is_refused():
    """One level is enough."""
    (batch,) = join([encode(Eof("x")), encode(Eof("x"))])
    with pytest.raises(RemoteProtocolError, match="a batch inside of a batch"):
        decode(batch)


@settings(deadline=None)
@given(TRACED)
def test_the_parts_of_a_traced_message_are_encoded_like_the_whole(frame: Data):
    """The second way saves the objects in between."""
    origin = frame.provenance
    assert origin is not None
    ids = origin.trace_id, origin.span_id
    assert encode_traced(frame.topic, frame.payload, *ids, origin.seq, origin.parents, origin.flags) == encode(frame)


@settings(deadline=None)
@given(st.binary() | st.binary().map(HEADER.__add__) | st.binary(min_size=31).map((HEADER + b"\x02").__add__))
def test_any_bytes_are_a_frame_or_malformed(raw: bytes):
    """What is a frame is encoded to the same bytes again; for the rest there is one error, with one of four reasons."""
    frame = decoded_or_reason(raw)
    assert frame in REASONS if isinstance(frame, str) else encode(frame) == raw


@settings(deadline=None)
@given(FRAMES, st.data())
def test_a_damaged_frame_is_a_frame_or_malformed(frame: Frame, data: st.DataObject):
    """Some bytes replaced, left out or put in."""
    raw = encode(frame)
    at = data.draw(st.integers(0, len(raw)))
    damaged = raw[:at] + data.draw(st.binary(max_size=8)) + raw[at + data.draw(st.integers(0, 8)) :]
    found = decoded_or_reason(damaged)
    assert found in REASONS if isinstance(found, str) else encode(found) == damaged


@settings(deadline=None)
@given(TRACED, st.data())
@example(Data("x", b"1", Provenance(b"T" * 16, b"S" * 8, 1, b"P" * 8)), None)
def test_a_cut_frame_is_short_a_bad_topic_or_an_end(frame: Data, data: st.DataObject | None):
    """Cut anywhere in front of the JSON: in the length, in the topic, behind it, in the header."""
    raw = encode(frame)
    topic_end = 4 + len(frame.topic.encode())
    json_start = len(raw) - len(frame.payload)
    for cut in range(json_start) if data is None else [data.draw(st.integers(0, json_start - 1))]:
        found = decoded_or_reason(raw[:cut])
        if cut == topic_end:
            assert found == Eof(frame.topic)
        else:
            assert found == ("topic" if 4 <= cut < topic_end else "short")


@pytest.mark.parametrize(
    ("raw", "reason", "message"),
    [
        (b"", "short", "frame of 0 bytes has no topic length"),
        (b"\x00\x00\x00", "short", "frame of 3 bytes has no topic length"),
        (b"\x00\x00\x00\x02x", "topic", "topic length 2 in a frame of 5 bytes"),
        (b"\xff\xff\xff\xff" + b"x" * 300, "topic", "topic length 4294967295 in a frame of 304 bytes"),
        (b"\x00\x00\x01\x00" + b"x" * 256, "topic", "topic length 256 in a frame of 260 bytes"),
        (b"\x00\x00\x00\x01\xff{}", "topic", "topic is not UTF-8"),
        (HEADER + b"\x01\xc3", "marker_id", "marker is not UTF-8: byte 0xc3 at 0"),
        (HEADER + b"\x02", "short", "traced header cut after 1 of 35 bytes"),
        (HEADER + b"\x02" + bytes(33), "short", "traced header cut after 34 of 35 bytes"),
        (HEADER + b"\x02" + bytes(33) + b"\x02" + bytes(15), "short", "2 parents announced, 15 bytes left"),
        (bytes(FRAME_BYTES_MAX + 1), "oversize", "frame of 16777217 bytes; at most 16777216"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_malformed_frame_has_a_reason(raw: bytes, reason: str, message: str):
    """A word to count by, and a text to read."""
    with pytest.raises(RemoteProtocolError, match=message) as caught:
        decode(raw)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (Eof("x" * 256), "topic of 256 bytes; at most 255"),
        (Eof("é" * 128), "topic of 256 bytes; at most 255"),
        (Eof("\ud800"), "topic cannot be written as UTF-8"),
        (Marker("x", "\udfff"), "marker cannot be written as UTF-8"),
        (Data("x", b""), "bare JSON may not be empty"),
        (Data("x", b"\x01"), "or start with 0x01"),
        (Data("x", b"\x02"), "or start with 0x01 to 0x04"),
        (Data("x", b"1" * (FRAME_BYTES_MAX - 4)), "frame of 16777217 bytes; at most 16777216"),
        (Marker("x", "1" * (FRAME_BYTES_MAX - 5)), "frame of 16777217 bytes; at most 16777216"),
        (Data("x", b"1", Provenance(bytes(16), bytes(8), 1, bytes(7))), "parents of 7 bytes; 8 each"),
        (Data("x", b"1", Provenance(bytes(16), bytes(8), 1, bytes(8 * 256))), "parents of 2048 bytes; .* at most 255"),
        (Data("x", b"1", Provenance(bytes(15), bytes(8), 1)), "ids of 15 and 8 bytes; 16 and 8"),
        (Data("x", b"1", Provenance(bytes(16), bytes(9), 1)), "ids of 16 and 9 bytes; 16 and 8"),
        (Data("x", b"1", Provenance(bytes(16), bytes(8), -1)), "seq -1"),
        (Data("x", b"1", Provenance(bytes(16), bytes(8), 2**64)), "seq 18446744073709551616"),
        (Data("x", b"1", Provenance(bytes(16), bytes(8), 1, flags=256)), "flags 256"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_the_layout_has_no_room_for_is_not_sent(frame: Frame, message: str):
    """The caller's fault, with the number that is too large."""
    with pytest.raises(LocalProtocolError, match=message):
        encode(frame)


@pytest.mark.parametrize(
    "frame",
    [
        Eof("x" * TOPIC_BYTES_MAX),
        Data("x", b"1" * (FRAME_BYTES_MAX - 5)),
        Data("x", b"1", Provenance(bytes(16), bytes(8), 2**64 - 1, bytes(8 * PARENTS_MAX), 255)),
        Data("x", b"\x00"),
        Data("", b"1"),
        Marker("", ""),
        Eof(""),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_the_limits_themselves_are_allowed(frame: Frame):
    """And an empty topic, and an empty marker."""
    assert decode(encode(frame)) == frame


def test_unknown_flags_are_kept():
    """Who does not know a flag copies it."""
    raw = HEADER + struct.pack(">BB16s8sQB", 2, 0b1010_1010, b"T" * 16, b"S" * 8, 1, 0) + b"1"
    assert decode(raw) == Data("x", b"1", Provenance(b"T" * 16, b"S" * 8, 1, flags=0b1010_1010))


# --- The short ways -----------------------------------------------------------------------------------------------

MARKERS = st.integers(1, 9).map("ack/judge/1/{}".format)
MESSAGES = st.builds(Data, TEXTS, st.binary(min_size=1), PROVENANCES)


def payload_of(marker: str) -> bytes:
    return b"\x01" + marker.encode()


@settings(deadline=None)
@given(st.lists(st.tuples(MESSAGES, MARKERS)))
def test_messages_and_their_markers_are_encoded_like_their_frames_one_by_one(pairs: list[tuple[Data, str]]):
    """The loop saves the objects in between, and nothing else."""
    parts, frames = [], []
    for message, marker in pairs:
        origin = message.provenance
        assert origin is not None
        ids = origin.trace_id, origin.span_id
        parts.append((message.topic, message.payload, *ids, origin.seq, origin.parents, payload_of(marker)))
        plain = Provenance(*ids, origin.seq, origin.parents)
        frames += [encode(Data(message.topic, message.payload, plain)), encode(Marker("fabric", marker))]
    assert [raw for batch in encode_batch(parts, "fabric") for raw in split(batch)] == frames


def test_large_messages_go_in_batches_of_their_own():
    """Two of 200 KiB are more than a batch is filled to."""
    message = ("i", b"1" * 200 * 1024, bytes(16), bytes(8), 1, b"", b"\x01m")
    assert [len(split(batch)) for batch in encode_batch([message] * 3, "fabric")] == [2, 2, 2]


@settings(deadline=None)
@given(st.lists(st.tuples(MESSAGES, MARKERS)), st.lists(FRAMES.map(encode), max_size=2))
def test_questions_are_read_as_their_frames_say(pairs: list[tuple[Data, str]], others: list[bytes]):
    """Until something comes that is not a traced message with its marker; that is left, with all behind it."""
    frames = [raw for message, marker in pairs for raw in (encode(message), encode(Marker("fabric", marker)))]
    batch = b"\0\0\0\0\x03" + b"".join(struct.pack(">I", len(raw)) + raw for raw in frames + others)
    questions = read_questions(batch)
    for (message, marker), question in zip(pairs, questions, strict=False):
        alone = read_question(encode(message))
        assert (question.origin, question.span_id, question.payload) == (alone.origin, alone.span_id, message.payload)
        assert question.marker == payload_of(marker)
    assert len(questions) >= len(pairs)
    assert split(batch, questions[-1].behind if questions else 5) == (frames + others)[2 * len(questions) :]


@settings(deadline=None)
@given(MESSAGES, st.binary(min_size=1).filter(lambda payload: payload[0] > 3))
def test_an_answer_is_of_the_trace_of_its_question(question: Data, payload: bytes):
    """With the question as its parent; to a bare question it is bare. One frame is no batch."""
    origin = question.provenance
    assert origin is not None
    writer = BatchWriter("judge", 6)
    writer.answer(read_question(encode(question)), payload)
    expected = Provenance(origin.trace_id, (7).to_bytes(8), 1, origin.span_id, origin.flags)
    first = writer.take()
    assert first is not None
    assert decode(first) == Data("judge", payload, expected)
    writer.answer(read_question(encode(Data("i", b"1"))), payload)
    writer.write(b"\x01m")
    second = writer.take()
    assert second is not None
    assert is_batch(second)
    assert [decode(raw) for raw in split(second)] == [Data("judge", payload), Marker("judge", "m")]
    assert writer.take() is None


@given(st.binary())
def test_answers_in_any_bytes_are_read_or_left(rest: bytes):
    """Nothing is raised, and what is left begins where a frame does."""
    batch = b"\0\0\0\0\x03" + rest
    for behind in (read_answers(batch, "output", [b"\x01m"]).behind, *(q.behind for q in read_questions(batch))):
        assert 5 <= behind <= len(batch)
