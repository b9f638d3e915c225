"""The worker behind ``handler { ... }``: a message is pushed and decided once, and answered as often as it is asked."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from handler_scripts import python

from fabric.errors import SessionExists
from fabric.handlers.serving import answer_of, open_served
from fabric.store.bucket import Bucket
from fabric.store.log import Log
from fabric.store.memory import MemoryStore
from fabric.store.opening import SCHEMES, open_store
from fabric.store.record import Commit, entry_of
from fabric.wire.codec import Question
from fabric.wire.payload import JSON
from fabric.wire.spec import WorkerSpec
from fabric.worker import MessageFailed
from fabric.worker.context import Work, at_work
from fabric.worker.failure import FunctionFailed

TRACE = bytes(range(16))

COUNTING = """
import base64, json, pathlib, sys
calls = pathlib.Path("calls")
calls.write_bytes((calls.read_bytes() if calls.exists() else b"") + b".")
kinds = [json.loads(line)["event"] for line in sys.stdin]
def write(body, type="application/json", **more):
    print(json.dumps({"data": base64.b64encode(body).decode(), "content-type": type, **more}))
def pause(**more): write(b"", "application/vnd.pugmark.pause+text", **more)
"""


class Desk:
    """A handler, its session and its messages.

    Args:
        folder: where it works, with its bucket.
        script: what it does, behind ``COUNTING``.
    """

    def __init__(self, folder: Path, script: str, **config: Any) -> None:
        self._folder = folder
        config = {"bucket": f"{folder}/bucket", "session": "r/n", "command": python(COUNTING + script), **config}
        self.spec = WorkerSpec("n", "handler", JSON, JSON, {"call": "n", **config}, str(folder))

    @property
    def calls(self) -> int:
        """How often the handler was invoked."""
        path = self._folder / "calls"
        return len(path.read_bytes()) if path.exists() else 0

    @property
    def log(self) -> Log:
        return Bucket(open_store(self.spec.config["bucket"])).open("r/n")

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Callable[[int, Any], Any]]:
        """Give what answers message n; the worker ends with the block."""
        async with open_served(self.spec) as function:

            async def answers(n: int, value: Any, at_most: int = 1000) -> list[Any]:
                found: list[Any] = []
                work = Work()
                work.question = Question(b"\1" + TRACE, n.to_bytes(8), b"", b"", 0)
                with at_work(work):
                    given = cast("AsyncGenerator[Any]", function.call(function.read(json.dumps(value).encode())))
                    async with aclosing(given):
                        async for output in given:
                            found.append(output)
                            if len(found) == at_most:
                                break
                return found

            yield answers


TWO = """
if kinds[-1] == "push" and kinds.count("push") % 3 == 1:
    write(b'{"n": 1}', name="a")
    write("text \\u2713".encode(), "text/plain; charset=utf-8")
    pause()
