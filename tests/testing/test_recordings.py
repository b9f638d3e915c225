"""What a cassette keeps, and how it finds an answer: without a server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.errors import ConfigError
from fabric.testing.differences import differences
from fabric.testing.recordings import Recording, Tape, leaks, matched, read_tape, redact, written_tape

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=4), JSON, max_size=3)
KEYS = st.text("abcXYZ019-_+/=&\"'<>%", min_size=8, max_size=20)

RECORDINGS = st.builds(
    Recording,
    agent=st.sampled_from(["", "judge", "poet"]),
    path=st.sampled_from(["/v1/messages", "/v1/chat/completions"]),
    request=OBJECTS,
    status=st.sampled_from([200, 429]),
    response=JSON,
    cut=st.booleans(),
)


@given(st.lists(RECORDINGS, max_size=5))
def test_what_is_written_is_read(recordings: list[Recording]):
    """One line each, in an order that does not depend on which agent came first."""
    data = written_tape(recordings, [])
    assert data.count(b"\n") == len(recordings)
    assert read_tape(data, "x") == sorted(recordings, key=lambda recording: recording.agent)


@given(st.lists(RECORDINGS, max_size=5), st.randoms(use_true_random=False))
def test_every_recorded_request_is_answered_once(recordings: list[Recording], rng: Any):
    """Whatever the order in which they come; equal ones of one agent in theirs."""
    tape = Tape(recordings, matched, "x")
    asked = list(recordings)
    rng.shuffle(asked)
    came = [tape.take(each.path, json.loads(json.dumps(each.request)), each.agent) for each in asked]
    assert None not in came
    assert sorted(map(repr, came)) == sorted(map(repr, recordings))
    assert tape.unused == []
    assert [tape.take(each.path, each.request, each.agent) for each in asked] == [None] * len(asked)


@given(KEYS, JSON)
def test_no_key_survives(key: str, value: Any):
    """As it is, in JSON inside of JSON, in a URL, in capitals."""
    texts = [key, json.dumps({"k": key}), key.replace("/", "\\/"), key.upper(), f"a{key}b"]
    clean = json.dumps(redact({"texts": texts, key: value}, [key]), ensure_ascii=False)
    assert key.lower() not in json.loads(clean)["texts"][0].lower()
    assert all("[key]" in text for text in json.loads(clean)["texts"])
    assert "[key]" in json.loads(clean)


def test_what_is_too_short_for_a_key_is_left():
    """It is a placeholder, and may be a word of an answer."""
    assert redact(["none of it"], ["none"]) == ["none of it"]


@pytest.mark.parametrize("pieces", [["sk-012", "3456789"], ["sk-0123456789"], list("sk-0123456789")])
def test_a_key_in_pieces_is_found(pieces: list[str]):
    """Whatever else stands between them."""
    events = [{"type": "content_block_delta", "delta": {"type": "text_delta", "text": piece}} for piece in pieces]
    text = "".join(f"event: x\ndata: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    assert leaks(Recording(response=text), ["sk-0123456789"])
    assert not leaks(Recording(response=text), ["sk-0123456780"])


def test_the_nearest_request_is_the_one_with_the_fewest_differences():
    """On the same path; what is shown is bounded."""
    many = {str(number): number for number in range(9)}
    tape = Tape(
        [Recording(path="/p", request={"a": 1, "b": 2}), Recording(path="/p", request={"a": 1} | many)], matched, "x"
    )
    assert tape.refusal("/p", {"a": 1, "b": 3}) == (
        "x has no such request; the nearest is in line 1, and differs:\n  $.b: recorded 2, got 3"
    )
    shown = tape.refusal("/p", {"a": 1, "b": 2} | {f"c{number}": number for number in range(7)})
    assert shown.endswith("\n  $.c4: recorded nothing, got 4\n  and 2 more")
    assert tape.refusal("/q", {}) == "x has no request to /q"


def test_a_line_that_is_no_recording_is_refused():
    """With its number; empty lines are passed over."""
    with pytest.raises(ConfigError, match="x:3: expected a recorded request and its response"):
        read_tape(b'{}\n\n{"status": "200"}\n', "x")


# --- Differences ------------------------------------------------------------------------------------------------------


@given(JSON, JSON)
def test_there_are_differences_exactly_between_values_that_differ(one: Any, other: Any):
    """``1`` and ``true`` are two values."""
    assert list(differences(one, one)) == []
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (list(differences(one, other)) == []) is same


def test_differences_say_where_and_what():
    """Of long texts the place where they part."""
    recorded = {"a": [1, {"b": "x" * 100 + "yes"}], "c": None}
    got = {"a": [1, {"b": "x" * 100 + "no"}, 3], "d": True}
    assert list(differences(recorded, got)) == [
        '$.a[1].b: recorded …"' + "x" * 30 + 'yes", got …"' + "x" * 30 + 'no"',
        "$.a[2]: recorded nothing, got 3",
        "$.c: recorded null, got nothing",
        "$.d: recorded nothing, got true",
    ]
