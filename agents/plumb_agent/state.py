"""What an agent carries from one input to the next."""

from __future__ import annotations

__all__ = ["State"]

from collections.abc import Iterable

from plumb_agent.messages import History, Message, Usage
from plumb_agent.pins import NO_PINS


class State:
    """History, pins, overrides and counts of one agent.

    Attributes:
        history: what the next input continues. Begins with the pinned documents, where there are any.
        pins: the results that are pinned.
        documented: the pins that the message at the beginning of the history has.
        temperature: of the next call; ``None``: whatever the provider does.
        model: of the next call.
        calls, prompt_tokens, completion_tokens: since the start.
        compactions: how often the history was replaced.
        tools_ended: no tool answers any more.
    """

    def __init__(self, model: str) -> None:
        self.history = History()
        self.pins = self.documented = NO_PINS
        self.temperature: float | None = None
        self.model = model
        self.calls = self.prompt_tokens = self.completion_tokens = self.compactions = 0
        self.tools_ended = False
        self._ids = 0

    @property
    def own(self) -> list[Message]:
        """The history without the pinned documents, which nobody said."""
        return list(self.history)[1 if self.documented.entries else 0 :]

    def remember(self, messages: Iterable[Message]) -> None:
        """Replace the history. What is pinned is told at its beginning."""
        self.documented = self.pins
        documents = self.pins.documents()
        self.history = History(messages if documents is None else (documents, *messages))

    def count(self, usage: Usage) -> None:
        """Count the tokens of a call."""
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens

    def new_id(self) -> str:
        """Return an id for something that is asked on tool_req: no other of this process is equal to it."""
        self._ids += 1
        return f"c{self._ids}"
