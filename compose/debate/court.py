"""The clerk, the two advocates and the judge: functions of one message. Who hears whom is the program's matter."""

from __future__ import annotations

from typing import Any

ROUNDS_MAX = 3
"""After so many rounds a draw is a ruling too."""


def call_up(question: dict[str, Any]) -> dict[str, Any]:
    """Open the next round on a question."""
    return question | {"round": question["round"] + 1}


def speak_for(question: dict[str, Any]) -> dict[str, Any]:
    """Speak for it, better in each round."""
    text, heard = question["question"], question["round"]
    return question | {"speech": f"Consider the merits of this: {text}", "points": 2 * heard + len(text) % 3}


def speak_against(question: dict[str, Any]) -> dict[str, Any]:
    """Speak against it: there may be more to say at first, but repeating it helps less."""
    text, heard = question["question"], question["round"]
    return question | {"speech": f"Consider what this would cost: {text}", "points": heard + len(text) % 5}


def rule(speeches: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    """Rule for the side that is ahead by two; otherwise hear both again."""
    pro, con = speeches
    lead = pro["points"] - con["points"]
    settled = abs(lead) > 1 or pro["round"] == ROUNDS_MAX
    side = "nobody" if abs(lead) <= 1 else "those in favour" if lead > 0 else "those against"
    ruling = f"{pro['question']} Round {pro['round']} goes to {side}."
    return {"settled": settled, "question": pro["question"], "round": pro["round"], "ruling": ruling if settled else ""}
