"""A script for agents that call a tool once, and then answer."""

from __future__ import annotations

from typing import Any

from plumb_agent.providers.scripted import Call


def calls(text: str, messages: list[dict[str, Any]]) -> Any:
    """Call the tool ``t_inc``; when its result is there, answer with it."""
    last = messages[-1]["content"]
    if isinstance(last, str):
        return Call("t_inc", {"input": 41})
    return "got " + last[0]["content"]
