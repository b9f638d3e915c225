"""JSON lines, and the bridge between them and frames."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.errors import ValueRejected
from fabric.wire.codec import FRAME_BYTES_MAX, decode, encode, encode_batch
from fabric.wire.control import MARK_ALL_PORTS, ready
from fabric.wire.frame import Data, Decline, Eof, Frame, Marker, Provenance
from fabric.wire.lines import LINE_BYTES_MAX, LineBridge, LineSplitter, Written, read_line, write_line


@pytest.mark.parametrize(
    ("port", "payload", "line"),
    [
        ("data", b'{"a": 1}', b'{"a": 1}\n'),
        ("data", b'"__port"', b'"__port"\n'),
        ("data", b'{"__port":"x","msg":1}', b'{"__port":"data","msg":{"__port":"x","msg":1}}\n'),
        ("data", b'{"msg": 1, "__port": "x"}', b'{"__port":"data","msg":{"msg": 1, "__port": "x"}}\n'),
        ("data", b'{"__port":"x","msg":1,"more":2}', b'{"__port":"x","msg":1,"more":2}\n'),
        ("data", b'{"__port":1,"msg":1}', b'{"__port":1,"msg":1}\n'),
        ("data", b'{"in":{"__port":"x","msg":1}}', b'{"in":{"__port":"x","msg":1}}\n'),
        ("data", b'{\n "a": 1.50,\r\n "b": 2 }', b'{  "a": 1.50,   "b": 2 }\n'),
        ("data", b'"a\\nb"', b'"a\\nb"\n'),
        ("data", b" 1 ", b'{"__port":"data","msg": 1 }\n'),
        ("ctrl_in", b'{"stop":true}', b'{"__port":"ctrl_in","msg":{"stop":true}}\n'),
        ('a "b" é', b"1", '{"__port":"a \\"b\\" é","msg":1}\n'.encode()),
    ],
)
def test_a_message_is_one_line_that_cannot_be_taken_for_another(port: str, payload: bytes, line: bytes):
    """Only what looks exactly like an envelope is wrapped; white space that would break the line is replaced."""
    assert write_line(port, payload) == line
    found, text = read_line(line)
    assert (found, json.loads(text)) == (port, json.loads(payload))


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["__port", "msg", "a"]) | st.text("ab\n"), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(st.sampled_from(["data", "ctrl_in", "marker", "telemetry"]), JSON_VALUES, st.sampled_from([None, 1]))
def test_what_was_written_is_read(port: str, value: Any, indent: int | None):
    """For any value, on any port, over several lines or not."""
    line = write_line(port, json.dumps(value, indent=indent).encode())
    assert line.count(b"\n") == 1
    found, payload = read_line(line)
    assert (found, json.loads(payload)) == (port, value)


@pytest.mark.parametrize(
    "line",
    [b"", b"no json", b'{"__port"', b'{"__port":"x"}', b"\xff", b'{"__port":"x","msg":' + b"[" * 100_000],
    ids=range(6),
)
def test_a_line_that_is_no_envelope_is_a_message(line: bytes):
    """Whether it is JSON is for the validator to say."""
    assert read_line(line + b"\r\n") == ("data", line)


# --- Bytes to lines --------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.binary().map(lambda line: line.replace(b"\n", b""))), st.data())
def test_lines_are_found_however_the_stream_is_cut(expected: list[bytes], data: st.DataObject):
    """Empty ones, too. The last needs no line end, unless it is empty."""
    stream = b"\n".join(expected)
    splitter = LineSplitter()
    found: list[bytes] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += splitter.feed(stream[:size])
        stream = stream[size:]
    found += splitter.feed(b"")
    assert found == (expected[:-1] if expected and not expected[-1] else expected)


def test_a_line_that_is_too_long_is_refused_and_those_before_it_are_given():
    """At once, not only when it ends."""
    splitter = LineSplitter(3)
    assert list(splitter.feed(b"abc\nab")) == [b"abc"]
    assert list(splitter.feed(b"c")) == []
    with pytest.raises(ValueRejected, match="expected a line of at most 3 bytes, got one of 4 bytes or more"):
        list(splitter.feed(b"d"))
    lines = LineSplitter(3).feed(b"a\nabcd\n")
    assert next(lines) == b"a"
    with pytest.raises(ValueRejected):
        next(lines)


def test_the_longest_line_fits_into_a_frame():
    """Whatever the worker's name and the parents; and with its marker into a batch."""
    payload = b'"' + b"a" * (LINE_BYTES_MAX - 2) + b'"'
    assert list(LineSplitter().feed(payload + b"\n")) == [payload]
    marker = encode(Marker("", f"ack/{'x' * 255}/99999/{2**64}"))[4:]
    message = ("x" * 255, payload, bytes(16), bytes(8), 1, bytes(8 * 255), marker)
    (batch,) = encode_batch([message], "fabric")
    assert len(batch) <= FRAME_BYTES_MAX


