"""The monitor of one session wire: what may be said next, and by whom.

The state is the place in the protocol and the number of messages said so far, in either direction, from 0: the *step*.
Each message is held against what the protocol has next and is passed on at once, or ends the session: nothing waits
here. Either end may be early or late by any time; the order is all that counts.

What agents acknowledge after the end, as they do with every control message, is dropped and counted.
"""

from __future__ import annotations

__all__ = ["Monitor", "Passed", "Swallowed", "Violation"]

from typing import TypeAlias

import msgspec

from fabric.errors import ValueRejected
from fabric.lang.typed import Choice, Done, Exchange, Way, Wire
from fabric.wire.payload import Validator, decode_json, show, validator

GOT_BYTES_MAX = 120
"""Of a message that is refused so much is told."""

BRANCHES_TOLD_MAX = 8
"""Of a choice so many branches are told."""

_WORDS: dict[Way, str] = {"there": "send", "back": "recv"}


class Passed(msgspec.Struct, frozen=True):
    """The message goes on: its JSON text, perhaps normalised or tagged with its step."""

    payload: bytes


class Swallowed(msgspec.Struct, frozen=True):
    """The message came after the end and is dropped."""


class Violation(msgspec.Struct, frozen=True):
    """The message is not what the protocol has next; ``text`` says what was expected, and what came."""

    text: str


Verdict: TypeAlias = Passed | Swallowed | Violation


class _Message(msgspec.Struct, frozen=True):
    """A message that may come, and the state after it; ``label``: of the branch that it chooses."""

    validator: Validator
    then: int
    label: str = ""


class _Next(msgspec.Struct, frozen=True):
    """What may come in a state: messages of these types, or one of these labels. Way None: nothing."""

    way: Way | None
    messages: tuple[_Message, ...] = ()
    labels: dict[str, int] = {}

    @property
    def words(self) -> str:
        """What is expected, in words."""
        if not self.labels and len(self.messages) == 1 and not self.messages[0].label:
            return show(self.messages[0].validator.type)
        branches = [f"{m.label}: {show(m.validator.type)}" for m in self.messages]
        branches += [f'{label}: {{"label": "{label}"}}' for label in self.labels]
        more = ", ..." if len(branches) > BRANCHES_TOLD_MAX else ""
        return f"one of {{ {', '.join(branches[:BRANCHES_TOLD_MAX])}{more} }}"


class Monitor:
    """Looks after one wire.

    Args:
        wire: the protocol and its ends.

    Attributes:
        step: the number of the next message.
        swallowed: messages that came after the end.
    """

    def __init__(self, wire: Wire) -> None:
        self.swallowed = 0
        self._wire = wire
        self._states = _read_states(wire)
        self.begin()

    def begin(self) -> None:
        """A conversation is to begin."""
        self.step = 0
        self._state = 0
        self._broken = False

    @property
    def unfinished(self) -> bool:
        """Whether the conversation has begun and stands neither at its end nor where a protocol begins.

        One that was broken off with a violation has ended.
        """
        if self._broken:
            return False
        return self._states[self._state].way is not None and self._state not in self._wire.protocol.rests

    @property
    def waits_for(self) -> str:
        """What comes next, in words; empty if nothing does, or nothing need."""
        return f"{self._place}: expected {self._expected(self._states[self._state])}" if self.unfinished else ""

    def take(self, way: Way, payload: bytes) -> Verdict:
        """Hold a message against the protocol, and step on."""
        at = self._states[self._state]
        if at.way is None and way in self._wire.swallows:
            self.swallowed += 1
            return Swallowed()
        if at.way != way:
            return self._violation(at, way, payload)
        reason = ""
        for message in at.messages:
            try:
                payload = message.validator.check(payload)[1]
            except ValueRejected as error:
                reason = f": {error}" if error.path != "$" and len(at.messages) == 1 else ""
                continue
            return self._pass(way, payload, message.then)
        then = _label_of(payload, at.labels) if at.labels else None
        return self._violation(at, way, payload, reason) if then is None else self._pass(way, payload, then)

    def missed(self, way: Way, reason: str) -> Violation | None:
        """A message was refused on its way here: whoever waits for it would wait for ever. None: nobody does."""
        at = self._states[self._state]
        if at.way is None and way in self._wire.swallows:
            return None
        self._broken = True
        return Violation(
            f"{self._place}: expected {self._expected(at)}, got what '{self._speaker(way)}' may not send: {reason}"
        )

    def refused(self, way: Way, step: int, reason: str) -> Violation:
        """A message that was passed on is refused by who was to read it: nobody will answer it."""
        self._broken = True
        reader = self._wire.right if way == "there" else self._wire.left
        said = f"'{self._speaker(way)}' ({_WORDS[way]}) sent what '{reader}' does not take"
        return Violation(f"protocol {self._wire.protocol.name}, step {step}: {said}: {reason}")

    def _pass(self, way: Way, payload: bytes, then: int) -> Passed:
        if way in self._wire.tags:
            payload = b'{"__step":%d,"payload":%b}' % (self.step, payload)
        self._state = then
        self.step += 1
        return Passed(payload)

    @property
    def _place(self) -> str:
        return f"protocol {self._wire.protocol.name}, step {self.step}"

    def _expected(self, at: _Next) -> str:
        if at.way is None:
            return "nothing more, it has ended"
        return f"{at.words} from '{self._speaker(at.way)}' ({_WORDS[at.way]})"

    def _speaker(self, way: Way) -> str:
        return self._wire.left if way == "there" else self._wire.right

    def _violation(self, at: _Next, way: Way, payload: bytes, reason: str = "") -> Violation:
        self._broken = True
        got = f"got {_clipped(payload)} from '{self._speaker(way)}'"
        return Violation(f"{self._place}: expected {self._expected(at)}, {got}{reason}")


def _read_states(wire: Wire) -> tuple[_Next, ...]:
    """Return what may come in each state, with validators."""
    states = wire.protocol.states
    read = []
    for state in states:
        match state:
            case Exchange(way, type_, then):
                read.append(_Next(way, (_Message(validator(type_), then),)))
            case Choice(way, branches, told):
                messages = []
                for label, at in branches:
                    first = states[at]
                    if label not in told:
                        assert isinstance(first, Exchange)
                        messages.append(_Message(validator(first.type), first.then, label))
                read.append(_Next(way, tuple(messages), {label: at for label, at in branches if label in told}))
            case Done():
                read.append(_Next(None))
    return tuple(read)


def _label_of(payload: bytes, labels: dict[str, int]) -> int | None:
    """Return the state of the branch that ``{"label": ...}`` chooses; None if it is no such message."""
    try:
        plain = decode_json(payload)
    except ValueRejected:
        return None
    if not isinstance(plain, dict) or plain.keys() != {"label"} or not isinstance(plain["label"], str):
        return None
    return labels.get(plain["label"])


def _clipped(payload: bytes) -> str:
    text = payload.decode(errors="replace")
    return text if len(text) <= GOT_BYTES_MAX else text[: GOT_BYTES_MAX - 3] + "..."
