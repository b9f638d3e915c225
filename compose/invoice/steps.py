"""What is done with an invoice. Each function gets the `inputs` of its step."""

from typing import Any


def approve(head: Any, total: float) -> str:
    """Approve it."""
    return f"{head.supplier} {head.number}: {total:g} {head.currency}, approved"


def ask(head: Any, limit: float) -> str:
    """Have somebody look at it."""
    return f"{head.supplier} {head.number}: more than {limit:g} {head.currency}, somebody has to look at it"
