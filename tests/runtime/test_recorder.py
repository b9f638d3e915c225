"""What a session records, and what waits for that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from fabric.errors import StoreFailed, Superseded
from fabric.runtime.keeping import read_history, read_once
from fabric.runtime.recorder import FAILING_S_MAX, SLOW_S, Lost, Recorder
from fabric.session.events import Deliver, Note, Record, SetTimer, Settled
from fabric.session.history import Emitted, Entered, Finished, decode_history
from fabric.store.bucket import Bucket
from fabric.store.memory import MemoryStore
from fabric.store.record import Entry, entry_of


class MemoryLog:
    """A log in memory.

    Args:
        refuse: raises what a commit is refused with, if it is; called with the number of the attempt.
    """

    def __init__(self, refuse: Callable[[int], None] = lambda _: None) -> None:
        self.commits: list[list[Any]] = []
        self._refuse = refuse
        self._attempts = 0

    def store_body(self, body: bytes, **fields: Any) -> Entry:
        return entry_of(fields.pop("event"), body, **fields)

    def append(self, entries: Sequence[Entry], base: int | None = None) -> None:
        self._attempts += 1
        self._refuse(self._attempts)
        self.commits.append([decode_history((entry.text or "").encode()) for entry in entries])


def entered(number: int) -> Entered:
    return Entered("input", msgspec.Raw(b"%d" % number), number)


class Bench:
    """A recorder whose log writes only when it is let."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.notes: list[str] = []
        self.done: list[object] = []
        self._gate = trio.Semaphore(0)
        self.recorder = Recorder(log, lambda note: self.notes.append(note.event), self._write)

    async def _write(self, function: Callable[[], object]) -> object:
        await self._gate.acquire()
        return function()

    async def let(self, writes: int = 1) -> None:
        """Let so many writes happen, and wait until nobody moves."""
        for _ in range(writes):
            self._gate.release()
        await trio.testing.wait_all_tasks_blocked()

    def take(self, *commands: Any) -> None:
        """Perform commands as a coordinator does."""
        self.done += [command for command in commands if self.recorder.lets(command)]

    def release(self) -> None:
        """Perform what need not wait any longer."""
        self.done += self.recorder.released()


def with_bench(test: Callable[[Bench, trio.Nursery], Any], log: MemoryLog | None = None) -> Bench:
    """Run a test while a recorder writes."""
    bench: list[Bench] = []

    async def run() -> None:
        bench.append(Bench(log or MemoryLog()))
        async with trio.open_nursery() as nursery:
            await test(bench[0], nursery)
            nursery.cancel_scope.cancel()

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    return bench[0]


FIRST, SECOND, THIRD = Settled([1]), Settled([2]), Settled([3])


def test_what_follows_from_an_entry_waits_until_it_is_durable():
    """What came before does not; and timers and notes do not."""
    timer, note = SetTimer(("a", "b"), 1.0), Note("info", "x", {})

    async def test(bench: Bench, nursery: trio.Nursery) -> None:
        nursery.start_soon(bench.recorder.run, bench.release)
        bench.take(FIRST, Record((entered(1),)), SECOND, timer, note)
        await trio.testing.wait_all_tasks_blocked()
        assert bench.done == [FIRST, timer, note]
        await bench.let()
        assert bench.done == [FIRST, timer, note, SECOND]
        bench.take(THIRD)
        assert bench.done[-1] == THIRD

    with_bench(test)


def test_entries_that_come_while_one_is_written_are_one_commit():
    """And what follows from each is released with them, in its order."""

    async def test(bench: Bench, nursery: trio.Nursery) -> None:
        nursery.start_soon(bench.recorder.run, bench.release)
        bench.take(Record((entered(1),)), FIRST)
        await trio.testing.wait_all_tasks_blocked()
        bench.take(Record((entered(2),)), SECOND, Record((entered(3), entered(4))), THIRD)
        await bench.let()
        assert bench.done == [FIRST]
        await bench.let()
        assert bench.done == [FIRST, SECOND, THIRD]
        assert bench.log.commits == [[entered(1)], [entered(2), entered(3), entered(4)]]

    with_bench(test)


