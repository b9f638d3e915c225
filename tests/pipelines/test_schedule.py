"""The order of steps: literal events and commands, and any sequence against one step after the other."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.pipelines.runs.schedule import (
    Begin,
    Cancel,
    Command,
    Commit,
    Discard,
    Ended,
    Mode,
    Over,
    Planned,
    Schedule,
    Skip,
    Start,
    Verdict,
)


def test_steps_that_need_nothing_begin_at_once_and_are_committed_in_order() -> None:
    """The second one ends first, and is committed second."""
    schedule = Schedule([Planned(), Planned()])

    assert schedule.handle(Start()) == [Begin(0), Begin(1)]
    assert schedule.handle(Ended(1)) == []
    assert schedule.handle(Ended(0)) == [Commit(0), Commit(1), Over()]


def test_a_step_begins_when_what_it_reads_has_ended_not_when_all_before_it_has() -> None:
    """The slow one in front of both holds up nothing but commits."""
    schedule = Schedule([Planned(), Planned(), Planned(reads=(1,))])

    assert schedule.handle(Start()) == [Begin(0), Begin(1)]
    assert schedule.handle(Ended(1)) == [Begin(2)]
    assert schedule.handle(Ended(2)) == []
    assert schedule.handle(Ended(0)) == [Commit(0), Commit(1), Commit(2), Over()]


def test_a_fence_waits_for_all_commits_and_nothing_passes_it() -> None:
    """The step behind the fence reads nothing, and waits all the same."""
    schedule = Schedule([Planned(), Planned(fence=True), Planned()])

    assert schedule.handle(Start()) == [Begin(0)]
    assert schedule.handle(Ended(0)) == [Commit(0), Begin(1)]
    assert schedule.handle(Ended(1)) == [Commit(1), Begin(2)]


@pytest.mark.parametrize(
    ("steps", "alone"),
    [
        ([Planned()], [True]),
        ([Planned(), Planned()], [False, False]),
        ([Planned(), Planned(reads=(0,)), Planned(reads=(1,))], [True, True, True]),
        ([Planned(), Planned(), Planned(reads=(0, 1)), Planned(reads=(2,))], [False, False, True, True]),
        ([Planned(), Planned(reads=(0,)), Planned(reads=(0,))], [True, False, False]),
        ([Planned(), Planned(), Planned(fence=True), Planned(), Planned()], [False, False, True, False, False]),
        ([Planned(shares=("m",)), Planned(), Planned(shares=("m",))], [False, False, False]),
    ],
)
def test_who_is_alone_follows_from_the_plan(steps: list[Planned], alone: list[bool]) -> None:
    """Nothing in front of it may be under way with it, and nothing behind it; through others, too."""
    schedule = Schedule(steps)

    assert [schedule.is_alone(place) for place in range(len(steps))] == alone
    assert all(map(Schedule(steps, mode="sequential").is_alone, range(len(steps))))


def test_steps_that_share_something_follow_each_other() -> None:
    """The third one waits for the first, whose mock it asks; the second one does not."""
    schedule = Schedule([Planned(shares=("mock m",)), Planned(), Planned(shares=("mock m", "mock n"))])

    assert schedule.handle(Start()) == [Begin(0), Begin(1)]
    assert schedule.handle(Ended(0)) == [Commit(0), Begin(2)]


def test_the_first_failure_in_the_order_of_the_file_wins() -> None:
    """The second step fails first; the first one goes on, and its failure is the one that counts."""
    schedule = Schedule([Planned(), Planned(), Planned(), Planned(reads=(1,))])
    schedule.handle(Start())

    assert schedule.handle(Ended(2)) == []
    assert schedule.handle(Ended(1, "stop")) == [Discard(2)]
    assert schedule.handle(Ended(0, "stop")) == [Discard(1), Commit(0), Over()]


def test_a_failure_cancels_what_is_under_way_behind_it() -> None:
    """What a cancelled step still says changes nothing."""
    schedule = Schedule([Planned(), Planned()])
    schedule.handle(Start())

    assert schedule.handle(Ended(0, "stop")) == [Cancel(1), Commit(0), Over()]
    assert schedule.handle(Ended(1)) == []


def test_what_is_skipped_is_committed_as_skipped() -> None:
    """Also a step that had begun, and one that had ended."""
    schedule = Schedule([Planned(), Planned(), Planned(), Planned(reads=(1,))])
    schedule.handle(Start())
    schedule.handle(Ended(2))

    assert schedule.handle(Ended(0, "skip_rest")) == [
        Cancel(1),
        Discard(2),
        Commit(0),
        Skip(1),
        Skip(2),
        Skip(3),
        Over(),
    ]


def test_in_sequence_one_step_is_under_way() -> None:
    """Each begins when the one in front of it is committed."""
    schedule = Schedule([Planned(), Planned()], mode="sequential")

    assert schedule.handle(Start()) == [Begin(0)]
    assert schedule.running == 1
    assert schedule.handle(Ended(0)) == [Commit(0), Begin(1)]


def test_without_speculation_nothing_begins_that_may_turn_out_not_to_be_due() -> None:
    """A step whose failure changes nothing is not waited for."""
    schedule = Schedule([Planned(may_stop=False), Planned(), Planned()], speculate=False)

    assert schedule.handle(Start()) == [Begin(0), Begin(1)]
    assert schedule.handle(Ended(1)) == []
    assert schedule.handle(Ended(0)) == [Commit(0), Commit(1), Begin(2)]


def test_what_outlives_the_run_waits_until_it_is_certain() -> None:
    """The last step that may end the sequence must be committed, not only ended. What is behind does not wait."""
    schedule = Schedule([Planned(may_stop=False), Planned(), Planned(may_stop=False), Planned(certain=True), Planned()])

    assert schedule.handle(Start()) == [Begin(0), Begin(1), Begin(2), Begin(4)]
    assert schedule.handle(Ended(1)) == []
    assert schedule.handle(Ended(0)) == [Commit(0), Commit(1), Begin(3)]


def test_a_sequence_without_steps_is_over_when_it_begins() -> None:
    """An empty file is a pipeline, too."""
    schedule = Schedule([])

    assert schedule.handle(Start()) == [Over()]
    assert schedule.over


VERDICTS: Sequence[Verdict] = ("go_on", "go_on", "go_on", "skip_rest", "stop")


@st.composite
def sequences(draw: st.DrawFn) -> tuple[list[Planned], list[Verdict]]:
    """Steps with any edges to earlier ones, and how each will end if it is carried out."""
    planned: list[Planned] = []
    verdicts: list[Verdict] = []
    for place in range(draw(st.integers(0, 12))):
        verdict = draw(st.sampled_from(VERDICTS))
        reads = draw(st.lists(st.integers(0, place - 1), unique=True, max_size=3)) if place else []
        planned.append(
            Planned(
                reads=tuple(sorted(reads)),
                fence=draw(st.booleans()) and draw(st.booleans()),
                shares=tuple(draw(st.lists(st.sampled_from(["a", "b"]), unique=True, max_size=2))),
                may_stop=verdict != "go_on" or draw(st.booleans()),
                certain=draw(st.booleans()) and draw(st.booleans()),
            )
        )
        verdicts.append(verdict)
    return planned, verdicts


def one_after_the_other(verdicts: Sequence[Verdict]) -> list[Command]:
    """What counts if each step begins when the one in front of it has ended: the plainest interpreter there is."""
    committed: list[Command] = []
    for place, verdict in enumerate(verdicts):
        committed.append(Commit(place))
        if verdict == "skip_rest":
            committed += [Skip(rest) for rest in range(place + 1, len(verdicts))]
        if verdict != "go_on":
            break
    return committed


class Driven:
    """A schedule whose steps end in an order that a seed draws. It keeps watch over the rules."""

    def __init__(self, planned: Sequence[Planned], verdicts: Sequence[Verdict], mode: Mode, speculate: bool) -> None:
        self.planned = planned
        self.verdicts = verdicts
        self.schedule = Schedule(planned, mode=mode, speculate=speculate)
        self.counted: list[Command] = []
        self.running: list[int] = []
        self.ended: set[int] = set()
        self.committed: set[int] = set()
        self.dropped: set[int] = set()
        self.most = 0

    def run(self, seed: int) -> None:
        draw = random.Random(seed)
        self.obey(self.schedule.handle(Start()))
        while not self.schedule.over:
            assert self.running, "nothing is under way, and it is not over"
            self.most = max(self.most, len(self.running))
            assert len(self.running) == 1 or not any(map(self.schedule.is_alone, self.running))
            step = self.running.pop(draw.randrange(len(self.running)))
            self.ended.add(step)
            self.obey(self.schedule.handle(Ended(step, self.verdicts[step])))
        assert self.running == []
        assert self.schedule.running == 0

    def obey(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case Begin(step):
                    self.may_begin(step)
                    self.running.append(step)
                case Cancel(step):
                    self.running.remove(step)
                    self.dropped.add(step)
                case Discard(step):
                    assert step in self.ended
                    self.dropped.add(step)
                case Commit(step):
                    assert step in self.ended
                    assert step not in self.dropped
                    self.committed.add(step)
                    self.counted.append(command)
                case Skip():
                    self.counted.append(command)
                case Over():
                    pass

    def may_begin(self, step: int) -> None:
        plan = self.planned[step]
        assert set(plan.reads) <= self.ended
        users = [other for other in range(step) if set(self.planned[other].shares) & set(plan.shares)]
        assert set(users) <= self.ended
        if plan.fence:
            assert self.committed == set(range(step))
        assert {other for other in range(step) if self.planned[other].fence} <= self.committed
        if plan.certain:
            assert {other for other in range(step) if self.planned[other].may_stop} <= self.committed


@given(sequences(), st.integers(), st.sampled_from(["dataflow", "sequential"]), st.booleans())
def test_any_sequence_counts_as_one_step_after_the_other(
    drawn: tuple[list[Planned], list[Verdict]], seed: int, mode: Mode, speculate: bool
) -> None:
    """Whatever ends first: what is committed and skipped, and in which order, is what a plain loop gives."""
    planned, verdicts = drawn
    driven = Driven(planned, verdicts, mode, speculate)

    driven.run(seed)

    assert driven.counted == one_after_the_other(verdicts)
    assert driven.dropped.isdisjoint(driven.committed)
    assert not any(planned[step].certain for step in driven.dropped)
    if mode == "sequential":
        assert driven.most <= 1
    if not speculate:
        assert not driven.dropped


@pytest.mark.parametrize("number", [1, 8, 500])
def test_independent_steps_are_all_under_way(number: int) -> None:
    """No limit stands in the schedule: how much is performed at once is for whoever performs."""
    schedule = Schedule([Planned()] * number)

    schedule.handle(Start())

    assert schedule.running == number
