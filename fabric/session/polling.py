"""One question to several replicas, and one answer of it.

    asked       a ticket for each of them
    answered    kept; the last of them is followed by the one answer to who asked

Replies are told together, as an object with the names of the replicas. One error makes it an error, which says whose.
"""

from __future__ import annotations

__all__ = ["Polls"]

from collections.abc import Iterable, Sequence

from fabric.session.events import Answered, Command
from fabric.wire.payload import encode_json


class _Poll:
    def __init__(self, ticket: int) -> None:
        self.ticket = ticket
        self.answers: dict[str, Answered | None] = {}

    @property
    def answer(self) -> Answered:
        """The one of all."""
        answers = {name: answer for name, answer in self.answers.items() if answer is not None}
        errors = [answer.error for answer in answers.values() if answer.error is not None]
        if errors:
            done = [name for name, answer in answers.items() if answer.error is None]
            return Answered(self.ticket, "; ".join(errors) + (f"; done by {', '.join(done)}" if done else ""))
        replies = {name: answer.reply for name, answer in answers.items() if answer.reply is not None}
        if not replies:
            return Answered(self.ticket)
        fields = (encode_json(name) + b":" + reply for name, reply in replies.items())
        return Answered(self.ticket, reply=b"{" + b",".join(fields) + b"}")


class Polls:
    """Those that are under way. Their tickets are below zero, which no client uses."""

    def __init__(self) -> None:
        self._polls: dict[int, tuple[_Poll, str]] = {}
        self._next = -1

    @property
    def open(self) -> bool:
        """Whether an answer is missing."""
        return bool(self._polls)

    def ask(self, ticket: int, names: Iterable[str]) -> list[tuple[str, int]]:
        """Ask all of these; return the ticket of each."""
        poll = _Poll(ticket)
        poll.answers = dict.fromkeys(names)
        tickets = []
        for name in poll.answers:
            tickets.append((name, self._next))
            self._polls[self._next] = poll, name
            self._next -= 1
        return tickets

    def gather(self, commands: Sequence[Command]) -> list[Command]:
        """Return the commands with one answer for the last of each poll, and none for those before."""
        gathered: list[Command] = []
        for command in commands:
            if not (isinstance(command, Answered) and command.ticket in self._polls):
                gathered.append(command)
                continue
            poll, name = self._polls.pop(command.ticket)
            poll.answers[name] = command
            if None not in poll.answers.values():
                gathered.append(poll.answer)
        return gathered
