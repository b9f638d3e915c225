"""Which item of a batch a task is for: what it logs can say so."""

from __future__ import annotations

__all__ = ["item_under_way"]

from contextvars import ContextVar
from typing import Any

item_under_way: ContextVar[tuple[Any] | None] = ContextVar("item_under_way", default=None)
"""Its id; ``None``: the task is for none."""
