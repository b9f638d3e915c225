"""The workers' side of ``place: fabric``: what has effects is carried out where it was left, once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from pipeline_workers import STEPS, load, made, open_calls

from fabric.pipelines.remote.envelope import Envelopes
from fabric.pipelines.remote.serving import File, Serving
from fabric.pipelines.work import Done, FunctionWork

FILE = File("/made.yaml", "digest")


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    """What a worker calls."""
    serving = Serving(load, open_calls)
    yield serving
    await serving.close()


def message(do: str, number: int = 1, **inputs: Any) -> dict[str, Any]:
    """Return what is sent for a step with effects."""
    made_here = Envelopes(made(load(FILE).path))
    work = made_here.write_work(FunctionWork(STEPS["io_shout"], inputs))  # type: ignore[arg-type]
    said = {"do": do, "file": msgspec.to_builtins(FILE), "number": number}
    return said if do == "carry_out" else {**said, "work": work}


def done_of(answer: dict[str, Any]) -> Done:
    return Envelopes(load(FILE)).read_done(answer["done"])


async def test_what_was_left_is_carried_out(serving: Serving):
    """And nothing is before that."""
    assert await serving(message("leave", text="a")) == {"left": True}
    assert done_of(await serving(message("carry_out"))).value["said"] == "a"


async def test_what_was_not_left_here_is_not_carried_out(serving: Serving):
    """It was left with a process that died."""
    assert await serving(message("carry_out")) == {"died": True}
    assert await serving(message("leave", number=1)) == {"left": True}
    assert await serving(message("carry_out", number=2)) == {"died": True}


async def test_nothing_is_carried_out_twice(serving: Serving):
    """Whoever asks again gets no second one."""
    await serving(message("leave"))
    await serving(message("carry_out"))
    assert await serving(message("carry_out")) == {"died": True}


async def test_a_file_that_cannot_be_read_is_the_error_of_the_work():
    """The worker lives on, and so does the program."""

    def refuses(file: File) -> Any:
        raise FileNotFoundError(2, "No such file or directory", file.path)

    done = done_of(await Serving(refuses, open_calls)(message("perform")))
    assert repr(done.error) == "FileNotFoundError(2, 'No such file or directory')"


async def test_a_file_is_read_once():
    """Not for each message."""
    read: list[File] = []

    def loads(file: File) -> Any:
        read.append(file)
        return load(file)

    serving = Serving(loads, open_calls)
    for text in "ab":
        assert done_of(await serving(message("perform", text=text))).value["said"] == text
    assert read == [FILE]
    await serving.close()
