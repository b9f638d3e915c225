"""The commands that follow from one event, in order: one command for many messages."""

from __future__ import annotations

__all__ = ["Outbox"]

from fabric.session.delivery import Message
from fabric.session.events import Command, Deliver, Heard, Level, Note, Observed, Output, Seen, Settled, Tapped


class Outbox:
    """Commands, and messages for the client that are to become commands.

    Attributes:
        outputs: messages that leave the graph and are not delivered yet.
    """

    def __init__(self) -> None:
        self.outputs: list[Output] = []
        self._commands: list[Command] = []
        self._seen: list[Seen] = []
        self._heard: list[Heard] = []

    def do(self, *commands: Command) -> None:
        """Command something."""
        self._commands += commands

    def note(self, level: Level, event: str, **fields: object) -> None:
        """Have a line logged."""
        self._commands.append(Note(level, event, fields))

    def leave(self, port: str, message: Message) -> None:
        """A message leaves the graph."""
        self.outputs.append(Output(port, message.payload, message.tickets))

    def hear(self, label: str, message: Message) -> None:
        """A worker said something on an observed port."""
        self._heard.append(Heard(label, message.topic, message.payload))

    def show(self, sink: int, message: Message) -> None:
        """A message came to a tapped sink."""
        self._seen.append(Seen(sink, message.payload, message.trace_id))

    def deliver(self) -> None:
        """Deliver what has left the graph so far, before what is commanded next."""
        if self.outputs:
            self.do(Deliver(self.outputs))
            self.outputs = []

    def withhold(self) -> int:
        """Do not deliver what has left the graph, and return how many messages that were."""
        count = len(self.outputs)
        self.outputs = []
        return count

    def tell(self, settled: list[int]) -> None:
        """Tell the client what has settled and what was seen and heard. Behind all that was delivered."""
        if settled:
            self.do(Settled(settled))
        if self._seen:
            self.do(Tapped(self._seen))
            self._seen = []
        if self._heard:
            self.do(Observed(self._heard))
            self._heard = []

    def take(self) -> list[Command]:
        """Return the commands; they are the caller's now."""
        commands, self._commands = self._commands, []
        return commands
