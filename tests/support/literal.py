"""A session driven by literal events."""

from __future__ import annotations

import random

from plans import plan_of

from fabric.session.events import Command, Deliver, Event, Frames, Input, Launched, Note, Opened, Send, SetTimer, Start
from fabric.session.session import Session, Settings
from fabric.wire.codec import decode, encode
from fabric.wire.control import READY
from fabric.wire.frame import Data, Eof, Marker

WORKER = 'let f : !int -> !int = python { call: "m:f" }\n'
ONE = WORKER + "let main : !int -> !int = plumb(i, o) { i ; f ; o }\n"
LOOP = WORKER + (
    "let main : !int -> !int = plumb(i, o) {\n  i ; f\n  f ; filter(value > 0) ; f\n  f ; filter(value <= 0) ; o\n}\n"
)


class Run:
    """A session whose notes and timers of silence are left out, at time 0 unless said."""

    def __init__(self, text: str, settings: Settings | None = None) -> None:
        self.session = Session(plan_of(text), settings or Settings(), random.Random(1))
        self.notes: list[Note] = []

    def __call__(self, event: Event, now_s: float = 0.0) -> list[Command]:
        commands = self.session.handle(event, now_s)
        self.notes += [command for command in commands if isinstance(command, Note)]
        return [command for command in commands if not isinstance(command, Note) and not _of_silence(command)]

    def frames(self, *frames: Data | Marker | Eof, port: str = "output", now_s: float = 0.0) -> list[Command]:
        return self(Frames("f", port, [encode(frame) for frame in frames]), now_s)

    def started(self) -> Run:
        """Bring worker ``f`` to RUNNING."""
        self(Start())
        assert self.ready() == [Opened()]
        return self

    def ready(self, incarnation: int = 1, now_s: float = 0.0) -> list[Command]:
        """Let a process of worker ``f`` start as it should; return what follows."""
        self(Launched("f", 7), now_s)
        self.frames(Data("f", READY), port="ctrl_out", now_s=now_s)
        return self.frames(Marker("f", f"probe/f/{incarnation}"), now_s=now_s)


def _of_silence(command: Command) -> bool:
    return isinstance(command, SetTimer) and command.key[0] == "stall"


def sent(commands: list[Command]) -> list[object]:
    """Return what was sent on data_in: payloads, marker ids, and None for the end."""
    frames = [decode(command.raw) for command in commands if isinstance(command, Send) and command.port == "input"]
    return [f.payload if isinstance(f, Data) else f.id if isinstance(f, Marker) else None for f in frames]


def entering(port: str, payload: bytes, ticket: int) -> Input:
    return Input(port, [(ticket, payload)])


def ack(seq: int, incarnation: int = 1) -> Marker:
    return Marker("f", f"ack/f/{incarnation}/{seq}")


def out(value: int) -> Data:
    return Data("f", str(value).encode())


def delivered(commands: list[Command]) -> list[bytes]:
    return [output.payload for command in commands if isinstance(command, Deliver) for output in command.outputs]


ONE_AT_A_TIME = 'let {0} : !int -> !int = python {{ call: "m:f" state: true }}\n'


class Workers(Run):
    """A session with workers of one letter, all running; each has one message at a time."""

    def __init__(self, text: str, names: str, settings: Settings | None = None) -> None:
        super().__init__("".join(ONE_AT_A_TIME.format(name) for name in names) + text, settings)
        self(Start())
        for name in names:
            self.of(name, Data(name, READY), port="ctrl_out")
            self.of(name, Marker(name, f"probe/{name}/1"))

    def of(self, name: str, *frames: Data | Marker | Eof, port: str = "output") -> list[Command]:
        return self(Frames(name, port, [encode(frame) for frame in frames]))

    def answer(self, name: str, seq: int, *values: int) -> list[Command]:
        outputs = [Data(name, str(value).encode()) for value in values]
        return self.of(name, *outputs, Marker(name, f"ack/{name}/1/{seq}"))


def given(commands: list[Command], worker: str) -> list[object]:
    """Return the payloads that a worker was given."""
    return [one for one in sent([c for c in commands if isinstance(c, Send) and c.worker == worker]) if one != ""][::2]
