"""When each step of a sequence begins, and when its result counts: begun early, committed in the order of the file.

A machine without a clock, threads or input and output: ``handle(event)`` returns commands, in the order in which they
are to be carried out. The rules:

1. A step begins when the steps that it reads have ended, whether or not those in front of them have.
2. A step is committed when all in front of it are. Only committed steps are seen from outside.
3. A fence begins when all in front of it are committed; nothing behind it begins before it is committed.
4. Steps that share something with a state (a mock's list of replies) follow each other in the order of the file.
5. The first step in the order of the file that ends the sequence ends it. As soon as a step is known to end it, those
   behind it are cancelled or discarded, as if they had never begun; those in front of it go on, and may still win.

6. A step that leaves something behind, also if it is discarded, begins when it is certain that it is due: all in front
   of it that may end the sequence are committed.

So what is committed, and in which order, is what one step after the other would give.
"""

from __future__ import annotations

__all__ = [
    "Begin",
    "Cancel",
    "Command",
    "Commit",
    "Discard",
    "Ended",
    "Event",
    "Mode",
    "Over",
    "Planned",
    "Schedule",
    "Skip",
    "Start",
    "Verdict",
]

import heapq
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import msgspec

Mode: TypeAlias = Literal["dataflow", "sequential"]

Verdict: TypeAlias = Literal["go_on", "skip_rest", "stop"]
"""What the end of a step means for those behind it."""


class Planned(msgspec.Struct, frozen=True):
    """What the order of a step depends on.

    Attributes:
        reads: places of the earlier steps whose results it reads.
        fence: whether it has effects, or guards against them.
        shares: names of things with a state that it uses.
        may_stop: whether it can end with anything but ``go_on``.
        certain: whether it must not begin in vain: what it does outlives the run.
    """

    reads: tuple[int, ...] = ()
    fence: bool = False
    shares: tuple[str, ...] = ()
    may_stop: bool = True
    certain: bool = False


class Start(msgspec.Struct, frozen=True):
    """The sequence is due. The first event, once."""


class Ended(msgspec.Struct, frozen=True):
    """A step has ended, with whatever result."""

    step: int
    verdict: Verdict = "go_on"


Event: TypeAlias = Start | Ended


class Begin(msgspec.Struct, frozen=True):
    """Begin a step."""

    step: int


class Commit(msgspec.Struct, frozen=True):
    """The result of a step that has ended counts now."""

    step: int


class Skip(msgspec.Struct, frozen=True):
    """A step is not to be carried out; that it was skipped counts now."""

    step: int


class Cancel(msgspec.Struct, frozen=True):
    """A step that has begun is to stop; whatever comes of it does not count."""

    step: int


class Discard(msgspec.Struct, frozen=True):
    """The result of a step that has ended never counts."""

    step: int


class Over(msgspec.Struct, frozen=True):
    """Nothing further will be commanded. Steps that are not committed by now were never due."""


Command: TypeAlias = Begin | Commit | Skip | Cancel | Discard | Over

_WAITING, _RUNNING, _ENDED, _GONE = range(4)


