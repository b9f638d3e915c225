"""What is printed with colors, and what as objects."""

from __future__ import annotations

import os

import pytest

from fabric.cli.report import use_color

NAMES = ("FABRIC_COLOR", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE")


@pytest.mark.parametrize(
    ("environment", "terminal", "pipe"),
    [
        ({}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"CLICOLOR": "0"}, False, False),
        ({"CLICOLOR": "1"}, True, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "0"}, True, False),
        ({"CLICOLOR_FORCE": "1"}, True, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
        ({"FABRIC_COLOR": "always", "NO_COLOR": "1"}, True, True),
        ({"FABRIC_COLOR": "never", "FORCE_COLOR": "1"}, False, False),
        ({"FABRIC_COLOR": "auto"}, True, False),
    ],
)
def test_colors_are_for_terminals_and_for_who_asks(
    environment: dict[str, str], terminal: bool, pipe: bool, monkeypatch: pytest.MonkeyPatch
):
    """A flag before NO_COLOR, NO_COLOR before those that force it."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    tty, other = os.openpty()
    ends = os.pipe()
    try:
        assert (use_color(other), use_color(ends[1])) == (terminal, pipe)
    finally:
        for descriptor in (tty, other, *ends):
            os.close(descriptor)
