"""Functions that steps call, with their `inputs` as keyword arguments. What they return is the value of the step."""

from __future__ import annotations

from typing import Any


def summarise(result: Any) -> str:
    """Say in a line what was found."""
    return f"{result.title}: {len(result.key_points)} key points"
