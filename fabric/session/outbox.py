"""The commands that follow from one event, in order: one command for many messages."""

from __future__ import annotations

__all__ = ["Outbox"]

from fabric.session.delivery import Message
from fabric.session.events import Command, Deliver, Heard, Level, Note, Observed, Output, Record, Seen, Settled, Tapped
from fabric.session.history import History


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
        self._entries: list[History] = []
        self._recorded_at = 0

    def do(self, *commands: Command) -> None:
        """Command something."""
        self._commands += commands

    def note(self, level: Level, event: str, **fields: object) -> None:
        """Have a line logged."""
        self._commands.append(Note(level, event, fields))

    def record(self, entry: History) -> None:
        """Have an entry written before all that is commanded from now on."""
        if not self._entries:
            self._recorded_at = len(self._commands)
        self._entries.append(entry)

    @property
    def mark(self) -> tuple[int, int]:
        """How much there is by now, for :meth:`withdraw`."""
        return len(self._commands), len(self.outputs)

    def withdraw(self, mark: tuple[int, int]) -> None:
        """The last entry did not happen, and so nothing that was commanded since this mark; what was noted stays."""
        commands, outputs = mark
        self._entries.pop()
        self._commands[commands:] = [command for command in self._commands[commands:] if isinstance(command, Note)]
        del self.outputs[outputs:]

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
        if self._entries:
            commands.insert(self._recorded_at, Record(tuple(self._entries)))
            self._entries = []
        return commands