"""


async def test_a_message_is_decided_once(tmp_path: Path) -> None:
    """What is given again gives the same outputs again, whoever asks, and the handler is not run for it."""
    desk = Desk(tmp_path, TWO)
    async with desk.worker() as answers:
        assert await answers(1, {"x": 1}) == [{"n": 1}, "text ✓"]
        assert await answers(1, {"x": 1}) == [{"n": 1}, "text ✓"]
        assert await answers(2, "next") == [{"n": 1}, "text ✓"]
    async with desk.worker() as answers:
        assert await answers(2, "next", at_most=1) == [{"n": 1}]
        assert await answers(2, "next") == [{"n": 1}, "text ✓"]
        assert await answers(1, {"x": 1}) == [{"n": 1}, "text ✓"]
    assert desk.calls == 2
    pushed = [commit.entries[0] for commit in desk.log.read() if commit.kind == "client"]
    assert [(entry.text, entry.content_type) for entry in pushed] == [
        ('{"x": 1}', "application/json"), ('"next"', "application/json"),
    ]  # fmt: skip


async def test_a_worker_that_was_killed_between_decisions(tmp_path: Path) -> None:
    """The next one goes on behind the last decision."""
    desk = Desk(tmp_path, "if len(kinds) < 5: write(json.dumps(len(kinds)).encode())\n")
    async with desk.worker() as answers:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(answers, 1, "go")
                while len(desk.log.read()) < 2:
                    await trio.sleep(0.01)
                scope.cancel()
    before = desk.calls
    async with desk.worker() as answers:
        assert await answers(1, "go") == [2, 3, 4]
    assert before < desk.calls


async def test_silence_is_an_answer(tmp_path: Path) -> None:
    """A handler that has nothing to say is asked once."""
    desk = Desk(tmp_path, "")
    async with desk.worker() as answers:
        assert await answers(1, None) == []
        assert await answers(1, None) == []
    assert desk.calls == 1


SLEEPING = """
if kinds[-1] == "wake": write(b'"woken"')
elif kinds[-1] == "push" and "wake" not in kinds: pause(metadata={"duration": "0.05s"})
"""


async def test_a_sleep_is_part_of_its_message(tmp_path: Path) -> None:
    """The message is done when the sleep is over, and what comes then is its answer."""
    desk = Desk(tmp_path, SLEEPING)
    async with desk.worker() as answers:
        assert await answers(1, "go") == ["woken"]
    assert [commit.pause is not None for commit in desk.log.read()] == [False, True, False, False]


async def test_a_message_that_cannot_be_decided_is_given_up(tmp_path: Path) -> None:
    """After its retries; it stays in the log, and the next decision sees it, too."""
    desk = Desk(
        tmp_path, "if len(kinds) < 3: sys.exit(3)\nelse: write(json.dumps(kinds).encode()); pause()\n", retries=1
    )
    async with desk.worker() as answers:
        with pytest.raises(MessageFailed, match="of session r/n failed: it ended with status 3"):
            await answers(1, "bad")
        assert desk.calls == 2
        assert await answers(2, "good") == [["start", "push", "push"]]
        assert await answers(1, "bad") == []


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ('b"\\x00", "application/octet-stream"', "expected JSON .* got application/octet-stream"),
        ('b"x", ""', "got no content type"),
        ('b"{", "application/json"', "wrote 'an object': "),
        ('b"\\xff", "text/plain"', "expected text in UTF-8, got 1 other bytes"),
    ],
)
async def test_what_is_no_value_is_refused(tmp_path: Path, written: str, reason: str) -> None:
    """A body that is neither JSON nor text cannot go on; the error names the message."""
    desk = Desk(tmp_path, f"write({written})\npause()\n")
    async with desk.worker() as answers:
        with pytest.raises(FunctionFailed, match=reason) as raised:
            await answers(7, None)
    assert raised.value.span_id == (7).to_bytes(8)


async def test_what_is_for_others_is_no_output(tmp_path: Path) -> None:
    """Forks, deliveries and memory are done, and do not go on in the program."""
    desk = Desk(
        tmp_path,
        'write(b"1", fork=True); write(b"2", session="other"); write(b"3", name="notes/x"); write(b"4"); pause()\n',
    )
    bucket = Bucket(open_store(desk.spec.config["bucket"]))
    bucket.start(session="other")
    async with desk.worker() as answers:
        desk.log.share("notes")
        assert await answers(1, None) == [4]
    assert len(desk.log.children()) == 1
    assert [entry.entry.text for entry in bucket.open("other").entries() if entry.entry.event == "push"] == ["2"]


async def test_a_session_of_that_id_with_other_metadata(tmp_path: Path) -> None:
    """A changed program does not take over a session that was begun as somebody else."""
    async with Desk(tmp_path, "", agent="clerk").worker():
        pass
    with pytest.RaisesGroup(SessionExists, flatten_subgroups=True, allow_unwrapped=True):
        async with Desk(tmp_path, "", agent="other").worker():
            pass


def test_answers_end_with_the_next_message() -> None:
    """What somebody else pushed in between ends nothing, and is no output."""

    def commit(kind: Any, text: str, key: str = "") -> Commit:
        return Commit(text, kind, 0, 0.0, entries=(entry_of("push", text.encode()),), key=key)

    commits = [
        commit("client", "m1", "message/a"), commit("handler", "1"), commit("client", "by hand"),
        commit("handler", "2"), commit("client", "m2", "message/b"), commit("handler", "3"),
    ]  # fmt: skip
    assert [entry.text for entry in answer_of(commits, 0, set())] == ["1", "2"]
    assert [entry.text for entry in answer_of(commits, 4, set())] == ["3"]


async def test_the_session_of_a_forked_run_goes_on_as_a_fork(tmp_path: Path) -> None:
    """It was made with all that its handler remembers; another one of its id is refused as ever."""
    first = Desk(tmp_path, TWO)
    async with first.worker() as answers:
        assert await answers(1, 1) == [{"n": 1}, "text ✓"]
    first.log.fork(session="fork/n")
    fork = Desk(tmp_path, "write(json.dumps(kinds).encode()); pause()", session="fork/n")
    async with fork.worker() as answers:
        assert await answers(2, 2) == [["start", "push", "push", "push", "wake", "fork", "push"]]
    with pytest.raises(SessionExists):
        async with Desk(tmp_path, TWO, session="fork/n", agent="another").worker():
            pass


class Watched(MemoryStore):
    """Keeps what was asked of it by a thread that has an event loop to run."""

    def __init__(self) -> None:
        super().__init__()
        self.blocking: list[str] = []

    def create(self, key: str, body: bytes) -> bool:
        self._look(f"create {key}")
        return super().create(key, body)

    def get(self, key: str) -> bytes | None:
        self._look(f"get {key}")
        return super().get(key)

    def list(self, prefix: str, after: str = "") -> Any:
        self._look(f"list {prefix}")
        return super().list(prefix, after)

    def _look(self, what: str) -> None:
        if trio.lowlevel.in_trio_run():
            self.blocking.append(what)


async def test_a_slow_bucket_holds_up_nobody_else(tmp_path: Path) -> None:
    """It is asked in threads alone; the worker's loop has its heartbeats to answer."""
    store = Watched()
    SCHEMES["watched"] = lambda _: store
    try:
        async with Desk(tmp_path, TWO, bucket="watched:").worker() as answers:
            assert await answers(1, "go") == [{"n": 1}, "text ✓"]
    finally:
        del SCHEMES["watched"]
    assert store.blocking == []
