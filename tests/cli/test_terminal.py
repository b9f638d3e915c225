"""Signals that come while a line is waited for."""

from __future__ import annotations

import signal

import pytest

from fabric.cli.terminal import LineInterrupted, Signals

BOTH = {signal.SIGINT, signal.SIGALRM}


def test_who_waits_for_a_line_is_woken_or_interrupted():
    """By the session, or by the user. Who waits for none is not woken, and the user is heard elsewhere."""
    signals, passed_on = Signals(), list[int]()
    with signals.obeyed(passed_on.append):
        with pytest.raises(LineInterrupted), signals.raised():
            signals.wake()
        signals.wake()
        with pytest.raises(LineInterrupted), signals.raised():
            signal.raise_signal(signal.SIGINT)
        assert (passed_on, signals.count) == ([], 0)
        signal.raise_signal(signal.SIGINT)
    assert (passed_on, signals.count) == ([signal.SIGINT], 1)


def test_who_is_woken_when_the_line_is_there_already_was_interrupted_by_nobody():
    """It is no Ctrl-C, which would end the conversation; nor does it interrupt the next line."""
    signals, passed_on = Signals(), list[int]()
    with signals.obeyed(passed_on.append):
        with signals.raised():
            signal.pthread_sigmask(signal.SIG_BLOCK, BOTH)  # the signal is on its way
            signals.wake()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, BOTH)
        with signals.raised():
            signal.raise_signal(signal.SIGALRM)
    assert (passed_on, signals.count) == ([], 0)
