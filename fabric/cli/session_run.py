"""Commands that run a handler: until a session is quiet, once, or for as long as there may be something to do."""

from __future__ import annotations

__all__ = ["register"]
