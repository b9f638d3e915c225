"""The one part of ``mem.plumb`` that remembers something."""

from __future__ import annotations

__all__ = ["gate"]

from typing import Any

_busy = False


def gate(event: dict[str, Any]) -> dict[str, Any] | None:
    """Let a ``{"due": ...}`` through if no compaction is on its way; ``{"kind": "resume_ack"}`` ends one."""
    global _busy
    if "due" not in event:
        _busy = False
        return None
    due = None if _busy else event
    _busy = True
    return due
