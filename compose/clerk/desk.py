"""What the clerk says, without a model: it looks into the notes, and writes down what it is told to remember."""

from __future__ import annotations

import json
from typing import Any

from plumb_agent.providers.scripted import Call


def answer(asked: str, messages: list[dict[str, Any]]) -> str | Call:
    """Call a tool for a new question; with its result, answer."""
    said = json.loads(asked)
    newest = messages[-1]["content"]
    if isinstance(newest, str):  # the question; a result is a list of blocks
        if said.startswith("remember "):
            return Call("write", {"path": "notes/remembered.txt", "text": said.removeprefix("remember ") + "\n"})
        return Call("read", {"path": "notes/hours.txt"})
    (result,) = newest
    if result.get("is_error"):
        return f"I could not do that: {result['content']}"
    return "Noted." if said.startswith("remember ") else f"The notes say: {result['content'].strip()}"