# --- The bridge ------------------------------------------------------------------------------------------------------

ORIGIN = Provenance(b"T" * 16, b"S" * 8, 1)


def to_program(bridge: LineBridge, port: str, frame: Frame) -> tuple[bytes, list[tuple[str, Frame]]]:
    written = bridge.to_program(port, encode(frame))
    assert not written.ended
    return written.lines, decoded(written.answers)


def decoded(frames: Iterable[tuple[str, bytes]]) -> list[tuple[str, Frame]]:
    return [(port, decode(raw)) for port, raw in frames]


def from_program(bridge: LineBridge, line: bytes) -> list[tuple[str, Frame]]:
    return decoded(bridge.from_program(line))


def marked(id_: str) -> list[tuple[str, Frame]]:
    """A marker on stdout is one on every port, for stdout is one channel. The one that completes comes last."""
    return [(port, Marker("judge", id_)) for port in ("telemetry", "ctrl_out", "output")]


def test_of_a_program_that_does_not_echo_one_line_answers_one_line():
    """It sees no marker. The probe returns at once, the others each behind a line."""
    bridge = LineBridge("judge", echoes=False)
    probe = Marker("fabric", "probe/judge/1")
    assert to_program(bridge, "input", probe) == (b"", [("output", probe)])
    assert to_program(bridge, "input", Data("fabric", b"1", ORIGIN)) == (b"1\n", [])
    assert to_program(bridge, "input", Marker("fabric", "ack/judge/1/1")) == (b"", [])
    assert to_program(bridge, "input", Data("fabric", b"2")) == (b"2\n", [])
    assert to_program(bridge, "input", Marker("fabric", "ack/judge/1/2")) == (b"", [])
    assert from_program(bridge, b'{"__port":"telemetry","msg":{"n":1}}') == [("telemetry", Data("judge", b'{"n":1}'))]
    assert from_program(bridge, b"10\n") == [("output", Data("judge", b"10")), *marked("ack/judge/1/1")]
    assert from_program(bridge, b'{"__port":"data","msg":20}')[1:] == marked("ack/judge/1/2")
    assert from_program(bridge, b"30") == [("output", Data("judge", b"30"))]


def test_of_a_program_that_echoes_markers_any_number_of_lines_may_answer():
    """Markers are lines, both ways."""
    bridge = LineBridge("judge", echoes=True)
    probe = b'{"__port":"marker","msg":"probe/judge/1"}'
    assert to_program(bridge, "input", Marker("fabric", "probe/judge/1")) == (probe + b"\n", [])
    assert from_program(bridge, probe) == marked("probe/judge/1")
    assert to_program(bridge, "input", Data("fabric", b"1")) == (b"1\n", [])
    assert from_program(bridge, b"10") == [("output", Data("judge", b"10"))]
    assert from_program(bridge, b"11") == [("output", Data("judge", b"11"))]
    assert from_program(bridge, b'{"msg":"ack/judge/1/1","__port":"marker"}') == marked("ack/judge/1/1")


def test_control_travels_in_envelopes_and_an_end_is_no_line():
    """Who writes to the program closes its stdin instead, and nothing goes behind that."""
    bridge = LineBridge("judge", echoes=True)
    stop = b'{"__port":"ctrl_in","msg":{"stop":true}}\n'
    assert to_program(bridge, "ctrl_in", Data("fabric", b'{"stop":true}')) == (stop, [])
    assert to_program(bridge, "ctrl_in", Eof("fabric")) == (b"", [])
    assert bridge.to_program("input", encode(Eof("fabric"))) == Written(ended=True)
    assert bridge.to_program("ctrl_in", encode(Data("fabric", b'{"stop":true}'))) == Written()


