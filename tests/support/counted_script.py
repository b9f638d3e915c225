"""A script for agents that notes each attempt: how a test counts calls without asking who is tested."""

from __future__ import annotations

import json
from typing import Any

ATTEMPTS: list[str] = []


def answer(text: str, messages: list[dict[str, Any]]) -> str:
    """Answer, and note it."""
    ATTEMPTS.append(text)
    return "said " + json.loads(text)
