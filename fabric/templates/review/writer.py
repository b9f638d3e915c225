"""What the writer says while no model is behind it: put a provider and a model into review.plumb in its place."""

import json
from typing import Any


def write(asked: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Write less with each round. ``asked`` is the task as JSON, ``messages`` the conversation so far."""
    task = json.loads(asked)
    words = f"there is so much to say about {task['topic']}".split()
    line = " ".join(words[-max(1, 7 - 2 * task["round"]) :])
    return {"topic": task["topic"], "round": task["round"], "line": line}
