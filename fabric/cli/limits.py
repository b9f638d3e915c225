"""The flags that set limits, and what was spent, in words."""

from __future__ import annotations

__all__ = [
    "BudgetCalls",
    "BudgetTokens",
    "BudgetUsd",
    "MaxTime",
    "count",
    "print_spent",
    "show_cost",
    "show_limits",
    "spent_fields",
    "spent_words",
]

from collections.abc import Sequence
from typing import Annotated

import typer

from fabric.cli.report import print_line, use_json
from fabric.runtime.prices import HOSTED
from fabric.session.budget import BudgetStatus, Limits
from fabric.session.money import show_usd
from fabric.session.usage import Usage
from fabric.settings import AMOUNT_MAX
from fabric.wire.payload import encode_json

BudgetUsd = Annotated[
    float | None,
    typer.Option(metavar="USD", help="Dollars that calls of models may cost.", envvar="FABRIC_BUDGET_USD"),
]
BudgetTokens = Annotated[
    int | None,
    typer.Option(
        help="Tokens that calls of models may take, prompts and replies.",
        envvar="FABRIC_BUDGET_TOKENS",
        min=1,
        max=AMOUNT_MAX,
    ),
]
BudgetCalls = Annotated[
    int | None,
    typer.Option(
        help="Calls of models, attempts that fail as well.", envvar="FABRIC_BUDGET_CALLS", min=1, max=AMOUNT_MAX
    ),
]
MaxTime = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help='How long it may take from when every worker is ready: seconds, or "90s", "20m".',
        envvar="FABRIC_MAX_TIME",
    ),
]


# --- words ----------------------------------------------------------------------------------------------------------


def count(number: int) -> str:
    """Write a number so that people can read it."""
    return f"{number:,}".replace(",", " ")


def _of(number: int, name: str) -> str:
    return f"{count(number)} {name}{'s' * (number != 1)}"


def show_limits(limits: Limits) -> str:
    """Say what a session may use; empty if that is as much as it wants."""
    parts = [] if limits.usd is None else [show_usd(limits.usd)]
    parts += [] if limits.tokens is None else [_of(limits.tokens, "token")]
    parts += [] if limits.calls is None else [_of(limits.calls, "call")]
    parts += [] if limits.wall_s is None else [f"{limits.wall_s:g} s"]
    return f"budget {' · '.join(parts)}" if parts else ""


def show_cost(usage: Sequence[Usage]) -> str:
    """Say what calls cost; of what has no price, that nobody knows."""
    known = sum((row.usd for row in usage if row.usd is not None), 0.0)
    unknown = dict.fromkeys(row.model or "?" for row in usage if row.usd is None)
    if not unknown:
        return show_usd(known)
    named = f"unknown: no price for {', '.join(unknown)}"
    return f"{show_usd(known)} + {named}" if known else named


def spent_words(usage: Sequence[Usage], budget: BudgetStatus | None) -> str:
    """Say what was spent: calls, tokens, dollars; empty if no provider was paid and no budget was set."""
    metered = budget is not None and budget.limits.metered
    if not (metered or any(row.provider in HOSTED for row in usage)):
        return ""
    fields = spent_fields(usage, budget)
    calls, tokens = fields["calls"], fields["tokens"]
    assert isinstance(calls, int)
    assert isinstance(tokens, int)
    return f"{_of(calls, 'call')} · {_of(tokens, 'token')} · {show_cost(usage)}"


def spent_fields(usage: Sequence[Usage], budget: BudgetStatus | None) -> dict[str, object]:
    """Return the same for programs. Under a budget every attempt counts, else those that were answered."""
    tokens = sum(row.prompt_tokens + row.completion_tokens for row in usage)
    calls = sum(row.calls for row in usage)
    if budget is not None:
        calls, tokens = max(calls, budget.calls), max(tokens, budget.tokens)
    unknown = list(dict.fromkeys(row.model for row in usage if row.usd is None))
    usd = None if unknown else sum((row.usd or 0.0 for row in usage), 0.0)
    return {"calls": calls, "tokens": tokens, "usd": usd, "unpriced_models": unknown}


def print_spent(usage: Sequence[Usage], budget: BudgetStatus | None) -> None:
    """Write on stderr what was spent, if that is of interest."""
    said = spent_words(usage, budget)
    if said and use_json():
        fields = {"log": "info", "event": "usage.told", **spent_fields(usage, budget)}
        print_line(encode_json(fields).decode())
    elif said:
        print_line(said)
