"""A pipeline runs from whatever calls it: a thread, a task of trio or asyncio, a function of another pipeline."""

from __future__ import annotations

import asyncio
import itertools
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import trio
import trio.testing
from pydantic import BaseModel, field_validator

from fabric.pipelines import PipelineRunner, RunContext
from fabric.pipelines.errors import StepExecutionError
from fabric.pipelines.runs import calling
from tests.support.pipeline_folders import Tape, folder_of, mock
from tests.support.pipeline_functions import module_of

PATIENCE_S = 20.0


def where(**given: Any) -> int:
    """Return the thread in which this is called."""
    return threading.get_ident()


def runner_of(folder: Path, function: Callable[..., Any] = where) -> PipelineRunner:
    """Return a runner with one ``io`` step."""
    m = module_of(function=function)
    return PipelineRunner(folder_of(folder, f"steps:\n  - {{name: a, type: io, fn: '{m}:function'}}\n"))


def threads_of_hooks(runner: PipelineRunner) -> list[int]:
    """Return a list to which each hook adds the thread in which it is called."""
    threads: list[int] = []
    runner.on_run_start(lambda given: threads.append(threading.get_ident()))
    runner.on_step_end(lambda *told: threads.append(threading.get_ident()))
    runner.on_run_end(lambda context: threads.append(threading.get_ident()))
    return threads


def run_in(kind: str, runner: PipelineRunner) -> RunContext:
    """Call ``run`` in a plain thread, or in a task of a loop."""
    if kind == "thread":
        return runner.run({})

    async def main() -> RunContext:
        return runner.run({})

    return trio.run(main) if kind == "trio" else asyncio.run(main())


@pytest.mark.parametrize("kind", ["thread", "trio", "asyncio"])
def test_run_calls_hooks_and_functions_in_the_thread_of_its_caller(tmp_path: Path, kind: str) -> None:
    """Also if a loop runs in that thread."""
    runner = runner_of(tmp_path)
    threads = threads_of_hooks(runner)

    context = run_in(kind, runner)

    here = threading.get_ident()
    assert context.steps["a"].value == here
    assert threads == [here, here, here]


@pytest.mark.parametrize("kind", ["trio", "asyncio"])
def test_arun_lets_other_tasks_go_on(tmp_path: Path, kind: str) -> None:
    """The function waits for what another task of the caller does; hooks are called in the thread of the loop."""
    go = threading.Event()
    runner = runner_of(tmp_path, lambda: go.wait(PATIENCE_S))
    threads = threads_of_hooks(runner)

    async def in_trio() -> RunContext:
        result: list[RunContext] = []

        async def run() -> None:
            result.append(await runner.arun({}))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.lowlevel.checkpoint()
            go.set()
        return result[0]

    async def in_asyncio() -> RunContext:
        task = asyncio.create_task(runner.arun({}))
        await asyncio.sleep(0)
        go.set()
        return await task

    context = trio.run(in_trio) if kind == "trio" else asyncio.run(in_asyncio())

    assert context.steps["a"].value is True
    assert threads == [threading.get_ident()] * 3


@pytest.mark.parametrize("reads", ["parser", "schema"])
def test_arun_lets_other_tasks_go_on_while_an_answer_is_read(tmp_path: Path, reads: str) -> None:
    """Parsers and validators are functions of the user's, and may take their time."""
    go = threading.Event()

    class Slow(BaseModel):
        n: int

        @field_validator("n")
        @classmethod
        def wait(cls, n: int) -> int:
            return n if go.wait(PATIENCE_S) else -1

    m = module_of(parser=lambda text: go.wait(PATIENCE_S), schema=Slow)
    step = f"steps: [{{name: a, model: default, prompt: prompts/extract.j2, {reads}: '{m}:{reads}'}}]\n"
    text = mock('{"n": 1}') + step
    runner = PipelineRunner(folder_of(tmp_path, text, {"prompts/extract.j2": "Read."}))

    async def main() -> RunContext:
        result: list[RunContext] = []

        async def run() -> None:
            result.append(await runner.arun({}))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.testing.wait_all_tasks_blocked()
            go.set()
        return result[0]

    context = trio.run(main)

    assert context.steps["a"].value == (True if reads == "parser" else Slow(n=1))


