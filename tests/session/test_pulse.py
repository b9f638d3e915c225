"""Whether a worker moves: asked on ctrl_in, beside what it is at."""

from __future__ import annotations

from fabric.session.pulse import Pulse, is_answer
from fabric.wire.codec import decode, encode
from fabric.wire.frame import Data, Marker


def marker_of(frames: list[bytes]) -> str:
    (raw,) = frames
    frame = decode(raw)
    assert isinstance(frame, Marker)
    return frame.id


def test_it_is_asked_once_until_it_answers():
    """Who hangs is not flooded; since when it is silent is the first question."""
    pulse = Pulse("w")
    marker = marker_of(pulse.asked(1.0))
    assert pulse.asked(2.0) == []
    assert pulse.asked_s == 1.0
    assert pulse.returned(marker)
    assert pulse.asked_s is None
    assert marker_of(pulse.asked(3.0)) != marker


def test_an_answer_of_another_process_is_none():
    """Nor is one that was not asked for, or that is back already."""
    pulse = Pulse("w")
    old = marker_of(pulse.asked(1.0))
    pulse.begin(1)
    assert not pulse.returned(old)
    marker = marker_of(pulse.asked(2.0))
    assert not pulse.returned(old)
    assert pulse.returned(marker)
    assert not pulse.returned(marker)


def test_an_answer_is_told_from_what_shows_that_messages_move():
    """By the marker's name."""
    assert is_answer(encode(Marker("w", "pulse/w/1/1")))
    assert not is_answer(encode(Marker("w", "ctl/w/1/1")))
    assert not is_answer(encode(Data("w", b'"pulse/"')))
    assert not is_answer(b"\xff")
