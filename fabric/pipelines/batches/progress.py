"""How many items of a batch have ended, for a person who waits."""

from __future__ import annotations

__all__ = ["Progress"]

import importlib
import sys
from collections.abc import Sized
from types import TracebackType
from typing import Any


class Progress:
    """A bar of tqdm, if it is wanted and there; otherwise nothing.

    Args:
        wanted: ``None``: if there is a terminal.
        items: says how many there are, perhaps.
    """

    def __init__(self, wanted: bool | None, items: object) -> None:
        self._bar: Any = None
        if wanted or (wanted is None and sys.stderr.isatty()):
            try:
                tqdm = importlib.import_module("tqdm").tqdm
            except ImportError:
                return
            self._bar = tqdm(total=len(items) if isinstance(items, Sized) else None, desc="batch", unit="item")

    def count(self) -> None:
        """One more has ended."""
        if self._bar is not None:
            self._bar.update(1)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()
