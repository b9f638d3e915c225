"""The work that every system does: the messages, the two stages, and how what comes out is counted.

Runs in each system's own environment, which has msgspec; the programs beside this file import it. Every program is
started with one argument, a :class:`Task`, and prints :class:`Figures` as its last line.

In every system the source and the sink are one process, so one clock measures. The source hands over JSON text and the
sink takes JSON text. A message that crosses a process is decoded and encoded there, typed, with msgspec.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import msgspec

WARM_UP_PART = 10
"""One message in so many is carried before the clock starts; all of them count for nothing but completeness."""


class Customer(msgspec.Struct):
    name: str
    city: str


class Message(msgspec.Struct):
    """About 1,024 bytes as JSON text. Stage A raises ``a`` by 1, stage B raises ``b`` by 2."""

    id: int
    a: int
    b: int
    kind: str
    customer: Customer
    prices: list[float]
    tags: list[str]
    note: str


decode = msgspec.json.Decoder(Message).decode
encode = msgspec.json.Encoder().encode

GIVE_UP_S = 3.0
"""Silence after which messages on their way are taken for lost, in systems that may lose some."""

FIRST_ID = 1_000_000
"""All have seven digits, so that all messages have one length and the sink finds a field by its place."""

_HEAD = b'{"id":'
_TAIL = encode(
    Message(
        id=0,
        a=0,
        b=0,
        kind="order",
        customer=Customer("Ada Lovelace", "London"),
        prices=[12.5, 7.25, 199.0, 3.75],
        tags=["new", "export", "fragile"],
        note=("The quick brown fox jumps over the lazy dog. " * 20)[:856],
    )
).removeprefix(b'{"id":0')
_DONE = b',"a":1,"b":2,"kind":"order",'
_ID = slice(len(_HEAD), len(_HEAD) + 7)


def message(number: int) -> bytes:
    """Return the text of the message with a number; the numbers count from 0."""
    return b"%b%d%b" % (_HEAD, FIRST_ID + number, _TAIL)


def stage_a(given: Message) -> Message:
    given.a += 1
    return given


def stage_b(given: Message) -> Message:
    given.b += 2
    return given


def join(from_a: Message, from_b: Message) -> Message:
    """What fan-in makes of the two copies of a message."""
    from_a.b = from_b.b
    return from_a


def text_through_a(text: bytes) -> bytes:
    """Be stage A as a process of its own."""
    return encode(stage_a(decode(text)))


def text_through_b(text: bytes) -> bytes:
    """Be stage B as a process of its own."""
    return encode(stage_b(decode(text)))


class Pairs:
    """Fan-in at the sink: joins the two copies of a message, in whatever order they come."""

    def __init__(self) -> None:
        self._waiting: dict[int, Message] = {}

    def take(self, text: bytes, *, from_a: bool) -> bytes | None:
        """Take one copy; return the joined message if it is the second."""
        copy = decode(text)
        other = self._waiting.pop(copy.id, None)
        if other is None:
            self._waiting[copy.id] = copy
            return None
        return encode(join(copy, other) if from_a else join(other, copy))


class Tally:
    """What has come of the messages with the numbers from 0 on.

    Attributes:
        ended_s: when the last of them came, by ``time.perf_counter``.
    """

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.received = 0
        self.wrong = 0
        self.ended_s = 0.0
        self._ids = 0
        self._began_s = time.perf_counter()

    def take(self, payload: bytes) -> None:
        self.received += 1
        self._ids += int(payload[_ID])
        if not payload.startswith(_DONE, _ID.stop):
            self.wrong += 1
        if self.received == self.expected:
            self.ended_s = time.perf_counter()

    def give_up(self) -> None:
        """Note, after ``GIVE_UP_S`` of silence, that nothing more will come."""
        self.ended_s = time.perf_counter() - GIVE_UP_S

    @property
    def complete(self) -> bool:
        return self.received >= self.expected

    @property
    def lost(self) -> int:
        return self.expected - self.received

    @property
    def per_s(self) -> float:
        return self.received / (self.ended_s - self._began_s)

    def check(self) -> None:
        """Check that what came is what had to come.

        Raises:
            SystemExit: a message came twice, was not what the stages make, or another came in its stead.
        """
        expected_ids = self.expected * FIRST_ID + self.expected * (self.expected - 1) // 2
        if self.wrong or self.lost < 0 or (not self.lost and self._ids != expected_ids):
            sys.exit(
                f"expected {self.expected} messages with ids that add up to {expected_ids}; got {self.received}, "
                f"{self._ids}, {self.wrong} of them not as the stages make them"
            )


class Task(msgspec.Struct, frozen=True):
    """What a program has to do.

    Attributes:
        messages: to be carried at full speed, through the pipeline and then through the fan.
        alone: to be carried through the pipeline one at a time.
        began_s: when the program was started, by ``time.monotonic``.
    """

    messages: int
    alone: int
    began_s: float

    @property
    def warm_up(self) -> int:
        return max(1, self.messages // WARM_UP_PART)


class Figures(msgspec.Struct, kw_only=True):
    """What a program measured.

    Attributes:
        start_s: from the command to the first message at the sink; servers, imports, compilation included.
        pipeline_per_s, fan_per_s: messages a second.
        p50_us: from source to sink, one message at a time.
        memory_mib: of all processes, after the pipeline's messages.
        lost: messages that never came, of all that were sent.
        versions: of what was measured.
    """

    start_s: float = 0.0
    pipeline_per_s: float = 0.0
    p50_us: float = 0.0
    fan_per_s: float = 0.0
    memory_mib: float = 0.0
    lost: int = 0
    versions: dict[str, str] = {}

    def started(self, task: Task) -> None:
        """Note that the first message has come."""
        self.start_s = time.monotonic() - task.began_s

    def pipeline(self, tally: Tally) -> None:
        """Note the pipeline's speed and, as everything is up, the memory."""
        tally.check()
        self.pipeline_per_s = tally.per_s
        self.memory_mib = memory_mib()

    def alone(self, seconds: list[float]) -> None:
        """Note how long messages took that were carried one at a time."""
        self.p50_us = statistics.median(seconds) * 1e6

    def fan(self, tally: Tally) -> None:
        """Note the fan's speed."""
        tally.check()
        self.fan_per_s = tally.per_s


def read_task(text: str) -> Task:
    return msgspec.json.decode(text, type=Task)


def print_figures(figures: Figures) -> None:
    print(encode(figures).decode(), flush=True)


def memory_mib(root: int | None = None) -> float:
    """Return the proportional set size of a process, this one if none is named, and all that descend from it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it ended this moment
        children.setdefault(parent, []).append(int(stat.parent.name))
    kib, tree = 0, [root or int(Path("/proc/self").readlink().name)]
    while tree:
        process = tree.pop()
        tree += children.get(process, [])
        try:
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
        except OSError:
            continue
        kib += next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
    return kib / 1024
