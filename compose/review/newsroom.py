"""The three who work on a line. Each is a function of one message; who talks to whom is the program's matter."""

from __future__ import annotations

from typing import Any

LENGTH_MAX = 60
"""What the critic bears to read, in characters."""


def compose(task: dict[str, Any]) -> dict[str, Any]:
    """Write a line, and do what the last remark asked for."""
    line = f"It is widely believed that {task['topic']} is, all things considered, the best there ever was."
    if "widely believed" in task["remark"]:
        line = f"According to those who tried it, {task['topic']} is, all things considered, the best there ever was."
    if "shorter" in task["remark"]:
        line = f"Those who tried {task['topic']} liked it."
    return {"topic": task["topic"], "round": task["round"], "line": line}


def check(draft: dict[str, Any]) -> dict[str, Any]:
    """Refuse a claim without a source. One that has failed often enough is let through, so that the loop ends."""
    vague = "widely believed" in draft["line"] and draft["round"] < 5
    return draft | {"pass": not vague, "remark": "'widely believed' by whom?" if vague else ""}


def criticize(draft: dict[str, Any]) -> dict[str, Any]:
    """Refuse what is too long. One that has failed often enough is let through, so that the loop ends."""
    long = len(draft["line"]) > LENGTH_MAX and draft["round"] < 5
    return draft | {"pass": not long, "remark": "shorter, please" if long else ""}
