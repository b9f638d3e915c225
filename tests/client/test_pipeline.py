"""Programs that are talked to. Real processes; both kinds of event loops."""

from __future__ import annotations

import random
import warnings
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import called
import pytest
from called import BACKENDS, DOCTOR, function, run, write

import fabric
from fabric.client.exchange import OUTPUTS_UNREAD_MAX, SENT_MAX

pytestmark = [pytest.mark.processes, pytest.mark.parametrize("backend", BACKENDS)]


def test_messages_go_in_and_answers_come_out(backend: str, folder: Path):
    """In their order; behind the end there is nothing, however often one looks."""
    program = write(folder, function("more"))

    async def talk() -> list[Any]:
        async with await fabric.run(program) as pipeline:
            for number in range(5):
                await pipeline.send(number)
            found = [await pipeline.recv() for _ in range(5)]
            await pipeline.close_input()
            await pipeline.close_input()
            found += [await pipeline.recv(), await pipeline.recv()]
            return [*found, await pipeline.shutdown()]

    assert run(backend, talk) == [1, 2, 3, 4, 5, None, None, 0]


def test_a_call_gets_what_comes_of_its_message(backend: str, folder: Path):
    """All of it, and nothing else; what comes of other messages goes to who reads."""
    program = write(folder, function("each"))
    found: dict[int, list[Any]] = {}

    async def call(pipeline: fabric.Pipeline, count: int) -> None:
        found[count] = await pipeline.call(count)

    async def talk() -> list[Any]:
        async with await fabric.run(program) as pipeline:
            async with anyio.create_task_group() as group:
                for count in range(5):
                    group.start_soon(call, pipeline, count)
                await pipeline.send(2)
            await pipeline.close_input()
            return [event async for event in pipeline]

    assert run(backend, talk) == [fabric.Output(0), fabric.Output(1)]
    assert found == {count: list(range(count)) for count in range(5)}


def test_telemetry_is_apart_from_outputs(backend: str, folder: Path):
    """Who reads outputs leaves it; who reads events gets both, in order."""
    program = write(folder, DOCTOR)

    async def talk(pipeline: fabric.Pipeline) -> list[str]:
        await pipeline.send("I feel sad")
        assert isinstance(await pipeline.recv(), str)
        await pipeline.close_input()
        told = []
        while (telemetry := await pipeline.recv_telemetry()) is not None:
            assert telemetry.agent == "doctor"
            told.append(telemetry.payload["kind"])
        return told

    async def twice() -> tuple[list[str], list[str]]:
        async with await fabric.run(program) as pipeline:
            first = await talk(pipeline)
        async with await fabric.run(program) as pipeline:
            await pipeline.send("I feel sad")
            await pipeline.close_input()
            events = [event async for event in pipeline]
        kinds = [event.payload["kind"] if isinstance(event, fabric.Telemetry) else "OUTPUT" for event in events]
        return first, kinds

    first, second = run(backend, twice)
    assert sorted(second) == sorted([*first, "OUTPUT"])
    assert {"usage", "output"} <= set(first)


def test_without_telemetry_there_is_none(backend: str, folder: Path):
    """And who asks for it is told."""
    program = write(folder, DOCTOR)

    async def talk() -> list[fabric.Event]:
        async with await fabric.run(program, verbose=False) as pipeline:
            await pipeline.send("I feel sad")
            await pipeline.close_input()
            with pytest.raises(fabric.PipelineError, match="verbose=False"):
                await pipeline.recv_telemetry()
            return [event async for event in pipeline]

    (event,) = run(backend, talk)
    assert isinstance(event, fabric.Output)


