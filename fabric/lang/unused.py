"""Processes that the main one does without."""

from __future__ import annotations

__all__ = ["report_unused"]

from collections.abc import Iterable, Mapping

from fabric.lang.diagnostic import Report
from fabric.lang.source import Span


def report_unused(main: str, places: Mapping[str, Span], uses: Mapping[str, Iterable[str]], report: Report) -> None:
    """Warn of processes of a file that its main one does not use.

    Args:
        main: its name.
        places: of the names of all processes of the file.
        uses: of each what its body, its tools or its tool's process name.
        report: takes the warnings.
    """
    used = {main}
    stack = [main]
    while stack:
        for name in uses.get(stack.pop(), ()):
            if name not in used:
                used.add(name)
                stack.append(name)
    for name, span in places.items():
        if name not in used:
            report.add(
                "W0515",
                span,
                f"'{main}' does without '{name}'",
                label="nothing uses it",
                help="wire it in, or remove it",
            )
