"""Signals that come while a line is waited for."""

from __future__ import annotations

import signal

import pytest

from fabric.cli.terminal import LineInterrupted, Signals


def test_who_waits_for_a_line_is_woken_and_nobody_else():
    """One that comes when the line is there already is no signal of the user: it does not end the conversation."""
    signals, passed_on = Signals(), list[int]()
    with signals.obeyed(passed_on.append):
        with pytest.raises(LineInterrupted), signals.raised():
            signals.wake()
        signals.wake()
        signal.raise_signal(signal.SIGALRM)
        assert (passed_on, signals.count) == ([], 0)
        with signals.raised():  # one of before is forgotten
            signal.raise_signal(signal.SIGALRM)
        with pytest.raises(LineInterrupted), signals.raised():
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert (passed_on, signals.count) == ([signal.SIGINT], 1)
