"""Records: what a handler is told, and what it may write."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.errors import HandlerFailed
from fabric.handlers.records import Input, Output, input_line, parse_output


def test_a_record_goes_in_as_ascii_with_what_is_not_empty():
    """Keys in their order; one line, whatever is in it."""
    line = input_line(
        Input(event="push", url="http://127.0.0.1:1/o/9b", size=33, content_type="application/json", name="plän\n",
              metadata={"k": "✓"})
    )  # fmt: skip
    assert line == (
        b'{"event": "push", "url": "http://127.0.0.1:1/o/9b", "size": 33, "content-type": "application/json",'
        b' "name": "pl\\u00e4n\\n", "metadata": {"k": "\\u2713"}}\n'
    )


def test_a_record_without_anything_is_its_event():
    """What is missing has a default on the other side."""
    assert input_line(Input(event="wake")) == b'{"event": "wake"}\n'


def test_what_the_sdk_writes_is_read():
    """Byte for byte."""
    written = parse_output(
        b'{"data":"aGk=","name":"n","content-type":"text/plain"}\n'
        b'{"data":"","content-type":"application/vnd.pugmark.pause+text"}\n'
        b'{"data":"cg==","content-type":"application/vnd.pugmark.pause+text","metadata":{"duration":"1.50s"}}\n'
        b'{"uri":"s3://b/k","name":"x","session":"other"}\n'
        b'{"data":"eA==","fork":true}\n'
    )
    pause = "application/vnd.pugmark.pause+text"
    assert written.outputs == (
        Output(data=b"hi", name="n", content_type="text/plain"),
        Output(data=b"", content_type=pause),
        Output(data=b"r", content_type=pause, metadata={"duration": "1.50s"}),
        Output(uri="s3://b/k", name="x", session="other"),
        Output(data=b"x", fork=True),
    )
    assert written.noise == ()


def test_fork_and_session_are_taken_on_any_record():
    """Handlers in other languages send both; null is nothing; keys that nobody knows are theirs."""
    line = b'{"uri":"https://h/x","fork":true,"session":"s","name":null,"data":null,"metadata":null,"later":[1]}\n'
    assert parse_output(line).outputs == (Output(uri="https://h/x", fork=True, session="s"),)


def test_blank_lines_and_carriage_returns_do_no_harm():
    """As on the way in."""
    assert parse_output(b'\n  \r\n{"data":"eA=="}\r\n\n').outputs == (Output(data=b"x"),)


def test_nothing_is_no_output():
    """A silent handler."""
    assert parse_output(b"").outputs == ()


def test_a_body_may_hold_what_is_no_json():
    """It is bytes: NaN in a body is the reader's affair."""
    line = json.dumps({"data": base64.b64encode(b'{"x": NaN}').decode()}).encode() + b"\n"
    assert parse_output(line).outputs == (Output(data=b'{"x": NaN}'),)


def test_metadata_is_not_coerced():
    """Strings by convention only."""
    assert parse_output(b'{"data":"","metadata":{"n":1,"l":[null]}}\n').outputs[0].metadata == {"n": 1, "l": [None]}


NOISE = [
    b"hello",
    b"42",
    b"null",
    b'"data"',
    b"[1]",
    b"{}",
    b'{"name":"n"}',
    b'{"log":{"data":1}}',
    b"{'a': 1}",
    b'the "data": is there',
    b'"data": {"a": 1}',
    b'{the data: and the "uri" are there}',
    b"\xff\xfe",
    b"\x00",
    b"[" * 100_000,
]


@pytest.mark.parametrize("line", NOISE, ids=lambda line: repr(line[:12]))
def test_a_line_that_is_no_record_fails_the_invocation(line: bytes):
    """It is shown, with what to do."""
    with pytest.raises(HandlerFailed, match=r"line 2 is no record.*stderr.*--lenient"):
        parse_output(b'{"data":""}\n' + line + b"\n")


