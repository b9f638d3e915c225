"""Programs as they are written for other implementations of the language: they run after ``import fabric as pb``.

Each block is the whole of a use of the API, in a folder with a program that answers as ELIZA does. Where a block awaits
outside of a function, it stands in an async function of its reader; here that is asyncio's and trio's.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import io
from collections.abc import Coroutine
from contextlib import redirect_stdout
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
import trio

import fabric
from fabric import errors
from fabric.provider import PlumbingModel

pytestmark = pytest.mark.processes

DOCTOR = """
type Note = { text: string, mark?: int }
protocol Talk = send string . recv string . end

let doctor : !string -> !string = agent { provider: "eliza", model: "doctor" }
let main : !string -> !string = plumb(input, output) { input ; doctor ; output }
"""

CHECK = """
import fabric as pb
from pathlib import Path

result = pb.check(Path("pipeline.plumb"))
print(result.version)
print(result.bindings)
print(result.types)
print(result.protocols)
"""

CALL_SYNC = """
import fabric as pb
from pathlib import Path
results = pb.call_sync(Path("pipeline.plumb"), "hello")
"""

CALL = """
import fabric as pb
from pathlib import Path
results = await pb.call(Path("pipeline.plumb"), "hello")
"""

RUN = """
import asyncio
import fabric as pb
from pathlib import Path

async def main():
    async with await pb.run(Path("doctor.plumb")) as pipeline:
        await pipeline.send("I feel anxious")
        response = await pipeline.recv()
        print(response)

asyncio.run(main())
"""

MODEL = """
from pathlib import Path
from pydantic_ai import Agent
from fabric.provider import PlumbingModel

async def main():
    async with PlumbingModel(Path("pipeline.plumb")) as model:
        agent = Agent(model)
        result = await agent.run("hello")
        print(result.output)

await main()
"""

TURNS = """
from pathlib import Path
from pydantic_ai import Agent
from fabric.provider import PlumbingModel

async with PlumbingModel(Path("doctor.plumb")) as model:
    agent = Agent(model)
    r1 = await agent.run("I feel anxious")
    r2 = await agent.run("Tell me more", message_history=r1.all_messages())
"""

TYPES = """
import fabric as pb
from pathlib import Path
from fabric.types import input_type, output_type

result = pb.check(Path("pipeline.plumb"))
in_type = input_type(result)
out_type = output_type(result)
"""

BUILT = """
from pydantic import BaseModel
from fabric.dsl import Program, Agent, Filter, Map, F, PlumbBody, SumType, Record

class Verdict(BaseModel):
    verdict: bool
    commentary: str
    draft: str

prog = Program()
prog.let("composer", input=str, output=str,
         impl=Agent(model="claude-haiku-4-5", thinking_budget=1024))
prog.let("checker", input=str, output=Verdict,
         impl=Agent(model="claude-haiku-4-5", thinking_budget=1024))

body = PlumbBody("input", "output")
body.wire("input", "composer", "checker")
body.wire("checker", Filter(F.verdict == True).project("draft"), "output")

prog.let("main", input=str, output=str, impl=body)

source = prog.render()
result = prog.check()
"""

BARE = """
from fabric.dsl import Program, Bare, Tool, Python
prog = Program()
prog.let("count", input=str, output=int, impl=Python(call="words:count"))
prog.let("tool_binding", input=Bare(str), output=Bare(int), impl=Tool(process="count"))
source = prog.render()
"""

FIELDS = """
from fabric.dsl import F, Filter, Map, Program
prog = Program()
for number, element in enumerate([
    Filter(F.score >= 85),
    Filter(F.verdict == False),
    Filter((F.a > 0) & (F.b < 10)),
    Map(F.score, F.review),
    Map(quality=F.score),
]):
    prog.let(f"e{number}", input=dict, output=dict, impl=element)