def test_an_observed_port_can_be_heard(backend: str, folder: Path):
    """Worker and message; a port that was not asked for cannot."""
    program = write(folder, DOCTOR)

    async def talk() -> list[tuple[str, Any]]:
        async with await fabric.run(program, verbose=False, extra=("telemetry",)) as pipeline:
            await pipeline.call("I feel sad")
            with pytest.raises(fabric.PipelineError, match="port 'ctrl_out' is not observed; 'telemetry' is"):
                pipeline.extra("ctrl_out")
            await pipeline.close_input()
            return [heard async for heard in pipeline.extra("telemetry")]

    heard = run(backend, talk)
    assert {worker for worker, _ in heard} == {"doctor"}
    assert "usage" in [payload["kind"] for _, payload in heard]


# --- Failures --------------------------------------------------------------------------------------------------------


def test_a_message_of_another_type_is_refused_and_the_program_goes_on(backend: str, folder: Path):
    """At once, to who sends it."""
    program = write(folder, function("more"))

    async def talk() -> Any:
        async with await fabric.run(program) as pipeline:
            for give in (pipeline.send, pipeline.call):
                with pytest.raises(fabric.PipelineError, match="expected int, got string") as caught:
                    await give("x")
                assert (caught.value.returncode, caught.value.code) == (0, "input_type_mismatch")
            await pipeline.send(1)
            return await pipeline.recv()

    assert run(backend, talk) == 2


def test_who_sends_too_late_is_told(backend: str, folder: Path):
    """Behind the end of the input, and behind the end."""
    program = write(folder, function("more"))

    async def talk() -> None:
        async with await fabric.run(program) as pipeline:
            await pipeline.close_input()
            with pytest.raises(fabric.PipelineError, match="the input is closed"):
                await pipeline.send(1)
            assert await pipeline.recv() is None
            with pytest.raises(fabric.PipelineError, match="the program has ended"):
                await pipeline.send(1)

    run(backend, talk)


def test_a_failure_is_told_to_each_reader_behind_what_came_before(backend: str, folder: Path):
    """To senders, too; the end of the block does not say it again."""
    program = write(folder, function("odd"))

    async def talk() -> list[Any]:
        async with await fabric.run(program) as pipeline:
            found = []
            for number in (1, 3, 2):
                await pipeline.send(number)
            found += [await pipeline.recv() for _ in range(2)]
            for read in (pipeline.recv, pipeline.recv_event, pipeline.recv_telemetry, partial(pipeline.send, 1)):
                with pytest.raises(fabric.PipelineError, match="expected int, got string") as caught:
                    await read()
                found.append(caught.value.code)
            return [*found, await pipeline.shutdown()]

    assert run(backend, talk) == [1, 3, *["child_died"] * 4, 1]


def test_a_failure_that_nobody_was_told_of_is_raised_at_the_end(backend: str, folder: Path):
    """Nothing fails in silence."""
    program = write(folder, function("fail"))

    async def talk() -> None:
        async with await fabric.run(program) as pipeline:
            await pipeline.send(1)

    with pytest.raises(fabric.PipelineError, match="ValueError: not 1"):
        run(backend, talk)


def test_who_calls_is_told_of_a_failure(backend: str, folder: Path):
    """Instead of the answer."""
    program = write(folder, function("fail"))

    async def talk() -> str:
        async with await fabric.run(program) as pipeline:
            with pytest.raises(fabric.PipelineError, match="ValueError: not 1") as caught:
                await pipeline.call(1)
            return caught.value.code

    assert run(backend, talk) == "child_died"


@pytest.mark.parametrize("read", ["recv", "recv_event", "iterate"])
def test_readers_are_told_once_of_a_dead_letter_and_the_program_goes_on(read: str, backend: str, folder: Path):
    """In the order of the outputs, by each way of reading; the exit code tells of it all the same."""
    program = write(folder, function("dies"))

    async def talk() -> list[Any]:
        async with await fabric.run(program) as pipeline:
            take = {"recv": pipeline.recv, "recv_event": pipeline.recv_event, "iterate": aiter(pipeline).__anext__}
            for number in (2, 1, 4):
                await pipeline.send(number)
            found = []
            while len(found) < 3:
                try:
                    event = await take[read]()
                except fabric.PipelineError as error:
                    found.append((error.code, error.returncode, error.detail.partition(": a dead letter: ")[0]))
                else:
                    if not isinstance(event, fabric.Telemetry):
                        found.append(event.data if isinstance(event, fabric.Output) else event)
            await pipeline.close_input()
            return [*found, await pipeline.recv(), await pipeline.shutdown()]

    assert run(backend, talk) == [2, ("dead_lettered", 0, "worker 'f'"), 4, None, 5]


