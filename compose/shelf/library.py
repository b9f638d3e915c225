"""The clerk and the shelf: functions of one message each. In what order they speak is the protocol's matter."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from typing import Any

waiting: deque[dict[str, Any]] = deque()
"""Orders; the first one is with the shelf."""

things: dict[str, Any] = {}
"""What is on the shelf. Its worker has a copy of this module of its own."""


def serve(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Take an order, or the shelf's answer to the first one. One order is with the shelf at a time."""
    if "answer" in message:
        yield {"report": report(waiting.popleft(), message["answer"])}
    else:
        waiting.append(message)
        if len(waiting) > 1:
            return
    if waiting:
        yield {"ask": ask(waiting[0])}
        if "close" in waiting[0]:  # nobody answers that
            waiting.popleft()
            yield {"report": "closed"}


def ask(order: dict[str, Any]) -> Any:
    """Say an order as the protocol has it."""
    if "fetch" in order:
        return order["fetch"]
    return [order["store"], order["what"]] if "store" in order else {"label": "quit"}


def report(order: dict[str, Any], answer: Any) -> str:
    """Tell the customer."""
    if "fetch" in order:
        return f"{order['fetch']}: {json.dumps(answer)}" if answer is not None else f"there is no {order['fetch']}"
    return f"{'replaced' if answer else 'stored'} {order['store']}"


def look_up(asked: Any) -> Iterator[Any]:
    """Give what is asked for, or keep what is brought and say whether it replaces something."""
    match asked:
        case str():
            yield things.get(asked)
        case [name, thing]:
            yield name in things
            things[name] = thing