def test_how_much_of_the_output_is_written_goes_with_the_next_commit():
    """It makes none of its own before the end; only the newest is written."""

    async def test(bench: Bench, nursery: trio.Nursery) -> None:
        nursery.start_soon(bench.recorder.run, bench.release)
        bench.recorder.emitted(Emitted(1))
        bench.recorder.emitted(Emitted(2))
        await bench.let(3)
        assert bench.log.commits == []
        bench.take(Record((entered(1),)))
        await trio.testing.wait_all_tasks_blocked()
        assert bench.log.commits == [[Emitted(2), entered(1)]]
        bench.recorder.emitted(Emitted(3))
        assert await bench.recorder.finish() is None
        assert bench.log.commits[1:] == [[Emitted(3)]]

    with_bench(test)


def test_a_bucket_that_fails_is_tried_again_and_no_input_is_taken_meanwhile():
    """It is told once, and when it works again."""

    def refuse(attempt: int) -> None:
        if attempt < 4:
            raise StoreFailed("memory:: full")

    async def test(bench: Bench, nursery: trio.Nursery) -> None:
        nursery.start_soon(bench.recorder.run, bench.release)
        bench.take(Record((entered(1),)), FIRST)
        await bench.let()
        assert (bench.recorder.full, bench.done) == (True, [])
        await bench.let(3)
        await trio.sleep(2)
        assert (bench.recorder.full, bench.done) == (False, [FIRST])
        assert bench.log.commits == [[entered(1)]]

    assert with_bench(test, MemoryLog(refuse)).notes == ["store.retried", "store.recovered"]


def test_the_last_thing_that_is_written_is_how_much_of_the_output_is():
    """Always, and behind all else in a commit of its own: by that an end is known that somebody was told of."""

    async def test(bench: Bench, nursery: trio.Nursery) -> None:
        bench.recorder.emitted(Emitted(1))
        bench.take(Record((entered(1), Finished(0))))
        await bench.let(10)
        assert await bench.recorder.close() is None
        assert bench.log.commits == [[Emitted(1), entered(1), Finished(0)], [Emitted(1)]]

    with_bench(test)


def test_a_write_without_an_answer_is_a_bucket_that_fails():
    """From a second on no input is taken, and after a minute the session ends."""

    async def test(bench: Bench, nursery: trio.Nursery) -> None:
        recorder = bench.recorder
        lost: list[Lost] = []

        async def write() -> None:
            lost.append(await recorder.run(bench.release))

        bench.take(Record((entered(1),)), FIRST)
        nursery.start_soon(write)
        await trio.sleep(SLOW_S / 2)
        assert (recorder.full, recorder.stood_s) == (False, 0.0)
        await trio.sleep(SLOW_S)
        assert (recorder.full, recorder.failing, recorder.stood_s) == (True, True, SLOW_S / 2)
        await trio.sleep(FAILING_S_MAX)
        assert [(each.code, bench.done) for each in lost] == [("store_failed", [])]

    assert with_bench(test).notes == ["store.retried"]


def test_a_write_that_took_long_is_told_of_and_over():
    """For so long the bucket has failed."""

    async def test(bench: Bench, nursery: trio.Nursery) -> None:
        nursery.start_soon(bench.recorder.run, bench.release)
        bench.take(Record((entered(1),)), FIRST)
        await trio.sleep(11)
        await bench.let()
        await trio.sleep(5)
        assert (bench.recorder.full, bench.recorder.stood_s, bench.done) == (False, 10.0, [FIRST])

    assert with_bench(test).notes == ["store.retried", "store.recovered"]


def test_a_bucket_that_goes_on_failing_ends_the_session():
    """Nothing of what waits is done."""

    def refuse(attempt: int) -> None:
        raise StoreFailed("memory:: full")

    async def test(bench: Bench, nursery: trio.Nursery) -> None:
        bench.take(Record((entered(1),)), FIRST)
        await bench.let(1000)
        began_s = trio.current_time()
        lost = await bench.recorder.run(bench.release)
        assert FAILING_S_MAX <= trio.current_time() - began_s < 1.2 * FAILING_S_MAX
        assert (lost.code, "memory:: full" in lost.message, bench.done) == ("store_failed", True, [])

    with_bench(test, MemoryLog(refuse))


