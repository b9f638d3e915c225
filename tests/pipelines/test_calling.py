"""A pipeline runs from whatever calls it: a thread, a task of trio or asyncio, a function of another pipeline."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from fabric.pipelines import PipelineRunner, RunContext
from fabric.pipelines.errors import StepExecutionError
from tests.support.pipeline_folders import folder_of
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


def test_a_run_that_is_cancelled_in_asyncio_has_ended_when_its_task_has(tmp_path: Path) -> None:
    """The function was under way; nothing calls a hook any more."""
    began, go = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        go.wait(PATIENCE_S)

    runner = runner_of(tmp_path, wait)
    ended: list[RunContext] = []
    runner.on_run_end(ended.append)

    async def main() -> None:
        task = asyncio.create_task(runner.arun({}))
        await asyncio.to_thread(began.wait, PATIENCE_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

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
    code = "import threading\n\ndef wait():\n    print('waits', flush=True)\n    threading.Event().wait(60)\n"
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
