"""What the clerk says while no model is behind it: put a provider and a model into tools.plumb in its place."""

import json
from typing import Any

from plumb_agent.providers.scripted import Call


def answer(asked: str, messages: list[dict[str, Any]]) -> str | Call:
    """Call a tool for a question, and say what it gave. ``asked`` is JSON, ``messages`` the conversation so far."""
    said = json.loads(asked)
    newest = messages[-1]["content"]
    if isinstance(newest, str):  # the question; the result of a tool is a list of blocks
        if said.startswith("remember "):
            return Call("write", {"path": "notes/remembered.txt", "text": said.removeprefix("remember ") + "\n"})
        if said.startswith("count "):
            return Call("count", {"input": said.removeprefix("count ")})
        return Call("read", {"path": "notes/hours.txt"})
    (result,) = newest
    text = result["content"].strip()
    if result.get("is_error"):
        return f"I could not do that: {text}"
    return "Noted." if said.startswith("remember ") else text
