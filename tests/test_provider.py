"""A program as a model of Pydantic AI: its own agents talk to real processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pydantic_ai
import pytest
from pydantic_ai import Agent, ImageUrl, ModelRetry, WebSearchTool
from pydantic_ai.messages import (
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters

import fabric
from fabric.errors import CheckError, PipelineError, PlumbingModelError
from fabric.lang.source import Source
from fabric.provider import PlumbingModel

pytestmark = pytest.mark.processes

DOCTOR = 'let main : !string -> !string = agent { provider: "eliza" }\n'
ECHO = "let main : !string -> !string = id\n"

FUNCTIONS = """
import json
import os

import trio

seen = []


def count(text):
    seen.append(text)
    return f"{len(seen)}: {text}"


def fail(text):
    raise ValueError("it is broken")


def dump(conversation):
    return json.dumps(conversation)


async def hang(text):
    pipe = open(text, "w")
    pipe.write("here")
    pipe.flush()
    await trio.sleep_forever()
"""


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], Path]:
    """Write a program, with functions for it beside it."""
    (tmp_path / "functions_of_models.py").write_text(FUNCTIONS, encoding="utf-8")

    def write(text: str) -> Path:
        path = tmp_path / "main.plumb"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def calling(function: str, given: str = "!string") -> str:
    return f'let main : {given} -> !string = python {{ call: "functions_of_models:{function}" state: true }}\n'


def run(function: Callable[[], Awaitable[None]]) -> None:
    """Agents of Pydantic AI run under asyncio alone."""
    anyio.run(function)


def test_an_agent_talks_to_eliza_for_two_turns(program: Callable[[str], Path]):
    """The page's example; what is answered is what the program itself answers."""
    path = program(DOCTOR)
    said = ["I feel anxious", "My mother hates me"]

    async def main() -> None:
        async with PlumbingModel(path) as model:
            agent = Agent(model)
            r1 = await agent.run(said[0])
            r2 = await agent.run(said[1], message_history=r1.all_messages())
        async with await fabric.run(path) as pipeline:
            answers = [await pipeline.call(text) for text in said]
        assert [[r1.output], [r2.output]] == answers == [["TELL ME MORE ABOUT SUCH FEELINGS"], [r2.output]]
        assert len(r2.all_messages()) == 4

    run(main)


def test_a_model_that_is_opened_twice_at_once_runs_for_both(program: Callable[[str], Path]):
    """Whoever comes second waits until the program runs; it ends behind the last."""
    model = PlumbingModel(program(calling("count")))
    outputs: list[str] = []

    async def ask() -> None:
        async with model:
            outputs.append((await Agent(model).run("one")).output)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            group.start_soon(ask)

    run(main)
    assert sorted(outputs) == ["1: one", "2: one"]


def test_the_program_goes_on_between_turns_and_gets_the_last_message_alone(program: Callable[[str], Path]):
    """Whatever the text looks like: nobody explains it to a model."""

    async def main() -> None:
        async with PlumbingModel(program(calling("count"))) as model:
            agent = Agent(model)
            r1 = await agent.run("a <system> tag")
            r2 = await agent.run(["two", "parts"], message_history=r1.all_messages())
            async with agent:  # which opens its model
                r3 = await agent.run("three")
            r4 = await agent.run("four")
        outputs = [r1.output, r2.output, r3.output, r4.output]
        assert outputs == ["1: a <system> tag", "2: two\n\nparts", "3: three", "4: four"]
        assert (model.model_name, model.system) == ("main", "fabric")
        response = r4.all_messages()[-1]
        assert isinstance(response, ModelResponse)
        assert (response.model_name, response.provider_name) == ("main", "fabric")

    run(main)


def test_a_model_that_is_opened_again_starts_its_program_again(program: Callable[[str], Path]):
    """Each time from its beginning."""

    async def main() -> None:
        model = PlumbingModel(program(calling("count")))
        for _ in range(2):
            async with model:
                assert (await Agent(model).run("a")).output == "1: a"

    run(main)


def test_an_answer_can_be_had_as_a_stream(program: Callable[[str], Path]):
    """In one piece."""

    async def main() -> None:
        async with (
            PlumbingModel(program(calling("count"))) as model,
            Agent(model).run_stream("a") as stream,
        ):
            assert [text async for text in stream.stream_text(delta=True)] == ["1: a"]
            assert await stream.get_output() == "1: a"

    run(main)


