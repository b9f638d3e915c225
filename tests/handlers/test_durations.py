"""Durations, as Go reads them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.errors import HandlerFailed
from fabric.handlers.durations import SLEEP_S_MAX, parse_duration, sleep_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", Fraction(0)),
        ("+0", Fraction(0)),
        ("0.00s", Fraction(0)),
        ("1.50s", Fraction(3, 2)),
        ("90.25s", Fraction("90.25")),
        ("-1.00s", Fraction(-1)),
        ("+5s", Fraction(5)),
        ("1h30m", Fraction(5400)),
        ("2h45m30.5s", Fraction("9930.5")),
        (".5s", Fraction(1, 2)),
        ("1.s", Fraction(1)),
        ("250ms", Fraction(1, 4)),
        ("1us", Fraction(1, 10**6)),
        ("1\N{MICRO SIGN}s", Fraction(1, 10**6)),
        ("1\N{GREEK SMALL LETTER MU}s", Fraction(1, 10**6)),
        ("3ns", Fraction(3, 10**9)),
        ("100000000000000000000.00s", Fraction(10**20)),
        ("1s1s", Fraction(2)),
    ],
)
def test_a_duration_is_read_exactly(text: str, seconds: Fraction):
    """The rows of Go's own table, and what the SDK writes."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "3", "-", "s", ".", "-.", ".s", "+.s", "1d", "1 s", " 1s", "1s ", "infs", "nans", "-infs", "inf", "1e3s", "1S",
     "--1s", "1s-1s", "1s\n", "\N{ARABIC-INDIC DIGIT ONE}s", "9" * 600 + "s"],
)  # fmt: skip
def test_what_is_no_duration_is_refused(text: str):
    """Also the floats that are no numbers, which the SDK does write."""
    with pytest.raises(HandlerFailed, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("-1.00s", 0.0), ("0.00s", 0.0), ("1.50s", 1.5), ("100000000000000000000.00s", SLEEP_S_MAX), ("1ns", 1e-9)],
)
def test_a_sleep_is_between_nothing_and_ten_years(text: str, seconds: float):
    """Nobody sleeps into the past, and nobody for ever."""
    assert sleep_s(text) == seconds


@given(st.floats(0, 1e308))
def test_what_the_sdk_writes_can_be_read(seconds: float):
    """``%.2f`` of any number that is one."""
    text = f"{seconds:.2f}s"
    assert parse_duration(text) == Fraction(f"{seconds:.2f}")
    assert sleep_s(text) == min(float(f"{seconds:.2f}"), SLEEP_S_MAX)
