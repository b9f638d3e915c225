"""What a worker that has to ask for its budget says of a call before it makes it; see ``fabric.wire.calls``."""

from __future__ import annotations

__all__ = ["granted", "reservation"]

from typing import Any

import msgspec

from fabric.wire.payload import encode_json
from plumb_agent.messages import Message, SystemBlock, Tool

BYTES_PER_TOKEN = 2
"""Of text and JSON. Models have three to four, so this is more than will be counted, as a reservation should be."""


class _Granted(msgspec.Struct):
    max_tokens: int


def reservation(
    provider: str,
    model: str,
    max_tokens: int,
    system: tuple[SystemBlock, ...],
    messages: list[Message],
    tools: tuple[Tool, ...],
) -> dict[str, Any]:
    """Return the arguments of a reservation for one call."""
    size_bytes = sum(len(encode_json(part)) for part in (system, messages, tools))
    return {
        "provider": provider,
        "model": model,
        "prompt_tokens": size_bytes // BYTES_PER_TOKEN + 1,
        "max_tokens": max_tokens,
    }


def granted(content: Any) -> int | None:
    """Return how many tokens the call may ask for, or ``None`` if the response does not say."""
    try:
        return msgspec.convert(content, _Granted).max_tokens
    except msgspec.ValidationError:
        return None
