"""Where two JSON values differ, in words for a person."""

from __future__ import annotations

__all__ = ["differences"]

from collections.abc import Iterator
from typing import Any

import msgspec

CHARS_MAX = 60
"""Of a value that is shown. Of longer texts it is the place where they part."""

MISSING: Any = object()


def differences(recorded: Any, got: Any, path: str = "$") -> Iterator[str]:
    """Yield the places where two values differ: path, what was recorded, what came instead."""
    if isinstance(recorded, dict) and isinstance(got, dict):
        for key in sorted(recorded.keys() | got.keys()):
            yield from differences(recorded.get(key, MISSING), got.get(key, MISSING), f"{path}.{key}")
    elif isinstance(recorded, list) and isinstance(got, list):
        for index in range(max(len(recorded), len(got))):
            first, second = (items[index] if index < len(items) else MISSING for items in (recorded, got))
            yield from differences(first, second, f"{path}[{index}]")
    elif type(recorded) is not type(got) or recorded != got:
        yield f"{path}: recorded {_shown(recorded, got)}, got {_shown(got, recorded)}"


def _shown(value: Any, other: Any) -> str:
    if value is MISSING:
        return "nothing"
    start = 0
    if isinstance(value, str) and isinstance(other, str):
        same = next(
            (at for at, (a, b) in enumerate(zip(value, other, strict=False)) if a != b), min(map(len, (value, other)))
        )
        start = max(0, same - CHARS_MAX // 2)
        value = value[start : start + 2 * CHARS_MAX]
    text = msgspec.json.encode(value).decode()
    return ("…" if start else "") + (text if len(text) <= CHARS_MAX else text[:CHARS_MAX] + "…")
