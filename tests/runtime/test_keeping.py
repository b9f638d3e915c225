"""What a kept run goes on with, and who may."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fabric.errors import ConfigError
from fabric.runtime.keeping import Hold, Kept, hold_session
from fabric.session.history import Emitted, Entered, Finished, History, Resumed, Retried
from fabric.store.bucket import Bucket
from fabric.store.memory import MemoryStore


def entered(number: int) -> Entered:
    return Entered("input", msgspec.Raw(b"%d" % number), number)


def kept(tmp_path: Path, *history: History, finished: bool = False) -> Kept:
    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    try:
        log = Bucket(MemoryStore()).start(session="kept", program="p")
        return Kept("memory:", log, Hold(descriptor), list(history), finished)
    finally:
        os.close(descriptor)


def known(run: Kept) -> list[Any]:
    return [int(payload) for _, payload in run.known()]


def test_what_came_since_the_last_end_is_known(tmp_path: Path):
    """What came before belongs to another input."""
    run = kept(tmp_path, entered(1), Finished(0), Emitted(1), Resumed(), entered(2), entered(3))
    assert known(run) == [2, 3]


def test_an_end_that_nobody_was_told_of_is_none(tmp_path: Path):
    """The run was killed between it and its exit, so whoever started it starts it again with the same input."""
    run = kept(tmp_path, entered(1), Finished(0), Emitted(1), Resumed(), Emitted(1))
    assert known(run) == [1]
    assert known(kept(tmp_path, entered(1), Finished(0), Emitted(1), finished=True)) == []


def test_new_tickets_are_above_all_that_were_given(tmp_path: Path):
    """Also above those of dead letters that were tried again."""
    assert kept(tmp_path, entered(3), Retried("a", msgspec.Raw(b"1"), 7), entered(4)).last_ticket == 7


def test_who_holds_a_session_is_told_to_who_comes_second(tmp_path: Path):
    """And whether the last one was killed, to who comes next."""
    env = {"XDG_STATE_HOME": str(tmp_path)}
    with hold_session("memory:", "a", env) as first:
        assert not first.was_killed
        with pytest.raises(ConfigError, match=str(os.getpid())), hold_session("memory:", "a", env):
            pass
        with hold_session("memory:", "b", env) as other:
            assert not other.was_killed


def test_an_error_is_an_end_that_was_told(tmp_path: Path):
    """Whoever ran it has seen it."""
    env = {"XDG_STATE_HOME": str(tmp_path)}
    with pytest.raises(ZeroDivisionError), hold_session("memory:", "a", env):
        raise ZeroDivisionError
    with pytest.raises(ConfigError), hold_session("memory:", "a", env):
        raise ConfigError("again")


def test_what_a_run_was_brought_back_from_is_forgotten(tmp_path: Path):
    """Only how many commits there are is known then: it goes on behind them. Who reads again reads all."""
    run = kept(tmp_path, entered(1))
    for number in range(3):
        run.log.append([run.log.store_body(b"%d" % number)])
    run.forget()
    run.log.append([run.log.store_body(b"3")])
    assert (run.history, run.log.seen) == ([], 4)
    assert not any(commit.entries for commit in run.log._tail.commits)
    assert [each.entry.text for each in run.log.entries() if not each.derived] == ["0", "1", "2", "3"]
    run.log.append([])
    assert len(run.log.read()) == 5
