"""The command that shows what the calls of models took, and what that costs."""

from __future__ import annotations

__all__ = ["Cost", "register", "remarks", "render_cost", "totals"]

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec
import trio
import typer

from fabric.cli.flags import Project, state_directory
from fabric.cli.limits import count, show_limits, spent_fields
from fabric.cli.listing import align
from fabric.cli.report import out, print_line
from fabric.cli.service import SERVICE, killed
from fabric.errors import ConfigError, NotRunning
from fabric.runtime.ending import outcome_of
from fabric.runtime.prices import INSTALL
from fabric.runtime.service_client import ask
from fabric.runtime.service_protocol import Request, Status
from fabric.runtime.services import Record, find_record
from fabric.session.budget import BudgetStatus
from fabric.session.money import show_usd
from fabric.session.usage import Usage
from fabric.wire.payload import encode_json, to_plain


class Cost(msgspec.Struct, frozen=True):
    """What a service has used.

    Attributes:
        running: whether it runs, and may use more.
        usage: by worker and model.
        budget: how it stands, if there is one.
        priced_by: where the prices come from, in words.
    """

    project: str
    running: bool
    usage: tuple[Usage, ...] = ()
    budget: BudgetStatus | None = None
    priced_by: str = ""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(cost)


def cost(
    program: Annotated[Path | None, SERVICE] = None,
    project: Project = None,
    output: Annotated[str, typer.Option("--format", help="table, json or jsonl.")] = "table",
) -> None:
    """Show what the agents of a service have used: calls of models, tokens, dollars. Of one that runs, or of the last
    that has ended.

    IN is tokens of prompts, CACHED those of them that were read from a cache, WRITTEN those that were written to it,
    OUT tokens of replies. A model without a price costs an unknown amount, not nothing.

    Examples: fabric cost; fabric cost -p demo --format json

    Exit codes: 0, 1 the service does not answer, 7 nothing is known of any service, or of what it used: it was killed.
    """
    if output not in ("table", "json", "jsonl"):
        raise ConfigError(f"--format {output}: expected table, json or jsonl")
    state, record = find_record(Path.cwd(), state_directory(), spec=program, project=project)
    found = _find(state, record)
    if output == "json":
        rows = to_plain(found.usage)
        told = {"v": 1, **to_plain(found), "usage": rows, "total": spent_fields(found.usage, found.budget)}
        out([encode_json(told).decode(), "\n"])
    elif output == "jsonl":
        out(encode_json({"v": 1, "project": found.project, **to_plain(row)}).decode() + "\n" for row in found.usage)
    else:
        out(line + "\n" for line in render_cost(found))
        for line in remarks(found):
            print_line(line)


def _find(state: Path, record: Record) -> Cost:
    """Ask a service what it has used, or read what it wrote down at its end.

    Raises:
        NoAnswer: it does not answer.
        NotRunning: it was killed, and has not written it down.
    """
    if record.alive:
        try:
            status = trio.run(ask, record, Request(1, do="status")).status
        except NotRunning:  # it ends just now
            pass
        else:
            assert isinstance(status, Status)
            return Cost(record.project, True, status.usage, status.budget, status.priced_by)
    outcome = record.outcome or outcome_of(state, record)
    if outcome is None:
        raise NotRunning(f"{killed(record)}, and what it has used is not known")
    return Cost(record.project, False, outcome.usage, outcome.budget, outcome.priced_by)


_HEADINGS = ("WORKER", "MODEL", "CALLS", "IN", "CACHED", "WRITTEN", "OUT", "USD")


def render_cost(found: Cost) -> list[str]:
    """Return one line a worker and model, below a line of headings, and the total."""
    if not found.usage:
        return [f"'{found.project}' has called no model" + (" yet" if found.running else "")]
    rows = [_HEADINGS, *map(_cells, found.usage)]
    total = totals(found.usage)
    known = show_usd(sum((row.usd or 0.0 for row in found.usage), 0.0))
    rows.append(("total", "", *_counts(total), known if total.usd is not None else f"{known} + unknown"))
    return align(rows)


def totals(usage: Iterable[Usage]) -> Usage:
    """Return the sums of all rows. ``usd`` is ``None`` if one of them has no price."""
    rows = list(usage)
    usd = None if any(row.usd is None for row in rows) else sum((row.usd or 0.0 for row in rows), 0.0)
    return Usage(
        "",
        "",
        "",
        sum(row.calls for row in rows),
        sum(row.prompt_tokens for row in rows),
        sum(row.completion_tokens for row in rows),
        sum(row.cache_read_tokens for row in rows),
        sum(row.cache_creation_tokens for row in rows),
        usd,
    )


def _cells(row: Usage) -> tuple[str, ...]:
    model = "/".join(filter(None, (row.provider, row.model))) or "?"
    return row.worker, model, *_counts(row), "unknown" if row.usd is None else show_usd(row.usd)


def _counts(row: Usage) -> tuple[str, ...]:
    counts = (row.calls, row.prompt_tokens, row.cache_read_tokens, row.cache_creation_tokens, row.completion_tokens)
    return tuple(map(count, counts))


def remarks(found: Cost) -> list[str]:
    """Say how the budget stands, where the prices come from, and what can be done about those that are missing."""
    lines = []
    budget = found.budget
    if budget is not None and budget.limits.metered:
        parts = [f"{count(budget.calls)} calls", f"{count(budget.tokens)} tokens"]
        parts += [show_usd(budget.usd)] if budget.limits.usd is not None else []
        reserved = f", {budget.reserved_calls} under way" if budget.reserved_calls else ""
        lines.append(f"{show_limits(budget.limits)}: {', '.join(parts)} used{reserved}")
    if found.priced_by:
        lines.append(f"prices: {found.priced_by}")
    unknown = dict.fromkeys(row.model or "?" for row in found.usage if row.usd is None)
    if unknown:
        own = f'[prices."{next(iter(unknown))}"] in fabric.toml'
        lines.append(f"no price for {', '.join(unknown)}: {INSTALL}, or say it under {own}")
    return lines
