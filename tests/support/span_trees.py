"""What holds of all spans of a session, whatever its program is."""

from __future__ import annotations

__all__ = ["ABOUT", "children", "held_together", "named", "recorded", "traced"]

from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import partial
from typing import Any

import trio
from three_ways import RUNNERS
from trio.testing import MockClock

from fabric.plan.plan import Plan
from fabric.session.events import Traced
from fabric.session.spans import About
from fabric.testing import Simulated, simulate
from fabric.tracing.span import Span

ABOUT = About("program", "sha256:00", "conversation")


def recorded(plan: Plan, inputs: Iterable[tuple[str, bytes]], **how: Any) -> tuple[Simulated, list[Span]]:
    """Run a plan in memory; return what came of it, and the spans of its session."""
    spans: list[Span] = []

    def watch(_now_s: float, _event: object, commands: list[Any]) -> None:
        for command in commands:
            if isinstance(command, Traced):
                spans.extend(command.spans)

    run = partial(simulate, plan, list(inputs), **{"runners": RUNNERS, "traced": ABOUT, **how}, watch=watch)
    return trio.run(run, clock=MockClock(autojump_threshold=0)), spans


def traced(plan: Plan, *inputs: bytes, **how: Any) -> list[Span]:
    """Return the spans of a session with one input, which hold together."""
    (port,) = plan.inputs
    _, spans = recorded(plan, [(port, payload) for payload in inputs], **how)
    held_together(spans)
    return spans


def held_together(spans: Iterable[Any]) -> None:
    """Assert that each trace is one tree: ids are used once, there is one root, and nothing hangs in the air."""
    traces = defaultdict(list)
    for span in spans:
        traces[span.trace_id].append(span)
    known = {(span.trace_id, span.span_id) for span in spans}
    for trace in traces.values():
        twice = [id_ for id_, count in Counter(span.span_id for span in trace).items() if count > 1]
        assert not twice, [span.name for span in trace if span.span_id in twice]
        assert [span.name for span in trace if span.parent and (span.trace_id, span.parent) not in known] == []
        assert len([span for span in trace if not span.parent]) == 1, [span.name for span in trace]
        assert {link for span in trace if span.parent for link in span.links} <= known
        assert all(span.start_s <= span.end_s for span in trace)


def children(spans: Iterable[Any], of: Any) -> list[str]:
    """Return the names of what hangs from a span, in order."""
    return sorted(span.name for span in spans if span.parent == of.span_id and span.trace_id == of.trace_id)


def named(spans: Iterable[Any], name: str) -> Any:
    """Return the one span with this name."""
    (found,) = [span for span in spans if span.name == name]
    return found