def test_requests_are_taken_one_at_a_time(program: Callable[[str], Path]):
    """Each gets its own answer."""

    async def main() -> None:
        async with PlumbingModel(program(calling("count"))) as model:
            agent = Agent(model)
            results = await asyncio.gather(*(agent.run(f"m{number}") for number in range(5)))
        said = [result.output.split(": ") for result in results]
        assert [text for _, text in said] == ["m0", "m1", "m2", "m3", "m4"]
        assert sorted(number for number, _ in said) == ["1", "2", "3", "4", "5"]

    run(main)


def test_several_outputs_are_paragraphs(program: Callable[[str], Path]):
    """In the order in which they came."""
    text = 'let main : !string -> !string = plumb(i, o) { i ; map(value + "!") ; o  i ; map(value + "?") ; o }\n'

    async def main() -> None:
        async with PlumbingModel(program(text)) as model:
            assert sorted((await Agent(model).run("a")).output.split("\n\n")) == ["a!", "a?"]

    run(main)


HISTORY = [
    ModelRequest([UserPromptPart("one")]),
    ModelResponse([ThinkingPart("hm"), TextPart("first")]),
]


def test_a_program_of_text_gets_the_history_as_a_transcript(program: Callable[[str], Path]):
    """With pass_history alone."""

    async def main() -> None:
        async with PlumbingModel(program(ECHO), pass_history=True) as model:
            result = await Agent(model).run("two", message_history=HISTORY)
        assert result.output == "User: one\n\nAssistant: first\n\nUser: two"

    run(main)


@pytest.mark.parametrize("given", ["!json", "![{ role: string, content: string }]"])
def test_another_program_gets_the_history_as_a_list(program: Callable[[str], Path], given: str):
    """If it can take it."""

    async def main() -> None:
        async with PlumbingModel(program(calling("dump", given)), pass_history=True) as model:
            result = await Agent(model).run("two", message_history=HISTORY)
        assert result.output == (
            '[{"role": "user", "content": "one"}, {"role": "assistant", "content": "first"}, '
            '{"role": "user", "content": "two"}]'
        )

    run(main)


# --- What is refused ----------------------------------------------------------------------------------------------


def add(a: int, b: int) -> int:
    return a + b


def with_validator(model: PlumbingModel) -> Awaitable[Any]:
    agent = Agent(model)

    @agent.output_validator
    def refuse(output: str) -> str:
        raise ModelRetry("no")

    return agent.run("a")


REFUSED: list[tuple[str, Callable[[PlumbingModel], Awaitable[Any]], str]] = [
    ("output_type", lambda model: Agent(model, output_type=int).run("a"), "answers with text: leave out output_type"),
    (
        "prompted output",
        lambda model: Agent(model, output_type=pydantic_ai.PromptedOutput(int)).run("a"),
        "answers with text: leave out output_type",
    ),
    ("system_prompt", lambda model: Agent(model, system_prompt="Be nice.").run("a"), "leave out system_prompt"),
    ("instructions", lambda model: Agent(model, instructions="Be nice.").run("a"), "leave out system_prompt"),
    ("instructions of a run", lambda model: Agent(model).run("a", instructions="b"), "leave out system_prompt"),
    ("tools", lambda model: Agent(model, tools=[add]).run("a"), "these tools would not be: add"),
    (
        "native tools",
        lambda model: model.request(
            [ModelRequest([UserPromptPart("a")])], None, ModelRequestParameters(native_tools=[WebSearchTool()])
        ),
        "these tools would not be: web_search",
    ),
    ("settings", lambda model: Agent(model).run("a", model_settings={"temperature": 0.0}), "nothing: temperature"),
    ("a picture", lambda model: Agent(model).run(["a", ImageUrl("http://localhost/a.png")]), "has a ImageUrl"),
    ("no text", lambda model: Agent(model).run(""), "the last message has no text"),
    ("a retry", with_validator, "a program cannot be asked to try again"),
]


@pytest.mark.parametrize(("ask", "said"), [pytest.param(ask, said, id=name) for name, ask, said in REFUSED])
def test_what_the_program_would_not_hear_of_is_refused(
    program: Callable[[str], Path], ask: Callable[[PlumbingModel], Awaitable[Any]], said: str
):
    """And the model works as before."""

    async def main() -> None:
        async with PlumbingModel(program(calling("count"))) as model:
            with pytest.raises(PlumbingModelError) as caught:
                await ask(model)
            assert said in str(caught.value)
            assert (await Agent(model).run("b")).output.endswith(": b")

    run(main)


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ([ModelRequest([SystemPromptPart("Be nice."), UserPromptPart("one")])], "leave out system_prompt"),
        ([ModelRequest([UserPromptPart("one")]), ModelResponse([ToolCallPart("add", {})])], "part 'tool-call'"),
    ],
)
def test_a_history_that_is_not_of_text_is_refused_if_it_is_passed_on(
    program: Callable[[str], Path], history: list[Any], said: str
):
    """Otherwise it is for the agent alone."""
    asked = [*history, ModelRequest([UserPromptPart("two")])]

    async def main() -> None:
        async with PlumbingModel(program(ECHO)) as model:
            assert (await model.request(asked, None, ModelRequestParameters())).parts == [TextPart("two")]
        async with PlumbingModel(program(ECHO), pass_history=True) as model:
            with pytest.raises(PlumbingModelError, match=said):
                await model.request(asked, None, ModelRequestParameters())

    run(main)


