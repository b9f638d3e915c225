"""Handlers of a run that was forked remember what the fork inherits, and nothing else."""

from __future__ import annotations

import msgspec
import pytest
from plans import plan_of

from fabric.errors import ConfigError
from fabric.runtime.handler_forks import fork_handlers
from fabric.runtime.keeping import read_once
from fabric.runtime.starting import with_session
from fabric.session.history import Entered, History, Turn, encode_history
from fabric.store.bucket import Bucket
from fabric.store.log import Log
from fabric.store.memory import MemoryStore
from fabric.store.record import entry_of

TEXT = """
let h : !int -> !int = handler { command: ["h"] }
let main : !int -> !int = plumb(i, o) { i ; h ; o }
"""
ONE, TWO = "aa" * 8, "bb" * 8


def add(run: Log, *entries: History) -> None:
    run.append([entry_of(str(type(entry).__struct_config__.tag), encode_history(entry)) for entry in entries])


def parent(bucket: Bucket) -> Log:
    """A run of which a handler has done two messages; the first is done behind the second commit."""
    run, handler = bucket.start(session="run", program="p"), bucket.start(session="run/h")
    for ticket, message in enumerate((ONE, TWO), 1):
        add(run, Entered("i", msgspec.Raw(b"1"), ticket))
        handler.push([entry_of("push", message.encode())], key=f"message/{'00' * 16}/{message}")
        handler.decide(len(handler.read()), [entry_of("push", b"answer to " + message.encode())])
        add(run, Turn("h", message))
    return run


def remembered(bucket: Bucket, run: Log) -> list[str]:
    """Make the session of the handler; return what it remembers."""
    reading = read_once(run)
    inherited = reading.history[: sum(each.entries for each in reading.inherited)]
    for _ in range(2):  # who comes again finds it
        fork_handlers(with_session(plan_of(TEXT), "memory:", run.id), bucket, run, inherited)
    return [each.entry.text or "" for each in bucket.open(f"{run.id}/h").entries() if each.entry.event == "push"]


@pytest.mark.parametrize(("at", "messages"), [(1, []), (2, [ONE]), (3, [ONE]), (4, [ONE, TWO])])
def test_a_handler_of_a_fork_remembers_the_messages_that_are_done_there(at: int, messages: list[str]):
    """With what it has decided on them."""
    bucket = Bucket(MemoryStore())
    fork = parent(bucket).fork(at, session="fork")
    assert remembered(bucket, fork) == [text for one in messages for text in (one, f"answer to {one}")]


def test_the_handler_of_a_fork_that_was_never_run_is_found_further_back():
    """A fork of a fork."""
    bucket = Bucket(MemoryStore())
    between = parent(bucket).fork(2, session="between")
    assert remembered(bucket, between.fork(session="fork")) == [ONE, f"answer to {ONE}"]


def test_a_fork_whose_handler_would_begin_with_nothing_is_refused():
    """Its agents would remember, and it would not."""
    bucket = Bucket(MemoryStore())
    fork = parent(bucket).fork(session="fork")
    bucket.delete("run/h")
    with pytest.raises(ConfigError, match=r"handler 'h' was done with 2 messages already, .* expected run/h"):
        remembered(bucket, fork)
