"""The words of the language, apart from its lexer: types of Python are compared with them, too."""

from __future__ import annotations

__all__ = ["RESERVED"]

RESERVED = frozenset(
    [
        "type",
        "let",
        "protocol",
        "use",
        "plumb",
        "spawn",
        "channel",
        "agent",
        "tool",
        "true",
        "false",
        "send",
        "recv",
        "end",
        "loop",
    ]
)
"""Words that are never names. All other words of the language are names wherever a name may stand."""