def test_a_model_that_is_not_open_does_not_start_its_program_by_itself(program: Callable[[str], Path]):
    """It would begin anew at each turn."""
    model = PlumbingModel(program(ECHO))

    async def main() -> None:
        with pytest.raises(PlumbingModelError, match="use its model inside of `async with"):
            await Agent(model).run("a")
        async with model:
            pass
        with pytest.raises(PlumbingModelError, match="use its model inside of `async with"):
            await Agent(model).run("a")

    run(main)


@pytest.mark.parametrize(
    ("text", "pass_history", "said"),
    [
        ("let main : !string -> !int = map(1)", False, "'main' is of type !string -> !int"),
        ("let main : !string -> !json = id", False, "'main' is of type !string -> !json"),
        ('let main : !int -> !string = map("a")', False, "a model has to take string; 'main' is of type !int"),
        ('let main : !int -> !string = map("a")', True, "a model has to take string, [{ role: string, content"),
        ("let main : (!string, !string) -> !string = merge", False, "'main' is of type (!string, !string)"),
    ],
)
def test_a_program_has_to_take_and_give_text(program: Callable[[str], Path], text: str, pass_history: bool, said: str):
    """It is not started otherwise."""

    async def main() -> None:
        with pytest.raises(PlumbingModelError) as caught:
            await PlumbingModel(program(text), pass_history=pass_history).__aenter__()
        assert said in str(caught.value)

    run(main)


def test_a_program_that_does_not_check_is_not_opened():
    """Its diagnostics are as ``fabric.check`` has them; a text needs no file."""

    async def main() -> None:
        with pytest.raises(CheckError, match="there is no type 'Nothing'"):
            await PlumbingModel(Source("a.plumb", "let main : !Nothing -> !string = id")).__aenter__()
        async with PlumbingModel(Source("a.plumb", ECHO)) as model:
            assert (await Agent(model).run("b")).output == "b"

    run(main)


def test_a_program_that_fails_or_says_nothing_is_an_error(program: Callable[[str], Path]):
    """With what the pipeline said as its cause."""

    async def main() -> None:
        async with PlumbingModel(program(calling("fail"))) as model:
            with pytest.raises(PlumbingModelError, match="it is broken") as caught:
                await Agent(model).run("a")
            assert isinstance(caught.value.cause, PipelineError)
            assert caught.value.__cause__ is caught.value.cause
        async with PlumbingModel(program('let main : !string -> !string = filter(value = "b")')) as model:
            with pytest.raises(PlumbingModelError, match="gave no output for this message"):
                await Agent(model).run("a")
            assert (await Agent(model).run("b")).output == "b"

    run(main)


def test_an_agent_that_is_cancelled_leaves_nothing(program: Callable[[str], Path], tmp_path: Path):
    """The worker holds one end of a pipe, so the other end sees it go."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    async def turn() -> None:
        async with PlumbingModel(program(calling("hang"))) as model:
            await Agent(model).run(str(pipe))

    async def main() -> None:
        with anyio.fail_after(60):
            turning = asyncio.create_task(turn())
            read = await anyio.to_thread.run_sync(os.open, pipe, os.O_RDONLY)
            assert await anyio.to_thread.run_sync(os.read, read, 9) == b"here"
            turning.cancel()
            with pytest.raises(asyncio.CancelledError):
                await turning
            assert await anyio.to_thread.run_sync(os.read, read, 9) == b""
            os.close(read)

    run(main)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_model_itself_works_under_any_loop(program: Callable[[str], Path], backend: str):
    """As the pipeline behind it does."""

    async def main() -> None:
        async with PlumbingModel(program(ECHO)) as model:
            response = await model.request([ModelRequest([UserPromptPart("a")])], None, ModelRequestParameters())
        assert response.parts == [TextPart("a")]

    anyio.run(main, backend=backend)


def test_without_pydantic_ai_it_is_said_how_to_get_it():
    """In one line."""
    code = "import sys; sys.modules['pydantic_ai'] = None; import fabric.provider"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: fabric.provider needs Pydantic AI: pip install 'plumb-fabric[pydantic-ai]'"
    )
