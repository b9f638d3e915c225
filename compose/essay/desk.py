"""What the three agents of main.plumb say: functions in the place of models. Each gets its input as JSON text."""

from __future__ import annotations

import json
from typing import Any


def write(text: str, _messages: list[dict[str, Any]]) -> str:
    """Return a draft on a task, or a draft mended as a remark asks."""
    asked = json.loads(text)
    if isinstance(asked, str):
        return f"{asked} is old"
    return f"{asked['body']}, {asked['fix'] if 'fix' in asked else asked['hint']}"


def verify(text: str, _messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Let a draft pass that gives its source."""
    body = json.loads(text)
    return {"pass": "as the archive says" in body, "why": "as the archive says", "body": body}


def grade(text: str, _messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Give a mark for length."""
    body = json.loads(text)["body"]
    return {"mark": min(100, 9 * len(body.split())), "why": "and people still like it", "body": body}
