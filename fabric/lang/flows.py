"""What messages do in the bodies of a program: where none comes, where none ever leaves, where they never end.

Bodies are looked at in the order in which they need each other, each once; a body around another one knows of it the
ways through it (``passage``).
"""

from __future__ import annotations

__all__ = ["FOLLOWS_FROM_ERRORS", "Flows"]

from collections.abc import Iterable, Mapping

from fabric.lang.controls import report_unknown_controls
from fabric.lang.diagnostic import Report
from fabric.lang.feeding import report_silent_loops, report_unreachable
from fabric.lang.loops import report_endless_loops, report_loops_without_exit
from fabric.lang.net import make_net, solve
from fabric.lang.passage import Ways
from fabric.lang.typed import Binding
from fabric.lang.wiring import Wired

FOLLOWS_FROM_ERRORS = frozenset({"W0513", "W0514"})
"""Warnings that mean little beside an error: what seems to be missing may be what the error is about."""


class Flows:
    """What is known of the bodies of one file, and of those that it uses."""

    def __init__(self) -> None:
        self._ways: dict[str, Ways] = {}

    def include(self, others: Iterable[Flows]) -> None:
        """Take over what is known of the bodies of other files."""
        for other in others:
            self._ways |= other._ways

    def check(self, binding: Binding, wired: Wired, simple: Mapping[str, Binding], report: Report) -> None:
        """Report what is wrong with a body, and what is hardly meant. Those that it has instances of have to be known.

        Args:
            binding: whose body it is.
            wired: the body.
            simple: the bindings without a body.
            report: takes what is found.
        """
        if not wired.is_whole:
            return
        net = make_net(binding, self._ways, simple)
        silent, self._ways[binding.name] = solve(net)
        report_silent_loops(net, silent, wired.channels, report)
        report_endless_loops(net, silent, wired.channels, report)
        if not report.has_errors:
            report_unreachable(net, silent, wired.channels, report)
            report_loops_without_exit(net, silent, wired.channels, report)
        report_unknown_controls(net, report)
