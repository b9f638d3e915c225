"""``place: fabric``: work that is done in real processes comes back as if it had been done here."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pipeline_workers
import pytest
import trio
from pipeline_folders import Tape, folder_of
from pipeline_workers import POST, STEPS, Note, Strange, made

from fabric.client import Telemetry
from fabric.errors import ConfigError
from fabric.pipelines import PipelineRunner
from fabric.pipelines.errors import SchemaRefError, StepExecutionError
from fabric.pipelines.remote.packing import Unpackable
from fabric.pipelines.remote.performer import Remote, open_remote
from fabric.pipelines.spec import ModelSpec
from fabric.pipelines.work import Done, FunctionWork, HttpWork, LlmWork

pytestmark = pytest.mark.processes


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the workers find what they call, and run."""
    (tmp_path / "pipeline_workers.py").write_text(Path(pipeline_workers.__file__).read_text())
    (tmp_path / "made.yaml").write_text("steps: []\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@asynccontextmanager
async def opened(folder: Path, *names: str, **more: Any) -> AsyncIterator[Remote]:
    pipeline = made(folder / "made.yaml", *names)
    function = "pipeline_workers:Workers"
    async with open_remote(pipeline, function=function, **more) as remote:
        yield remote


def call(name: str, **inputs: Any) -> FunctionWork:
    step = STEPS[name]
    return FunctionWork(step, inputs)  # type: ignore[arg-type]


async def test_a_function_is_called_in_another_process(folder: Path):
    """Once the workers are there, any number of pieces of work is done by them, in whatever order."""
    async with opened(folder, "shout", "note") as remote:
        first = await remote.perform(call("shout", text=("a", 1)))
        second = await remote.perform(call("note", text="b"))
    assert first.error is None
    assert first.value["said"] == ("a", 1)
    assert first.value["by"] != os.getpid()
    assert second == Done(value=Note(text="b", pages=[1]))


async def test_what_a_function_raises_is_the_error_of_the_work(folder: Path):
    """Of its own class; the worker lives on."""
    async with opened(folder, "strange", "shout") as remote:
        done = await remote.perform(call("strange", text="oh"))
        after = await remote.perform(call("shout"))
    assert type(done.error) is Strange
    assert str(done.error) == "oh"
    assert after.error is None


async def test_what_cannot_be_sent_is_said_with_step_and_place(folder: Path):
    """On the way there and on the way back."""
    async with opened(folder, "shout", "bag") as remote:
        there = await remote.perform(call("shout", text={"x": [object()]}))
        back = await remote.perform(call("bag"))
    assert isinstance(there.error, Unpackable)
    assert str(there.error).startswith("step 'shout' cannot go to a worker: inputs.text.x[0] is a object; expected")
    assert isinstance(back.error, Unpackable)
    assert str(back.error).startswith(
        "what step 'bag' bag gave cannot come from a worker: its value is a set; expected"
    )
    assert "place: local" in str(back.error)


async def test_workers_get_the_variables_that_the_file_names_and_no_others(folder: Path):
    """The key of a model is theirs by that, and what it is called is all that is sent."""
    async with opened(folder, "shout", "ask") as remote:
        said = await remote.perform(call("shout", text="tok-123456"))
        model = ModelSpec(
            name="m", model="other", api_key="tok-123456", block={"api_key": "tok-123456", "model": "other"}
        )
        asked = await remote.perform(LlmWork(STEPS["ask"], model, [{"role": "user", "content": "hey"}], reply_number=4))  # type: ignore[arg-type]
        foreign = await remote.perform(LlmWork(STEPS["ask"], ModelSpec(name="m", api_key="another"), []))  # type: ignore[arg-type]
    assert said.value["token"] == "tok-123456"
    assert asked.value == ["tok-123456", {"api_key": "tok-123456", "model": "other"}, 4]
    assert asked.replies == 1
    assert asked.attempts[0].raw_output == "[{'role': 'user', 'content': 'hey'}]"
    assert "another api_key in this run, and keys are never sent" in str(foreign.error)


async def test_what_questions_took_is_told_as_telemetry(folder: Path):
    """As agents tell it, so it is counted like theirs."""
    heard: list[Telemetry] = []
    async with opened(folder, "ask", hear=heard.append) as remote:
        await remote.perform(LlmWork(STEPS["ask"], pipeline_workers.MODELS["m"], []))  # type: ignore[arg-type]
        while not heard:
            await trio.lowlevel.checkpoint()
    usage = {"kind": "usage", "model": "gpt-x", "step": "ask", "prompt_tokens": 7, "completion_tokens": 2}
    assert heard == [Telemetry("steps", usage)]


async def test_a_transform_whose_worker_dies_is_done_again(folder: Path):
    """By the next process."""
    async with opened(folder, "dies_once") as remote:
        done = await remote.perform(call("dies_once", mark=str(folder / "mark")))
    assert done == Done(value="alive")
    assert (folder / "mark").read_text() == "xx"


async def test_an_io_whose_worker_dies_is_not_done_again(folder: Path):
    """It may have had its effects: the step fails and says so. What comes next finds a worker."""
    async with opened(folder, "io_dies_once", "io_shout") as remote:
        done = await remote.perform(call("io_dies_once", mark=str(folder / "mark")))
        after = await remote.perform(call("io_shout", text=1))
    assert isinstance(done.error, StepExecutionError)
    assert str(done.error) == (
        "step 'io_dies_once': worker 'steps_effects' died while it had this in hand. It has effects: they may have come"
        " about or not, and it is not done again"
    )
    assert (folder / "mark").read_text() == "x"
    assert after.value["said"] == 1


async def test_ios_that_wait_behind_one_that_dies_are_done(folder: Path):
    """Nothing of them had begun."""
    results: list[Done] = []

    async def perform(remote: Remote, work: FunctionWork) -> None:
        results.append(await remote.perform(work))

    async with opened(folder, "io_dies_once", "io_shout") as remote, trio.open_nursery() as nursery:
        nursery.start_soon(perform, remote, call("io_dies_once", mark=str(folder / "mark")))
        await trio.testing.wait_all_tasks_blocked()
        for text in range(3):
            nursery.start_soon(perform, remote, call("io_shout", text=text))
    assert sum(done.error is not None for done in results) == 1
    assert sorted(done.value["said"] for done in results if done.error is None) == [0, 1, 2]


async def test_a_transform_that_always_kills_its_worker_fails_and_the_others_go_on(folder: Path):
    """It is a dead letter in the end."""
    async with opened(folder, "dies_always", "shout") as remote:
        done = await remote.perform(call("dies_always", mark=str(folder / "mark")))
        after = await remote.perform(call("shout"))
    assert isinstance(done.error, StepExecutionError)
    assert str(done.error).startswith("step 'dies_always': worker 'steps': ")
    assert (folder / "mark").read_text() == "xxx"
    assert after.error is None


async def test_a_post_is_done_once_and_goes_where_effects_go(folder: Path):
    """Its request arrives as it was."""
    async with opened(folder, "shout") as remote:
        done = await remote.perform(HttpWork(POST, {"url": "http://x", "headers": {"Authorization": "tok-123456"}}))
    assert done.value == {"url": "http://x", "headers": {"Authorization": "tok-123456"}}


async def test_workers_with_other_names_work_at_once(folder: Path):
    """Each waits for what comes only when both have begun."""
    pids: list[int] = []

    async def perform(remote: Remote, name: str) -> None:
        done = await remote.perform(call(name, begun=str(folder / name), go=str(folder / "go")))
        pids.append(done.value)

    async with opened(folder, "waits", "waits_too") as remote, trio.open_nursery() as nursery:
        nursery.start_soon(perform, remote, "waits")
        nursery.start_soon(perform, remote, "waits_too")
        await _until(lambda: all((folder / name).exists() for name in ("waits", "waits_too")))
        (folder / "go").touch()
    assert len(set(pids)) == 2


async def test_replicas_work_at_once(folder: Path):
    """As many as the project says."""
    (folder / "fabric.toml").write_text("[workers.steps]\nreplicas = 2\n")
    pids: list[int] = []

    async def perform(remote: Remote, begun: str) -> None:
        done = await remote.perform(call("waits", begun=str(folder / begun), go=str(folder / "go")))
        pids.append(done.value)

    async with opened(folder, "waits") as remote, trio.open_nursery() as nursery:
        nursery.start_soon(perform, remote, "one")
        nursery.start_soon(perform, remote, "two")
        await _until(lambda: all((folder / name).exists() for name in ("one", "two")))
        (folder / "go").touch()
    assert len(set(pids)) == 2


async def _until(holds: Any) -> None:
    while not holds():
        await trio.lowlevel.checkpoint()


async def test_workers_for_effects_have_no_replicas(folder: Path):
    """The second message would reach another one than the first."""
    (folder / "fabric.toml").write_text("[workers.steps_effects]\nreplicas = 2\n")
    with pytest.raises(
        ConfigError, match=r"fabric.toml:1: \[workers.steps_effects\] replicas: .* cannot have replicas"
    ):
        async with opened(folder, "io_shout"):
            pass


async def test_a_class_that_workers_cannot_find_is_refused(folder: Path):
    """Before anything is started."""

    class Inner(Note):
        pass

    with pytest.raises(SchemaRefError, match=r"step 'ask': workers cannot find .*Inner"):
        async with opened(folder, "ask", schemas={"ask": Inner}):
            pass


def test_the_tests_have_the_module_that_the_workers_have():
    """By the name under which they find it, too."""
    assert sys.modules["pipeline_workers"] is pipeline_workers


def test_a_provider_that_was_registered_is_asked_where_it_was(tmp_path: Path):
    """Workers do not know it; members of an ensemble and the judge neither."""
    tape = Tape('{"a": 1}', '{"a": 2}', '{"a": 3}')
    model = f"models: {{m: {{provider: {tape.provider}, model: m}}}}\n"
    member = "prompt_string: x, schema: {a: int}, members: [{model: m, name: one}, {model: m, name: two}]"
    steps = f"steps:\n  - {{name: e, type: ensemble, {member}, judge: {{model: m}}}}\n"
    result = PipelineRunner(folder_of(tmp_path, model + steps), place="fabric").run({})
    assert not result.failed, result.failure_state
    assert [log.model for log in result.metadata["attempt_logs"]] == ["m"] * 3
    assert result.steps["e"].value.a == 3