def test_who_calls_is_told_of_his_own_dead_letter_only(backend: str, folder: Path):
    """Nobody is told of it again: neither those who read nor the end of the block."""
    program = write(folder, function("dies"))

    async def talk() -> list[Any]:
        async with await fabric.run(program) as pipeline:
            with pytest.raises(fabric.PipelineError, match="a dead letter") as caught:
                await pipeline.call(1)
            assert await pipeline.call(2) == [2]
            await pipeline.close_input()
            return [caught.value.code, caught.value.returncode, await pipeline.recv()]

    assert run(backend, talk) == ["dead_lettered", 0, None]


def test_a_dead_letter_that_nobody_was_told_of_is_raised_at_the_end(backend: str, folder: Path):
    """Nothing is lost in silence."""
    program = write(folder, function("dies"))

    async def send() -> None:
        async with await fabric.run(program) as pipeline:
            await pipeline.send(1)

    with pytest.raises(fabric.PipelineError, match="a dead letter"):
        run(backend, send)


def test_a_refusal_that_was_told_is_not_raised_again(backend: str, folder: Path):
    """The program ends of it; who called knows."""
    program = write(folder, "let main : !json -> !json = plumb(input, output) { input ; map({a: a}) ; output }\n")

    async def talk() -> int:
        async with await fabric.run(program) as pipeline:
            with pytest.raises(fabric.PipelineError) as caught:
                await pipeline.call(3)
            return caught.value.returncode

    assert run(backend, talk) == 1


def test_a_pipeline_that_nobody_holds_any_more_is_told_of(backend: str, folder: Path):
    """With the name of its program; the engine ends it with the rest."""
    program = write(folder, DOCTOR)

    async def forget() -> None:
        pipeline = await fabric.run(program)
        link = pipeline._link
        with pytest.warns(ResourceWarning, match=f"pipeline of {program}"):
            del pipeline
        link.stop()
        async with await fabric.run(program) as kept:
            await kept.shutdown()

    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        run(backend, forget)


# --- Its end ---------------------------------------------------------------------------------------------------------


def test_what_is_inside_at_the_end_of_the_block_is_finished(backend: str, folder: Path):
    """Also if nobody has read what came of it."""
    write(folder, "")
    (folder / "functions.py").write_text(
        "def keep(value):\n    open(f'{value}.done', 'w').close()\n    return value\n",
    )
    program = folder / "keep.plumb"
    program.write_text(function("keep"))

    async def talk() -> None:
        async with await fabric.run(program) as pipeline:
            for number in range(20):
                await pipeline.send(number)

    run(backend, talk)
    assert len(list(folder.glob("*.done"))) == 20


def test_a_program_that_does_not_finish_is_ended_by_force(backend: str, folder: Path):
    """And says what was lost, unless one has the exit code."""
    program = write(folder, function("wait"))

    async def talk() -> int:
        async with await fabric.run(program) as pipeline:
            await pipeline.send(1)
            return await pipeline.shutdown(0.1)

    async def leave() -> None:
        async with await fabric.run(program) as pipeline:
            await pipeline.send(1)
            with anyio.move_on_after(0.1):
                await pipeline.shutdown()
            with pytest.raises(fabric.PipelineError, match="ended by force"):
                await pipeline.recv()

    assert run(backend, talk) == 143
    run(backend, leave)


