"""How a service has its dead letters written."""

from __future__ import annotations

from pathlib import Path

import msgspec
import trio

from fabric.runtime.dead_letters import DeadLetters, Letter
from fabric.runtime.letter_keeper import UNWRITTEN_BYTES_MAX, LetterKeeper
from fabric.session.events import DeadLetter, Note

AT, SESSION = "2026-11-21T11:00:00Z", "2026-11-21T10:00:00Z"


def dead(payload: bytes = b"1") -> DeadLetter:
    return DeadLetter("judge", payload, "poison", "boom", 3, ("words",), bytes(range(16)), (1,))


def on_disk(letters: DeadLetters) -> list[Letter]:
    with letters.open() as found:
        return [found.read(head) for head in found.heads.values()]


async def finished(keeper: LetterKeeper) -> list[Note]:
    """Let it write what it has to; return what it told."""
    told: list[Note] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run, told.append)
        await keeper.finish()
        nursery.cancel_scope.cancel()
    return told


async def test_a_letter_is_on_disk_with_all_that_is_known(tmp_path: Path):
    """Numbers count on over the sessions."""
    letters = DeadLetters(tmp_path / "dead" / "demo")
    keeper = LetterKeeper(letters, SESSION)
    assert keeper.keep(dead(b'{"x":\n 1}'), AT) == 1
    assert await finished(keeper) == []
    assert keeper.unkept == 0
    (letter,) = on_disk(letters)
    assert bytes(letter.payload) == b'{"x":  1}'
    assert (letter.id, letter.worker, letter.cause, letter.attempts) == (1, "judge", "poison", 3)
    assert (letter.at, letter.session, letter.trace, letter.stderr) == (AT, SESSION, bytes(range(16)).hex(), ("words",))
    later = LetterKeeper(letters, SESSION)
    assert later.keep(dead(), AT) == 2
    assert [later.is_of_this_session(id_) for id_ in (1, 2)] == [False, True]
    assert later.keep(dead(b"7"), AT, 1) == 1
    await finished(later)
    assert [bytes(letter.payload) for letter in on_disk(letters)] == [b"7", b"1"]


async def test_one_that_is_struck_out_is_gone_before_that_is_told(tmp_path: Path):
    """In the order in which it was asked for."""
    letters = DeadLetters(tmp_path / "dead" / "demo")
    keeper = LetterKeeper(letters, SESSION)
    left: list[list[int]] = []
    for _ in range(3):
        keeper.keep(dead(), AT)
    keeper.strike(2, lambda: left.append([letter.id for letter in on_disk(letters)]))
    keeper.keep(dead(), AT)
    await finished(keeper)
    assert left == [[1, 3, 4]]
    assert [letter.id for letter in on_disk(letters)] == [1, 3, 4]


async def test_a_disk_that_takes_nothing_is_tried_again(tmp_path: Path):
    """It is told once, and nothing is missing in the end."""
    letters = DeadLetters(tmp_path / "dead" / "demo")
    keeper = LetterKeeper(letters, SESSION)
    (tmp_path / "dead").write_text("a file where a folder should be")
    keeper.keep(dead(), AT)
    told: list[Note] = []
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.run, told.append)
            while not told:
                await trio.lowlevel.checkpoint()
            assert keeper.unkept == 1
            (tmp_path / "dead").unlink()
            keeper.keep(dead(), AT)
            await keeper.finish()
            nursery.cancel_scope.cancel()
    (note,) = told
    assert (note.level, note.event, note.fields["waiting"]) == ("error", "dead_letters.unwritten", 1)
    assert str(tmp_path) in note.fields["reason"]
    assert ([letter.id for letter in on_disk(letters)], keeper.unkept) == ([1, 2], 0)


async def test_what_the_disk_never_took_is_counted(tmp_path: Path):
    """The end does not wait for it for ever."""
    keeper = LetterKeeper(DeadLetters(tmp_path / "dead" / "demo"), SESSION)
    (tmp_path / "dead").write_text("a file where a folder should be")
    keeper.keep(dead(), AT)
    keeper.strike(9, lambda: None)
    assert len(await finished(keeper)) == 1
    assert keeper.unkept == 1


async def test_letters_that_wait_for_the_disk_are_bounded(tmp_path: Path):
    """What is beyond is counted; when there is room again, so is what comes."""
    letters = DeadLetters(tmp_path / "dead" / "demo")
    keeper = LetterKeeper(letters, SESSION)
    large = b'"' + b"x" * (UNWRITTEN_BYTES_MAX // 4) + b'"'
    for _ in range(5):
        keeper.keep(dead(large), AT)
    assert (keeper.overflowed, keeper.unkept) == (2, 5)
    await finished(keeper)
    assert keeper.unkept == 2
    assert [letter.id for letter in on_disk(letters)] == [1, 2, 3]


async def test_what_a_kill_has_kept_from_the_disk_is_written_from_the_log_of_the_run(tmp_path: Path):
    """Each once, whatever was struck out or dropped since; of another run all of them."""
    letters = DeadLetters(tmp_path / "dead" / "demo")
    run = [msgspec.structs.replace(dead(b"%d" % entry), recorded=("run", entry)) for entry in (3, 7, 9)]
    first = LetterKeeper(letters, SESSION)
    for letter in run[:2]:
        first.keep(letter, AT)
    await finished(first)
    second = LetterKeeper(letters, SESSION)  # killed when the third one was in the log
    assert second.restore(run, AT) == 1
    assert not second.is_of_this_session(3)
    second.strike(1, lambda: None)
    await finished(second)
    assert [bytes(letter.payload) for letter in on_disk(letters)] == [b"7", b"9"]
    letters.drop(lambda head: True)
    third = LetterKeeper(letters, SESSION)
    assert third.restore(run, AT) == 0
    assert third.restore([msgspec.structs.replace(run[0], recorded=("other", 3)), dead()], AT) == 1