@pytest.mark.parametrize("line", NOISE, ids=lambda line: repr(line[:12]))
def test_a_line_that_is_no_record_may_pass(line: bytes):
    """It is told of, and what is around it counts."""
    written = parse_output(b'{"data":""}\n' + line + b'\n{"data":"eA=="}\n', lenient=True)
    assert written.outputs == (Output(data=b""), Output(data=b"x"))
    assert written.noise == (line.decode(errors="replace"),)


BROKEN = [
    (b'{"data":5}', r"Expected `str \| null`, got `int`.*\$.data"),
    (b'{"data":"a"}', "broken"),
    (b'{"data":"YQ"}', "broken"),
    (b'{"data":"YQ==YQ=="}', "broken"),
    (b'{"data":"_-8="}', "broken"),
    ('{"data":"é"}'.encode(), "broken"),
    (b'{"data":"","name":5}', r"\$.name"),
    (b'{"data":"","fork":"yes"}', r"\$.fork"),
    (b'{"data":"","metadata":[]}', r"\$.metadata"),
    (b'{"data":"","metadata":{"x":NaN}}', "broken"),
    (b'{"data":"","name":"\\ud800"}', "broken"),
    (b'{"data":"YQ==","uri":"https://h/"}', "both"),
    (b'{"uri":""}', "empty"),
    (b'{"uri":null}', "empty"),
    (b'{"data":"YQ==', "broken"),
    (b'working... {"data":"YQ=="}', "broken"),
    (b'{"data":""}{"data":""}', "broken"),
    (b'{"content-type":"text/plain","data":"aGk=', "broken"),
    (b'{"name":"n","uri" : "https://h/', "broken"),
    (b'progress 50%{"name":"x","data":"aGk="}', "broken"),
    (b'{"metadata":{"a":"}"},"data":"aGk="', "broken"),
    (b'{"n":1}{"name":"x","data":"aGk="}', "broken"),
]


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize(
    ("line", "why"), BROKEN, ids=lambda value: repr(value[:24]) if isinstance(value, bytes) else ""
)
def test_a_broken_record_is_never_dropped(line: bytes, why: str, lenient: bool):
    """Not by the lenient either: what was meant as a record would be lost."""
    with pytest.raises(HandlerFailed, match=why):
        parse_output(line + b"\n", lenient=lenient)


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("rest", [b'{"data":"eA=="}', b'{"da', b"done"])
def test_a_last_line_without_an_end_is_torn(rest: bytes, lenient: bool):
    """Whole as it may look: nobody knows what would have followed."""
    with pytest.raises(HandlerFailed, match="torn"):
        parse_output(b'{"data":""}\n' + rest, lenient=lenient)


def test_a_long_line_is_shown_in_part():
    """An error is for people."""
    with pytest.raises(HandlerFailed) as raised:
        parse_output(b"x" * 10_000_000 + b"\n")
    assert len(str(raised.value)) < 500


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_records_or_a_failure(raw: bytes, lenient: bool):
    """Nothing else comes out of hostile output."""
    try:
        written = parse_output(raw, lenient=lenient)
    except HandlerFailed:
        return
    assert all(isinstance(output, Output) for output in written.outputs)


_TEXT = st.text(max_size=20)
_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "name": _TEXT,
    "content-type": _TEXT,
    "content-encoding": _TEXT,
    "schema-url": _TEXT,
    "metadata": st.dictionaries(_TEXT, _TEXT, max_size=3),
    "fork": st.just(True),
    "session": _TEXT,
}


@given(st.binary(max_size=100), st.fixed_dictionaries({}, optional=_FIELDS))
def test_what_is_written_is_what_is_read(body: bytes, fields: dict[str, Any]):
    """All fields, in the SDK's own writing."""
    line = json.dumps({"data": base64.b64encode(body).decode(), **fields}, separators=(",", ":")).encode() + b"\n"
    expected = {key.replace("-", "_"): value for key, value in fields.items()}
    assert parse_output(line).outputs == (Output(data=body, **expected),)