class TwoAnswers(Tape):
    """Answers wrong, as soon as a hook is called, and then well."""

    def __init__(self) -> None:
        super().__init__("nothing", '{"n": 1}')
        self.hook_began, self.asked_again = threading.Event(), threading.Event()

    def create(self, **request: Any) -> Any:
        """Play an answer."""
        if self.calls:
            self.asked_again.set()
        else:
            self.hook_began.wait(PATIENCE_S)
        return super().create(**request)


@pytest.mark.parametrize("kind", ["thread", "trio", "asyncio"])
def test_a_run_goes_on_while_a_hook_takes_its_time(tmp_path: Path, kind: str) -> None:
    """The hook of the first step waits until the model of the second one has been asked again."""
    tape, m = TwoAnswers(), module_of(function=where)
    steps = f"""
steps:
  - {{name: a, type: transform, fn: '{m}:function', on_error: continue}}
  - {{name: b, model: default, prompt: prompts/extract.j2, schema: {{n: int}}}}
"""
    runner = PipelineRunner(folder_of(tmp_path, tape.block() + steps, {"prompts/extract.j2": "Read."}))
    came: list[bool] = []

    @runner.on_step_end
    def wait(name: str, *others: object) -> None:
        if name == "a":
            tape.hook_began.set()
            came.append(tape.asked_again.wait(PATIENCE_S))

    context = run_in(kind, runner)

    assert not context.failed, context.failure_state
    assert came == [True]


def test_a_function_may_have_a_loop_of_its_own(tmp_path: Path) -> None:
    """It has the thread of the caller, in which nothing else runs."""

    async def main() -> str:
        return "ran"

    context = runner_of(tmp_path, lambda: (trio.run(main), asyncio.run(main()))).run({})

    assert context.steps["a"].value == ("ran", "ran")


def test_two_runs_of_one_runner_at_once_do_not_mix(tmp_path: Path) -> None:
    """Each waits for the other, and gets its own input."""
    both = threading.Barrier(2, timeout=PATIENCE_S)

    def meet(v: str) -> str:
        both.wait()
        return v

    m = module_of(meet=meet)
    text = f"steps:\n  - {{name: a, type: transform, fn: '{m}:meet', inputs: {{v: '{{{{ ctx.v }}}}'}}}}\n"
    runner = PipelineRunner(folder_of(tmp_path, text))

    async def main() -> list[RunContext]:
        return await asyncio.gather(runner.arun({"v": "x"}), runner.arun({"v": "y"}))

    assert [context.steps["a"].value for context in asyncio.run(main())] == ["x", "y"]


def test_a_function_may_run_another_pipeline(tmp_path: Path) -> None:
    """It is called in a thread in which trio runs already, and ``run`` knows."""
    inner = runner_of(tmp_path / "inner")
    outer = runner_of(tmp_path / "outer", lambda: inner.run({}).steps["a"].value)

    assert outer.run({}).steps["a"].value == threading.get_ident()


@pytest.mark.parametrize(("kind", "is_done"), [("io", True), ("validate", True), ("transform", False)])
def test_effects_are_done_when_a_run_that_was_cancelled_has_ended(tmp_path: Path, kind: str, is_done: bool) -> None:
    """Whoever runs it again does not do them beside themselves. Others are left behind, and no hook hears of either."""
    began, go, done = threading.Event(), threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        go.wait(PATIENCE_S)
        done.set()

    m = module_of(function=wait)
    runner = PipelineRunner(folder_of(tmp_path, f"steps:\n  - {{name: a, type: {kind}, fn: '{m}:function'}}\n"))
    ended: list[RunContext] = []
    runner.on_run_end(ended.append)

    async def main() -> None:
        task = asyncio.create_task(runner.arun({}))
        await asyncio.to_thread(began.wait, PATIENCE_S)
        task.cancel()
        if is_done:
            go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done.is_set() == is_done

    try:
        asyncio.run(main())
    finally:
        go.set()
    assert ended == []


@pytest.mark.parametrize("ends", [SystemExit(3), GeneratorExit()])
def test_what_would_end_the_process_is_a_failure_of_the_step(tmp_path: Path, ends: BaseException) -> None:
    """``sys.exit`` in a function, say; Ctrl-C still ends the run."""

    def end() -> None:
        raise ends

    failure = runner_of(tmp_path, end).run({}).failure_state
    assert failure is not None
    assert type(failure.exception) is StepExecutionError
    assert str(failure.exception) == f"its function would end the process: {ends!r}"
    assert failure.exception.__cause__ is ends

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner_of(tmp_path, interrupt).run({})