def test_calls_of_tools_travel_in_envelopes_and_the_end_waits_for_their_results():
    """Once stdin is closed no result could be told."""
    bridge = LineBridge("judge", echoes=False, calls=True)
    call = b'{"__port":"tool_req","msg":{"id":1}}'
    assert from_program(bridge, call) == [("tool_req", Data("judge", b'{"id":1}'))]
    assert not bridge.to_program("input", encode(Eof("fabric"))).ended
    written = bridge.to_program("tool_resp", encode(Data("fabric", b'{"id":1}')))
    assert (written.lines, written.ended) == (b'{"__port":"tool_resp","msg":{"id":1}}\n', True)
    assert bridge.to_program("tool_resp", encode(Eof("fabric"))).lines == b""


def test_a_program_that_may_call_nothing_is_not_waited_for():
    """Its calls are refused, and get no response."""
    bridge = LineBridge("judge", echoes=False)
    from_program(bridge, b'{"__port":"tool_req","msg":{"id":1}}')
    assert bridge.to_program("input", encode(Eof("fabric"))).ended


def test_a_program_that_declines_a_message_has_answered_it():
    """The marker follows, as behind any answer."""
    bridge = LineBridge("judge", echoes=False)
    to_program(bridge, "input", Data("fabric", b"1"))
    to_program(bridge, "input", Marker("fabric", "ack/judge/1/1"))
    line = b'{"__port":"decline","msg":{"error":"no"}}'
    assert from_program(bridge, line) == [("output", Decline("judge", b'{"error":"no"}')), *marked("ack/judge/1/1")]


def test_its_start_announces_it_and_a_clean_exit_is_the_end_of_its_ports():
    """It can say neither. A crash ends nothing: the coordinator sees the status."""
    bridge = LineBridge("judge", echoes=False)
    assert decoded(bridge.started()) == [("ctrl_out", Data("judge", ready(MARK_ALL_PORTS)))]
    assert decoded(bridge.exited(0)) == [(port, Eof("judge")) for port in ("output", "ctrl_out", "telemetry")]
    assert bridge.exited(1) == []
    assert bridge.exited(-9) == []


@pytest.mark.parametrize("echoes", [False, True])
def test_a_line_on_the_port_output_is_a_plain_line(echoes: bool):
    """A program that wraps everything answers all the same."""
    bridge = LineBridge("judge", echoes=echoes)
    to_program(bridge, "input", Marker("fabric", "ack/judge/1/1"))
    answer = ("output", Data("judge", b"1"))
    assert from_program(bridge, b'{"__port":"output","msg":1}') == [
        answer,
        *([] if echoes else marked("ack/judge/1/1")),
    ]


@pytest.mark.parametrize(
    ("line", "frames"),
    [
        (b"", []),
        (b" \r\n", []),
        (b"no json", [("output", Data("judge", b"no json"))]),
        (b"\x01x", [("output", Data("judge", b" \x01x"))]),
        (b"\x02x", [("output", Data("judge", b" \x02x"))]),
        (b"\x00", [("output", Data("judge", b"\x00"))]),
    ],
)
def test_a_line_cannot_pass_for_a_marker_or_a_header(line: bytes, frames: list[tuple[str, Frame]]):
    """What is no JSON arrives as a message that the validator refuses; blank lines are none."""
    assert from_program(LineBridge("judge", echoes=True), line) == frames


@pytest.mark.parametrize(
    "line",
    [
        b'{"__port":"marker","msg":5}',
        b'{"__port":"marker","msg":null}',
        b'"' + b"a" * (FRAME_BYTES_MAX - 3) + b'"',
        b'{"__port":"marker","msg":"' + b"a" * FRAME_BYTES_MAX + b'"}',
    ],
    ids=range(4),
)
def test_a_line_that_fits_into_no_frame_is_refused(line: bytes):
    """The program's fault, not ours."""
    with pytest.raises(ValueRejected):
        LineBridge("judge", echoes=True).from_program(line)


@settings(deadline=None)
@given(st.binary().map(lambda line: line.replace(b"\n", b"")), st.booleans())
def test_any_line_is_frames_or_refused(line: bytes, echoes: bool):
    """Each of them well formed."""
    try:
        frames = from_program(LineBridge("judge", echoes=echoes), line)
    except ValueRejected:
        return
    assert len(frames) <= 3
