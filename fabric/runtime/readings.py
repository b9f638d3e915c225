"""What is scraped of a session as it stands: samples of its snapshot and of its figures. Pure."""

from __future__ import annotations

__all__ = ["STATES", "ChannelReading", "read_channels", "read_session"]

from collections import Counter
from collections.abc import Container, Iterator

import msgspec

from fabric.metrics import Sample
from fabric.plan.plan import Plan
from fabric.runtime.meter import buckets
from fabric.session.budget import BudgetStatus
from fabric.session.figures import Figures
from fabric.session.snapshot import Snapshot, WorkerSnapshot


class ChannelReading(msgspec.Struct, frozen=True):
    """How one channel stands.

    Attributes:
        messages, size_bytes: that came through it.
        depth: messages that its reader is not done with; ``oldest_age_s``: of the oldest of these.
        blocked_s: how long the place where it ends was full while somebody waited for room.
    """

    channel: str
    messages: int
    size_bytes: int
    depth: int
    oldest_age_s: float
    blocked_s: float


STATES = ("starting", "ready", "busy", "paused", "draining", "exited", "failed")
"""Of workers. One that is being stopped by hand drains, one that was stopped has exited; one that has crashed, and will
be started again, has failed; and so has one that somebody else starts, if it was there before."""

_STATE = {"stopping": "draining", "stopped": "exited", "restarting": "failed"}

_REASONS = {
    "short": "decode",
    "topic": "decode",
    "marker_id": "decode",
    "batch": "decode",
    "oversize": "oversize",
    "too_large": "oversize",
    "input_type_mismatch": "type",
    "output_type_mismatch": "type",
    "expr_eval": "type",
}
"""Why something was refused, in four words; what is not here is against the ``protocol``."""


def read_session(
    plan: Plan,
    spec: str,
    channels: dict[str, tuple[int, ...]],
    snapshot: Snapshot,
    figures: Figures,
    *,
    now_s: float,
    now: float,
    lost: Container[str] = (),
) -> Iterator[Sample]:
    """Yield the samples.

    Args:
        plan: what runs.
        spec: name of the program.
        channels: of the plan, by name, as in :mod:`fabric.plan.channels`.
        snapshot, figures: of the session.
        now_s: by the session's clock.
        now: unix time.
        lost: workers that somebody else starts and that were there, and are not.
    """
    yield from _workers(spec, snapshot, figures, now - now_s, lost)
    yield from _channels(read_channels(channels, snapshot, figures, now_s))
    yield from _invalid(plan, channels, figures)
    yield from _models(snapshot, figures)
    if snapshot.budget is not None:
        yield from _budget(spec, snapshot.budget)
    yield from _tools(plan, snapshot, figures)


def _state(worker: WorkerSnapshot, lost: Container[str]) -> str:
    if worker.awaited and worker.activity == "starting" and worker.name in lost:
        return "failed"
    if worker.paused and worker.activity in ("ready", "busy"):
        return "paused"
    return _STATE.get(worker.activity, worker.activity)


def _workers(spec: str, snapshot: Snapshot, figures: Figures, zero: float, lost: Container[str]) -> Iterator[Sample]:
    states = Counter(_state(worker, lost) for worker in snapshot.workers)
    yield from (Sample("fabric_workers", states[state], (spec, state)) for state in STATES)
    for worker in snapshot.workers:
        yield Sample("fabric_worker_last_progress_timestamp_seconds", zero + worker.moved_s, (worker.name,))
    for name, durations in figures.latency.items():
        yield Sample("fabric_message_latency_seconds", buckets(durations), (name,))


def read_channels(
    channels: dict[str, tuple[int, ...]], snapshot: Snapshot, figures: Figures, now_s: float
) -> Iterator[ChannelReading]:
    """Yield how each channel stands. Arguments as of :func:`read_session`."""
    for name, sinks in channels.items():
        waiting = [figures.waiting[sink] for sink in sinks]
        oldest_s = min((one.oldest_s for one in waiting if one.oldest_s is not None), default=now_s)
        yield ChannelReading(
            name,
            sum(snapshot.arrived[sink] for sink in sinks),
            sum(figures.size_bytes[sink] for sink in sinks),
            sum(one.messages for one in waiting),
            max(0.0, now_s - oldest_s),
            max(figures.blocked_s[sink] for sink in sinks),
        )


