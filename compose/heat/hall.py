"""What the three agents of main.plumb say: functions in the place of models. Each gets its input as JSON text."""

from __future__ import annotations

import json
from typing import Any


def speak_for(text: str, _messages: list[dict[str, Any]]) -> str:
    """Speak for it."""
    return f"yes to {json.loads(text)}"


def speak_against(text: str, _messages: list[dict[str, Any]]) -> str:
    """Speak against it."""
    return f"no to {json.loads(text)}"


def rule(text: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Rule in the third round; before it, ask again, a little cooler each time."""
    speeches = json.loads(text)
    rounds = sum(message["role"] == "user" for message in messages)
    return {
        "settled": rounds >= 3,
        "answer": f"after {rounds} rounds: {speeches[0]}",
        "next": f"{speeches[0].removeprefix('yes to ')}, once more",
        "warmth": 1 / rounds,
    }
