"""What the workers of ``workers_pipeline.plumb`` and ``workers_fan.plumb`` call."""

from __future__ import annotations

from typing import Any


def stage_a(message: dict[str, Any]) -> dict[str, Any]:
    message["a"] += 1
    return message


def stage_b(message: dict[str, Any]) -> dict[str, Any]:
    message["b"] += 2
    return message