def test_who_is_superseded_does_nothing_more():
    """Somebody else runs the session."""

    def refuse(attempt: int) -> None:
        raise Superseded("commit 7 is somebody else's")

    async def test(bench: Bench, nursery: trio.Nursery) -> None:
        bench.take(Record((entered(1),)), Deliver([]))
        await bench.let()
        lost = await bench.recorder.run(bench.release)
        assert isinstance(lost, Lost)
        assert (lost.code, lost.exit_code, bench.done) == ("superseded", 1, [])

    with_bench(test, MemoryLog(refuse))


def test_a_slow_bucket_stops_the_input_when_too_much_waits():
    """It is written in commits that are not too large."""

    async def test(bench: Bench, nursery: trio.Nursery) -> None:
        large = Entered("input", msgspec.Raw(b'"%s"' % (b"x" * 20_000)), 1)
        bench.take(Record((large,) * 250))
        assert not bench.recorder.full
        bench.take(Record((large,) * 250))
        assert bench.recorder.full
        nursery.start_soon(bench.recorder.run, bench.release)
        await bench.let()
        assert not bench.recorder.full
        await bench.let(2)
        sizes = [len(commit) for commit in bench.log.commits]
        assert (sum(sizes), max(sizes) * 20_000 < 4 << 20) == (500, True)

    with_bench(test)


def test_what_is_promised_of_an_input_is_done_directly_behind_its_entry():
    """Such as the word that a message was taken; also if the session takes its time before it records that."""

    async def test(bench: Bench, nursery: trio.Nursery) -> None:
        nursery.start_soon(bench.recorder.run, bench.release)
        said = lambda: None  # noqa: E731
        bench.recorder.promise(2, said)
        bench.take(Record((entered(1),)), FIRST)
        await bench.let()
        assert bench.done == [FIRST]
        bench.take(Record((entered(2),)), SECOND, Record((entered(3),)), THIRD)
        await trio.testing.wait_all_tasks_blocked()
        assert bench.done == [FIRST]
        await bench.let()
        assert bench.done == [FIRST, said, SECOND, THIRD]

    with_bench(test)


def history_of(bucket: Bucket) -> list[Any]:
    return read_history(bucket.open("s"))


def test_who_has_lost_a_session_writes_nothing_more():
    """Neither at its end, nor when it is asked again; so whoever has it now goes on undisturbed."""
    bucket = Bucket(MemoryStore(), now=lambda: 1.0)
    bucket.start(session="s", program="p")
    first, second = (Recorder(bucket.open("s"), lambda _: None) for _ in range(2))

    async def run() -> None:
        second.lets(Record((entered(1),)))
        assert await second.finish() is None
        first.lets(Record((entered(2),)))
        first.emitted(Emitted(0))
        lost = await first.run(lambda: None)
        assert (lost.code, await first.finish()) == ("superseded", lost)
        second.lets(Record((Finished(0),)))
        assert await second.finish() is None

    trio.run(run)
    assert history_of(bucket) == [entered(1), Finished(0)]


def test_a_session_is_written_on_from_what_it_was_brought_back_from():
    """What the log was read to since then is somebody else's."""
    bucket = Bucket(MemoryStore(), now=lambda: 1.0)
    bucket.start(session="s", program="p")
    log = bucket.open("s")
    base = read_once(log).commits

    async def run() -> None:
        other = Recorder(bucket.open("s"), lambda _: None)
        other.lets(Record((entered(1),)))
        assert await other.finish() is None
        log.read()
        late = Recorder(log, lambda _: None, base=base)
        late.lets(Record((entered(2),)))
        lost = await late.finish()
        assert lost is not None
        assert lost.code == "superseded"

    trio.run(run)
    assert history_of(bucket) == [entered(1)]


def test_a_log_takes_nothing_from_who_has_lost_it_once():
    """Though by then it knows where the log ends."""
    bucket = Bucket(MemoryStore(), now=lambda: 1.0)
    bucket.start(session="s", program="p")
    first, second = bucket.open("s"), bucket.open("s")
    second.append([])
    for _ in range(2):
        with pytest.raises(Superseded):
            first.append([])
    assert len(second.read()) == 1
