"""Programs that were built are run as a file in the same folder would be."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

import fabric
from fabric.dsl import Agent, BuiltCheckError, PlumbBody, Program, Python, read
from fabric.lang.source import Source

pytestmark = pytest.mark.processes

ELIZA = Agent(provider="eliza")


def doctor() -> Program:
    program = Program()
    program.let("doctor", str, str, ELIZA)
    program.let("main", str, str, PlumbBody("question", "answer").wire("question", "doctor", "answer"))
    return program


def test_it_is_called():
    """One message, all that comes of it."""
    (answer,) = doctor().call_sync("I am sad")
    assert "sad" in answer.lower()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_is_called_and_run_in_a_loop(backend):
    """Under both of them."""

    async def talk() -> tuple[list[str], str | None]:
        async with await doctor().run() as pipeline:
            await pipeline.send("I am sad")
            said = await pipeline.recv()
        return await doctor().call("I am sad"), said

    called, said = anyio.run(talk, backend=backend)
    assert called == [said]


def test_what_it_names_is_in_its_folder(tmp_path):
    """A module beside it; the same program, read again, says the same."""
    (tmp_path / "dsl_words.py").write_text("def count(text: str) -> int:\n    return len(text.split())\n")
    program = Program(directory=tmp_path)
    program.let("main", str, int, Python(call="dsl_words:count"))
    assert program.call_sync("one two three") == [3]
    assert read(program.source).call_sync("one two") == [2]


def test_what_does_not_check_is_not_started():
    """And says where it was built."""
    program = Program()
    program.let("main", str, str, "nobody")
    for attempt in (
        lambda: program.call_sync("x"),
        lambda: anyio.run(program.call, "x"),
        lambda: anyio.run(program.run),
    ):
        with pytest.raises(BuiltCheckError, match=r"built at tests/dsl/test_running.py:\d+: program.let"):
            attempt()


def test_what_it_refuses_it_refuses_as_a_file_does():
    """A message of another type."""
    with pytest.raises(fabric.PipelineError) as caught:
        doctor().call_sync(3)
    assert caught.value.code == "input_type_mismatch"


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "compose").glob("*/main.plumb")), ids=str)
def test_the_programs_of_compose_check_after_they_were_built(path):
    """Also those that use other files."""
    program = read(Source(str(path), path.read_text(encoding="utf-8")))
    assert program.check().main == fabric.check(path).main