def _channels(read: Iterator[ChannelReading]) -> Iterator[Sample]:
    for channel in read:
        labels = (channel.channel,)
        yield Sample("fabric_messages_total", channel.messages, labels)
        yield Sample("fabric_message_bytes_total", channel.size_bytes, labels)
        yield Sample("fabric_channel_depth", channel.depth, labels)
        yield Sample("fabric_channel_oldest_age_seconds", channel.oldest_age_s, labels)
        yield Sample("fabric_channel_blocked_seconds_total", channel.blocked_s, labels)


def _invalid(plan: Plan, channels: dict[str, tuple[int, ...]], figures: Figures) -> Iterator[Sample]:
    """Yield what was refused, by the channel that it came on: the first of those that begin, or end, at its port.

    What came on a port that leads nowhere is told by the port alone.
    """
    by_end = {channels_end: name for name in reversed(channels) for channels_end in name.split("→")}
    found: Counter[tuple[str, str]] = Counter()
    for (end, reason), count in figures.invalid.items():
        node = plan.graph.nodes.get(end.node)
        place = end.port if node is not None and node.kind == "input" else f"{end.node}.{end.port}"
        found[by_end.get(place, place), _REASONS.get(reason, "protocol")] += count
    for labels, count in found.items():
        yield Sample("fabric_messages_invalid_total", count, labels)


def _models(snapshot: Snapshot, figures: Figures) -> Iterator[Sample]:
    for usage in snapshot.usage:
        labels = usage.worker, usage.provider, usage.model
        yield Sample("fabric_llm_requests_total", usage.calls, (*labels, "ok"))
        yield Sample("fabric_llm_input_tokens_total", usage.prompt_tokens, labels)
        yield Sample("fabric_llm_output_tokens_total", usage.completion_tokens, labels)
        yield Sample("fabric_llm_cache_read_input_tokens_total", usage.cache_read_tokens, labels)
        yield Sample("fabric_llm_cache_write_input_tokens_total", usage.cache_creation_tokens, labels)
        yield Sample("fabric_llm_unpriced_requests_total", usage.calls if usage.usd is None else 0, labels)
        if usage.usd is not None:
            yield Sample("fabric_llm_cost_usd_total", usage.usd, labels)
    for worker, tokens in figures.context_tokens.items():
        yield Sample("fabric_llm_context_tokens", tokens, (worker,))


def _budget(spec: str, budget: BudgetStatus) -> Iterator[Sample]:
    limits = budget.limits
    for kind, limit, used, reserved in (
        ("usd", limits.usd, budget.usd, budget.reserved_usd),
        ("tokens", limits.tokens, budget.tokens, budget.reserved_tokens),
        ("calls", limits.calls, budget.calls, budget.reserved_calls),
    ):
        if limit is not None:
            yield Sample("fabric_budget_limit", limit, (spec, kind))
            yield Sample("fabric_budget_used", used, (spec, kind))
            yield Sample("fabric_budget_reserved", reserved, (spec, kind))


def _tools(plan: Plan, snapshot: Snapshot, figures: Figures) -> Iterator[Sample]:
    for done in figures.tools:
        labels = done.worker, done.tool, done.outcome
        yield Sample("fabric_tool_calls_total", done.calls, labels)
        yield Sample("fabric_tool_duration_seconds", buckets(done.took), labels)
    pending = Counter(dict.fromkeys((name for name, tool in plan.tools.items() if tool.effects), 0))
    pending.update(approval.tool for approval in snapshot.approvals)
    for tool, count in pending.items():
        yield Sample("fabric_approvals_pending", count, (tool,))
