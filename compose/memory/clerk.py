"""The clerk of main.plumb, as a script: what an agent would do with a prompt."""

from __future__ import annotations

import json
from typing import Any


def summarise(text: str, _messages: list[dict[str, Any]]) -> str:
    """Return the first words of all that was said by the person, as one string."""
    said = [message["content"] for message in json.loads(text)["messages"] if message["role"] == "user"]
    return f"{len(said)} things were said, first: {said[0][:60]}"