def test_an_error_in_the_block_ends_it_by_force(backend: str, folder: Path):
    """It is the one that is raised, and nothing is left by then."""
    program = write(folder, function("wait"))

    async def fail() -> None:
        async with await fabric.run(program) as pipeline:
            await pipeline.send(1)
            raise LookupError("mine")

    async def talk() -> list[Any]:
        with pytest.raises(LookupError, match="mine"):
            await fail()
        return [*called.leftovers(), *called.run_directories()]

    assert run(backend, talk) == []


# --- Back-pressure and cancellation ----------------------------------------------------------------------------------


async def until_it_waits(pipeline: fabric.Pipeline, numbers: list[int], unread: int) -> None:
    """Send numbers until there is no room for a while, and so many outputs lie unread."""
    while True:
        with anyio.move_on_after(0.5) as waiting:
            await pipeline.send(len(numbers))
        if not waiting.cancelled_caught:
            numbers.append(len(numbers))
        elif pipeline._exchange.unread >= unread:
            return


def test_who_sends_waits_for_the_graph(backend: str, folder: Path):
    """A worker that does nothing is full some time; what was cancelled while it waited was not sent."""
    program = write(folder, function("wait"))
    (folder / "fabric.toml").write_text("[edges]\nqueue = 10\n")

    async def talk() -> int:
        numbers: list[int] = []
        async with await fabric.run(program) as pipeline:
            await until_it_waits(pipeline, numbers, 0)
            await pipeline.shutdown(0.0)
        return len(numbers)

    assert SENT_MAX < run(backend, talk) < 1_000


def test_who_sends_waits_for_those_who_read(backend: str, folder: Path):
    """Outputs that nobody reads are bounded; all that was sent comes out when somebody does."""
    program = write(folder, function("more"))

    async def talk() -> tuple[int, list[Any]]:
        numbers: list[int] = []
        async with await fabric.run(program) as pipeline:
            await until_it_waits(pipeline, numbers, OUTPUTS_UNREAD_MAX)
            sent = len(numbers)
            await pipeline.close_input()
            found = []
            while (value := await pipeline.recv()) is not None:
                found.append(value)
        return sent, found

    sent, found = run(backend, talk)
    assert OUTPUTS_UNREAD_MAX <= sent < OUTPUTS_UNREAD_MAX + 2_000  # a queue of the graph takes 1,000
    assert found == list(range(1, sent + 1))


def test_readers_that_are_cancelled_lose_nothing(backend: str, folder: Path):
    """Two at once, each cancelled again and again at other points."""
    program = write(folder, function("more"))
    chance = random.Random(1)
    found: list[Any] = []
    count = 300

    async def read(pipeline: fabric.Pipeline) -> None:
        value: Any = 0
        while value is not None:
            value = 0
            with anyio.move_on_after(chance.choice([0.0, 0.0001, 0.001])):
                value = await pipeline.recv()
                if value is not None:
                    found.append(value)

    async def write_(pipeline: fabric.Pipeline) -> None:
        number = 0
        while number < count:
            with anyio.move_on_after(chance.choice([0.0001, 0.001, 0.01])):
                await pipeline.send(number)
                number += 1
        await pipeline.close_input()

    async def talk() -> None:
        async with await fabric.run(program) as pipeline, anyio.create_task_group() as group:
            group.start_soon(write_, pipeline)
            group.start_soon(read, pipeline)
            group.start_soon(read, pipeline)

    run(backend, talk)
    assert sorted(found) == list(range(1, count + 1))


async def use(program: Path) -> None:
    async with await fabric.run(program) as pipeline:
        for number in range(10):
            await pipeline.send(number)
            await pipeline.recv()
            await pipeline.call(number)


def test_pipelines_that_are_cancelled_anywhere_leave_nothing(backend: str, folder: Path):
    """A few; ``tests/trials/calls.py`` has more."""
    program = write(folder, function("more"))
    chance = random.Random(7)

    async def one(work: Callable[[], Awaitable[None]], delay_s: float) -> None:
        with anyio.move_on_after(delay_s):
            await work()

    async def many() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(12):
                group.start_soon(one, partial(use, program), chance.random())

    run(backend, many)
