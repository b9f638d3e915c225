"""What a kept run goes on with, and who may."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fabric.errors import ConfigError
from fabric.runtime.keeping import Kept, hold_session
from fabric.session.history import LINE_KEYS, Emitted, Entered, Finished, History, Resumed, Retried
from fabric.store.bucket import Bucket
from fabric.store.memory import MemoryStore


def line(number: int, value: int | None = None) -> Entered:
    """A line of an input, which is its number if nothing else is said."""
    return Entered("input", msgspec.Raw(b"%d" % (number if value is None else value)), number, f"{LINE_KEYS}{number}")


def entered(number: int) -> Entered:
    return Entered("input", msgspec.Raw(b"%d" % number), number)


def kept(*history: History) -> Kept:
    log = Bucket(MemoryStore()).start(session="kept", program="p")
    return Kept("memory:", log, list(history))


def known(run: Kept, refused: frozenset[int] = frozenset()) -> list[Any]:
    return [int(payload) for _, payload in run.known(refused)]


def test_the_lines_of_the_last_input_are_known():
    """Whether it had ended or not. What came before belongs to another input, what clients sent to none."""
    assert known(kept(line(1), line(2), Finished(0), Emitted(1), Resumed(), line(1, 7), line(2, 8), entered(9))) == [
        7,
        8,
    ]
    assert known(kept(line(1), line(2), Finished(0), Emitted(1))) == [1, 2]
    assert known(kept(line(1), Resumed(), line(2), Resumed(), line(3))) == [1, 2, 3]


def test_a_line_that_was_refused_is_not_known():
    """Who gives it again is told again; who gives another in its place is heard."""
    assert known(kept(line(1), line(2), Resumed(), line(2, 5)), frozenset({2})) == [1]


def test_new_tickets_are_above_all_that_were_given():
    """Also above those of dead letters that were tried again."""
    assert kept(entered(3), Retried("a", msgspec.Raw(b"1"), 7), entered(4)).last_ticket == 7


def test_who_holds_a_session_is_told_to_who_comes_second(tmp_path: Path):
    """Other sessions are others'; and what was held is free behind an error, too."""
    env = {"XDG_STATE_HOME": str(tmp_path)}
    with (
        hold_session("memory:", "a", env),
        hold_session("memory:", "b", env),
        pytest.raises(ConfigError, match=str(os.getpid())),
        hold_session("memory:", "a", env),
    ):
        pass
    with pytest.raises(ZeroDivisionError), hold_session("memory:", "a", env):
        raise ZeroDivisionError
    with hold_session("memory:", "a", env):
        pass


def test_what_a_run_was_brought_back_from_is_forgotten():
    """Only how many commits there are is known then: it goes on behind them. Who reads again reads all."""
    run = kept(entered(1))
    for number in range(3):
        run.log.append([run.log.store_body(b"%d" % number)])
    run.forget()
    run.log.append([run.log.store_body(b"3")])
    assert (run.history, run.log.seen) == ([], 4)
    assert not any(commit.entries for commit in run.log._tail.commits)
    assert [each.entry.text for each in run.log.entries() if not each.derived] == ["0", "1", "2", "3"]
    run.log.append([])
    assert len(run.log.read()) == 5