source = prog.render()
"""

PROGRAM = """
from fabric.dsl import Program, Agent, PlumbBody
prog = Program()
prog.let("doctor", input=str, output=str, impl=Agent(provider="eliza"))
body = PlumbBody("input", "output")
body.wire("input", "doctor", "output")
prog.let("main", input=str, output=str, impl=body)
"""

RUN_BUILT = """
result = prog.check()

results = prog.call_sync("hello")

async with await prog.run() as pipeline:
    await pipeline.send("hello")
    response = await pipeline.recv()
"""

LOOK = """
source = prog.render()
print(source)
prog.check()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with two programs that exist."""
    for name in ("pipeline.plumb", "doctor.plumb"):
        (tmp_path / name).write_text(DOCTOR)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compiled(text: str) -> CodeType:
    return compile(text, "<the page>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def done(text: str, backend: str = "") -> dict[str, Any]:
    """Return the names that a block defines, and what it printed as ``printed``."""
    names: dict[str, Any] = {"__name__": "__main__"}
    code = compiled(text)
    printed = io.StringIO()

    async def run() -> None:
        waits: Coroutine[Any, Any, None] = eval(code, names)  # the code of a coroutine gives one
        await waits

    with redirect_stdout(printed):
        match backend:
            case "asyncio":
                asyncio.run(run())
            case "trio":
                trio.run(run)
            case _:
                exec(code, names)
    return {**names, "printed": printed.getvalue()}


def test_a_program_is_looked_at():
    """Its version, and what it declares, with all that is said to be in it."""
    found = done(CHECK)
    result = found["result"]
    assert found["printed"].count("\n") == 4
    assert isinstance(result.version, str)
    names = {binding.name: binding for binding in result.bindings}
    assert (names["main"].impl, names["doctor"].impl) == ("pipeline", "agent")
    assert names["doctor"].attrs == {"provider": "eliza", "model": "doctor"}
    assert (names["main"].input, names["main"].output) == ("!string", "!string")
    assert names["main"].input_type == names["main"].output_type == {
        "kind": "stream",
        "item": {"kind": "prim", "name": "string"},
    }  # fmt: skip
    assert [[one.name for one in several] for several in (result.types, result.protocols)] == [["Note"], ["Talk"]]


def test_a_program_is_called():
    """Its outputs are a list."""
    (answer,) = done(CALL_SYNC)["results"]
    assert isinstance(answer, str)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_program_is_called_where_a_loop_runs(backend: str):
    """Whichever."""
    assert done(CALL, backend)["results"] == done(CALL_SYNC)["results"]


def test_a_program_is_talked_to():
    """One answer to what is sent."""
    assert done(RUN)["printed"].strip() not in ("", "None")


def test_a_program_is_a_model():
    """Of an agent of Pydantic AI."""
    assert done(MODEL, "asyncio")["printed"].strip() == fabric.call_sync(Path("pipeline.plumb"), "hello")[0]


def test_a_model_remembers_what_was_said():
    """The program has the conversation; the history is for the books of Pydantic AI."""
    found = done(TURNS, "asyncio")
    assert found["r1"].output != found["r2"].output
    assert len(found["r2"].all_messages()) == 4


def test_types_are_those_of_python():
    """Of the main binding, without the stream."""
    found = done(TYPES)
    assert (found["in_type"], found["out_type"]) == (str, str)


def test_a_program_is_built():
    """Classes are declared by their names."""
    found = done(BUILT)
    assert "type Verdict = { verdict: bool, commentary: string, draft: string }" in found["source"]
    assert "checker ; filter(verdict = true).draft ; output" in found["source"]
    assert {binding.name for binding in found["result"].bindings} == {"composer", "checker", "main"}


def test_ports_are_streams_unless_they_are_bare():
    """A tool takes one value and gives one."""
    source = done(BARE)["source"]
    assert "let count : !string -> !int = " in source
    assert "let tool_binding : string -> int = tool { process: count }" in source


def test_fields_make_expressions():
    """As they are written in the language."""
    source = done(FIELDS)["source"]
    assert [line.partition(" = ")[2] for line in source.splitlines() if line.startswith("let")] == [
        "filter(score >= 85)",
        "filter(verdict = false)",
        "filter(a > 0 && b < 10)",
        "map({ score: score, review: review })",
        "map({ quality: score })",
    ]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_program_that_was_built_runs(backend: str):
    """It is called and talked to like one in a file."""
    found = done(PROGRAM + RUN_BUILT, backend)
    assert found["results"] == [found["response"]]


def test_the_text_of_a_program_is_there_to_be_looked_at():
    """It is what is checked."""
    found = done(PROGRAM + LOOK)
    assert found["printed"].strip() == found["source"].strip()
    Path("built.plumb").write_text(found["source"])
    assert fabric.check("built.plumb").main == "main"


# --- The tables -------------------------------------------------------------------------------------------------------


def parameters(function: Any) -> dict[str, Any]:
    return {name: one.default for name, one in inspect.signature(function).parameters.items() if name != "self"}


NONE = inspect.Parameter.empty
CALLS = {"spec": NONE, "input": NONE, "auto_approve": False, "search_path": None, "binary": None, "env": None}


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (fabric.call, CALLS),
        (fabric.call_sync, CALLS),
        (fabric.run, {**CALLS, "verbose": True} | {"input": ...}),
        (PlumbingModel, {**CALLS, "program": NONE, "pass_history": False} | {"spec": ..., "input": ...}),
        (fabric.check, {"spec": NONE}),
        (fabric.Pipeline.send, {"message": NONE}),
        (fabric.Pipeline.shutdown, {}),
    ],
)
def test_parameters_have_their_names_and_defaults(function: Any, expected: dict[str, Any]):
    """There may be more, which only names give."""
    said = parameters(function)
    wanted = {name: default for name, default in expected.items() if default is not ...}
    assert {name: said.get(name, "missing") for name in wanted} == wanted


@pytest.mark.parametrize("name", ["send", "recv", "recv_event", "recv_telemetry", "close_input", "shutdown"])
def test_a_pipeline_has_its_methods(name: str):
    """To be awaited."""
    assert inspect.iscoroutinefunction(getattr(fabric.Pipeline, name))


def test_events_have_their_fields():
    """By position, too."""
    assert fabric.Output("x").data == "x"
    telemetry = fabric.Telemetry("doctor", {"kind": "usage"})
    assert (telemetry.agent, telemetry.payload) == ("doctor", {"kind": "usage"})


def test_errors_have_one_root_and_their_fields(folder: Path):
    """What does not check, what cannot be started, what fails on its way."""
    for name in ("CheckError", "RunError", "PipelineError", "BinaryNotFoundError", "PlumbingModelError"):
        assert issubclass(getattr(fabric, name), fabric.PlumbError)
    (folder / "wrong.plumb").write_text("let main : !string -> !int = id\n")
    with pytest.raises(fabric.CheckError) as wrong:
        fabric.check("wrong.plumb")
    assert (wrong.value.category, wrong.value.line, wrong.value.column) == ("type", 1, 30)
    assert all(isinstance(text, str) and text for text in (wrong.value.code, wrong.value.detail))
    with pytest.raises(fabric.RunError) as missing:
        fabric.call_sync("nowhere.plumb", "hello")
    assert ("nowhere.plumb" in missing.value.detail, missing.value.returncode) == (True, 2)
    (folder / "fails.plumb").write_text('let main : !string -> !string = python { call: "fails:f" }\n')
    (folder / "fails.py").write_text("def f(value):\n    raise ValueError('no such luck')\n")
    with pytest.raises(fabric.PipelineError) as failed:
        fabric.call_sync("fails.plumb", "hello")
    assert failed.value.returncode != 0
    assert "no such luck" in failed.value.detail + failed.value.stderr
    model_error = errors.PlumbingModelError("no", failed.value)
    assert (model_error.detail, model_error.cause) == ("no", failed.value)