class Schedule:
    """The order of one sequence of steps; steps are known by their places in it.

    Args:
        steps: of the sequence; they read only earlier ones.
        mode: ``sequential``: each begins when the one in front of it is committed.
        speculate: whether a step may begin before it is certain that it is due at all.

    Attributes:
        running: how many steps are under way.
        over: whether nothing further will be commanded.
    """

    def __init__(self, steps: Sequence[Planned], *, mode: Mode = "dataflow", speculate: bool = True) -> None:
        self._states = [_WAITING] * len(steps)
        self._verdicts: dict[int, Verdict] = {}
        self._committed = 0  # so many from the front are committed
        self._limit = len(steps)  # steps from here on will never be due: one in front of them has ended the sequence
        self._barriers = _barriers(steps, mode, speculate)
        self._followers, self._open = _edges(steps)
        self._alone = _alone(self._barriers, self._followers)
        self._counted_on = _counted_on(steps, self._open)
        self._ready = [place for place, number in enumerate(self._open) if number == 0]  # a heap; sorted, so it is one
        self.running = 0
        self.over = False

    def is_alone(self, step: int) -> bool:
        """Whether no other step is ever under way together with this one, however long each of them takes."""
        return self._alone[step]

    def handle(self, event: Event) -> list[Command]:
        """Return what is to be done now. The end of a step that was cancelled changes nothing."""
        commands: list[Command] = []
        if isinstance(event, Ended):
            if self._states[event.step] != _RUNNING:
                return []
            self._end(event.step, event.verdict, commands)
        self._commit(commands)
        self._begin(commands)
        return commands

    def _end(self, step: int, verdict: Verdict, commands: list[Command]) -> None:
        self._states[step] = _ENDED
        self.running -= 1
        self._verdicts[step] = verdict
        if verdict != "go_on":
            self._forget(step + 1, commands)
        self._let(self._followers[step])

    def _let(self, followers: Iterable[int]) -> None:
        """Each of these waits for one thing less."""
        for follower in followers:
            self._open[follower] -= 1
            if self._open[follower] == 0:
                heapq.heappush(self._ready, follower)

    def _forget(self, first: int, commands: list[Command]) -> None:
        """Drop what has begun from a place on."""
        for step in range(first, self._limit):
            if self._states[step] == _RUNNING:
                commands.append(Cancel(step))
                self.running -= 1
            elif self._states[step] == _ENDED:
                commands.append(Discard(step))
            self._states[step] = _GONE
        self._limit = first  # never further back: what is behind the limit is not under way, and so ends nothing

    def _commit(self, commands: list[Command]) -> None:
        if self.over:
            return
        verdict: Verdict = "go_on"
        while verdict == "go_on" and self._committed < self._limit and self._states[self._committed] == _ENDED:
            verdict = self._verdicts.pop(self._committed)
            commands.append(Commit(self._committed))
            self._let(self._counted_on.get(self._committed, ()))
            self._committed += 1
        if verdict == "skip_rest":
            commands += [Skip(step) for step in range(self._committed, len(self._states))]
        if verdict != "go_on" or self._committed == len(self._states):
            self.over = True
            commands.append(Over())

    def _begin(self, commands: list[Command]) -> None:
        while self._ready and self._ready[0] < self._limit and self._barriers[self._ready[0]] <= self._committed:
            step = heapq.heappop(self._ready)
            self._states[step] = _RUNNING
            self.running += 1
            commands.append(Begin(step))


def _barriers(steps: Sequence[Planned], mode: Mode, speculate: bool) -> list[int]:
    """Return for each step how many from the front must be committed before it begins. They never fall, from step to
    step: so if the first step that is ready must wait, all must."""
    barriers = []
    behind = 0
    for place, step in enumerate(steps):
        if step.fence or mode == "sequential":
            behind = place
        barriers.append(behind)
        if step.fence or (step.may_stop and not speculate):
            behind = place + 1
    return barriers


def _edges(steps: Sequence[Planned]) -> tuple[list[list[int]], list[int]]:
    """Return who waits for the end of each step, and for how many each one waits."""
    followers: list[list[int]] = [[] for _ in steps]
    waits_for = []
    last_user: dict[str, int] = {}
    for place, step in enumerate(steps):
        before = {*step.reads, *(last_user[name] for name in step.shares if name in last_user)}
        last_user.update(dict.fromkeys(step.shares, place))
        waits_for.append(len(before))
        for earlier in sorted(before):
            followers[earlier].append(place)
    return followers, waits_for


def _alone(barriers: Sequence[int], followers: Sequence[Sequence[int]]) -> list[bool]:
    """Return for each step whether all in front of it end before it begins, and all behind it begin when it has ended.

    Sets of steps are integers here, a bit for each step.
    """
    before = [(1 << barrier) - 1 for barrier in barriers]
    for place, others in enumerate(followers):
        for other in others:  # all of them are behind this one, so what is before this one is known by now
            before[other] |= before[place] | 1 << place
    # What must be committed before a step begins had its own steps in front of it: all are in front of the barrier.
    alone = [False] * len(before)
    behind = -1  # what is before all steps behind this one
    for place in reversed(range(len(before))):
        alone[place] = before[place] == (1 << place) - 1 and bool(behind >> place & 1)
        behind &= before[place]
    return alone


def _counted_on(steps: Sequence[Planned], waits_for: list[int]) -> dict[int, list[int]]:
    """Return who waits for the commit of each step, and count that among what they wait for."""
    counted_on: dict[int, list[int]] = {}
    last: int | None = None
    for place, step in enumerate(steps):
        if step.certain and last is not None:
            counted_on.setdefault(last, []).append(place)
            waits_for[place] += 1
        if step.may_stop:
            last = place
    return counted_on