async def _later() -> int:
    return 1


async def _some() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("function", "kind"),
    [(lambda: _later(), "coroutine"), (lambda: _some(), "async_generator"), (lambda: (n for n in (1, 2)), "generator")],
)
def test_what_somebody_has_to_await_or_go_through_is_no_value(
    tmp_path: Path, function: Callable[[], Any], kind: str
) -> None:
    """It is a failure of the step, which says what it gave."""
    context = runner_of(tmp_path, function).run({})
    assert context.failure_state is not None
    assert type(context.failure_state.exception) is StepExecutionError
    assert f"gave a {kind}, which is no value yet" in str(context.failure_state.exception)


class CtrlC:
    """Raises KeyboardInterrupt before a line of ``calling.py`` that this thread is about to run.

    Args:
        line: which one, counted from 0 as they come.
    """

    def __init__(self, line: int) -> None:
        self._left = line
        self.came = False

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        """Trace a frame."""
        if frame.f_code.co_filename != calling.__file__ or self.came:
            return None
        if event == "line":
            self._left -= 1
            if self._left < 0:
                self.came = True
                raise KeyboardInterrupt
        return self


def test_ctrl_c_may_come_at_any_time(tmp_path: Path) -> None:
    """Also when a call for the caller's thread has just been taken, and has not begun."""
    runner = runner_of(tmp_path)
    threads_of_hooks(runner)
    before = sys.gettrace()
    for line in itertools.count():
        ctrl_c, ended = CtrlC(line), False
        sys.settrace(ctrl_c)
        try:
            ended = not runner.run({}).failed
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        assert ended != ctrl_c.came, f"line {line}"
        if ended:
            break
    assert line > 20, "as many lines at least as three hooks and a function take"


WAITS = """
from fabric.pipelines import PipelineRunner
try:
    PipelineRunner({path!r}).run({{}})
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("number", [1, 2])
def test_ctrl_c_ends_a_run(tmp_path: Path, number: int) -> None:
    """One function in the thread of the caller, or two in threads of ours: the caller gets its KeyboardInterrupt."""
    steps = "".join(f"  - {{name: s{n}, type: transform, fn: 'steps:wait'}}\n" for n in range(number))
    code = "import os, threading\n\ndef wait():\n    os.write(1, b'waits\\n')\n    threading.Event().wait(60)\n"
    path = folder_of(tmp_path, f"steps:\n{steps}", {"steps.py": code})
    script = WAITS.format(path=str(path))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert [process.stdout.readline() for _ in range(number)] == ["waits\n"] * number
            process.send_signal(signal.SIGINT)
            assert process.stdout.read() == "interrupted\n"
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()


def test_what_is_kept_open_serves_any_number_of_runs(tmp_path: Path) -> None:
    """What another thread runs meanwhile has connections of its own: they belong to a loop."""
    m = module_of(function=where)
    runner = PipelineRunner(folder_of(tmp_path, f"steps:\n  - {{name: a, type: transform, fn: '{m}:function'}}\n"))

    async def main() -> list[RunContext]:
        async with runner.kept_open():
            beside = await trio.to_thread.run_sync(runner.run, {})
            return [beside, *[await runner.arun({}) for _ in range(3)]]

    assert [context.failed for context in trio.run(main)] == [False] * 4
    assert not runner.run({}).failed


async def test_several_may_keep_a_runner_open(tmp_path: Path) -> None:
    """In one task, one in the other; in two tasks of which the first to come is the first to go."""
    runner = runner_of(tmp_path)
    second_came, first_went = trio.Event(), trio.Event()

    async def first() -> None:
        async with runner.kept_open():
            await second_came.wait()
        first_went.set()

    async def second() -> None:
        async with runner.kept_open(), runner.kept_open():
            second_came.set()
            await first_went.wait()
            assert not (await runner.arun({})).failed

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        nursery.start_soon(second)
    assert not (await runner.arun({})).failed


async def test_a_task_that_outlives_what_was_kept_open_goes_on(tmp_path: Path) -> None:
    """It opens connections of its own."""
    runner = runner_of(tmp_path)
    went = trio.Event()

    async def outlive() -> None:
        await went.wait()
        assert not (await runner.arun({})).failed

    async with trio.open_nursery() as nursery:
        async with runner.kept_open():
            nursery.start_soon(outlive)
        went.set()
