"""Programs that are called. Real processes; both kinds of event loops."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import called
import pytest
import trio
from called import BACKENDS, DOCTOR, function, run, write

import fabric
from fabric.lang.source import Source
from fabric.session.events import Approval

pytestmark = pytest.mark.processes


# --- What comes back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_outputs_are_returned_in_their_order(backend: str, folder: Path):
    """As plain values."""
    program = write(folder, function("each"))
    assert run(backend, fabric.call, program, 5) == [0, 1, 2, 3, 4]


def test_a_program_may_give_nothing(folder: Path):
    """That is no failure."""
    assert fabric.call_sync(write(folder, function("each")), 0) == []


def test_it_can_be_called_without_an_event_loop(folder: Path):
    """With the path as text, too."""
    assert fabric.call_sync(str(write(folder, function("more"))), 1) == [2]


def test_a_text_without_a_file_is_a_program(folder: Path):
    """What it names is relative to the path that it is said to have."""
    write(folder, "")
    source = Source(str(folder / "nowhere.plumb"), function("more"))
    assert fabric.call_sync(source, 41) == [42]


def test_it_can_be_called_where_a_loop_runs(folder: Path):
    """As a cell of a notebook does."""
    program = write(folder, function("more"))

    async def cell() -> list[Any]:
        return fabric.call_sync(program, 1)

    assert asyncio.run(cell()) == [2]
    assert trio.run(cell) == [2]


def test_a_unit_input_is_none(folder: Path):
    """And records come as dicts."""
    record = "{ a: int }"
    program = write(folder, f"let main : !unit -> !{record} = map({{a: 1}})\n")
    assert fabric.call_sync(program, None) == [{"a": 1}]


TWO = """
let left : !int -> !int = python { call: "functions:more" }
let right : !string -> !string = id
let main : (!int, !string) -> (!int, !string) = (left * right)
"""


def ports(program: Path) -> tuple[list[str], list[str]]:
    """Return the names of the boundary's inputs and outputs."""
    nodes = fabric.check(program).compiled.graph.nodes.values()
    inputs = [node.outputs[0].name for node in nodes if node.kind == "input"]
    return inputs, [node.inputs[0].name for node in nodes if node.kind == "output"]


def test_several_inputs_and_outputs_have_names(folder: Path):
    """The input's is given by keyword, or by the message itself."""
    program = write(folder, TWO)
    (number, text), (first, second) = ports(program)
    assert fabric.call_sync(program, 1, port=number) == [fabric.Output(2, first)]
    assert fabric.call_sync(program, {"__port": text, "msg": "x"}) == [fabric.Output("x", second)]
    with pytest.raises(fabric.PipelineError, match=f"say which input: {number}, {text}"):
        fabric.call_sync(program, 1)
    with pytest.raises(fabric.PipelineError, match="there is no input 'up'") as caught:
        fabric.call_sync(program, 1, port="up")
    assert caught.value.code == "unknown_port"


# --- Where it runs ---------------------------------------------------------------------------------------------------


def test_its_workers_are_where_the_caller_is(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """A warm zygote does not remember where it was started, nor the environment of another call."""
    program = write(folder, function("where", "int", "json").replace('where"', 'where", env: ["CANARY"]'))
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    here = fabric.call_sync(program, 1, env={"CANARY": "yellow"})[0]
    monkeypatch.chdir(elsewhere)
    there = fabric.call_sync(program, 1)[0]
    assert (here[:2], there[:2]) == ([str(folder), "yellow"], [str(elsewhere), "none"])
    assert here[2] != there[2]


def test_a_function_that_was_edited_is_the_new_one(folder: Path):
    """Nothing of the user's is in the zygote."""
    program = write(folder, function("nothing"))
    assert fabric.call_sync(program, 1) == [7]
    (folder / "functions.py").write_text("def nothing(value):\n    return 'longer than before' and 8\n")
    assert fabric.call_sync(program, 1) == [8]


def test_the_project_counts(folder: Path):
    """Its limits, as with ``fabric run``; variables win over it."""
    program = write(folder, DOCTOR.replace('provider: "eliza", ', "").replace(' model: "doctor" ', ""))
    (folder / "fabric.toml").write_text('[defaults]\nprovider = "eliza"\n\n[limits]\ncalls = 5\n')
    assert len(fabric.call_sync(program, "hello")) == 1
    with pytest.raises(fabric.RunError, match="there is no provider 'nobody'"):
        fabric.call_sync(program, "hello", env={"PLUMB_PROVIDER": "nobody"})
    with pytest.raises(fabric.RunError, match="FABRIC_GRACE='soon'"):
        fabric.call_sync(program, "hello", env={"FABRIC_GRACE": "soon"})
    with pytest.raises(fabric.RunError, match="FABRIC_AUTO_APPROVE='perhaps': expected 1 or 0"):
        fabric.call_sync(program, "hello", env={"FABRIC_AUTO_APPROVE": "perhaps"})


@pytest.mark.parametrize("do", [fabric.check, partial(fabric.call_sync, input="hello")])
def test_a_variable_that_is_no_text_is_named(do: Callable[..., object], folder: Path):
    """Before anything is done with it."""
    program = write(folder, DOCTOR)
    with pytest.raises(fabric.RunError, match=r"env: PLUMB_MODEL: expected str, got 1 \(int\)"):
        do(program, env={"PLUMB_MODEL": 1})
    with pytest.raises(fabric.RunError, match="env: expected names of variables as str, got 1"):
        do(program, env={1: "PLUMB_MODEL"})


@pytest.mark.parametrize("executable", ["", "/no/such/python"])
def test_without_a_python_no_worker_can_be_started(executable: str, folder: Path, monkeypatch: pytest.MonkeyPatch):
    """As where the interpreter is part of another program. One without workers runs."""
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(fabric.BinaryNotFoundError, match=f"sys.executable is {executable or 'empty'}"):
        fabric.call_sync(write(folder, DOCTOR), "hello")
    assert fabric.call_sync(write(folder, "let main : !string -> !string = id\n"), "hello") == ["hello"]


# --- Failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_input_of_another_type_starts_nothing(backend: str, folder: Path):
    """It is told as a command would, before any process."""
    program = write(folder, function("fail"))
    with pytest.raises(fabric.PipelineError, match="input: expected int, got string") as caught:
        run(backend, fabric.call, program, "one")
    assert (caught.value.code, caught.value.returncode) == ("input_type_mismatch", 1)


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, [b"x"], {"on": date(2026, 1, 1)}, object(), "\udcff"])
def test_what_json_cannot_say_is_no_input(value: object, folder: Path):
    """Whatever the type."""
    program = write(folder, "let main : !json -> !json = id\n")
    with pytest.raises(fabric.PipelineError) as caught:
        fabric.call_sync(program, value)
    assert caught.value.code == "input_type_mismatch"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_worker_that_fails_fails_the_call(backend: str, folder: Path):
    """With its last lines, and the exit code of the command."""
    with pytest.raises(fabric.PipelineError, match="ValueError: not 3") as caught:
        run(backend, fabric.call, write(folder, function("fail")), 3)
    error = caught.value
    assert (error.code, error.returncode) == ("child_died", 1)
    assert "about to fail" in error.stderr
    assert "ValueError: not 3" in error.stderr


def test_an_output_of_another_type_fails_the_call(folder: Path):
    """The worker's own check finds it."""
    program = write(folder, function("odd"))
    assert fabric.call_sync(program, 1) == [1]
    with pytest.raises(fabric.PipelineError, match="expected int, got string"):
        fabric.call_sync(program, 2)


def test_a_message_that_is_refused_on_its_way_fails_the_call(folder: Path):
    """Nothing is dropped in silence."""
    program = write(folder, "let main : !json -> !json = plumb(input, output) { input ; map({a: a}) ; output }\n")
    assert fabric.call_sync(program, {"a": 1}) == [{"a": 1}]
    with pytest.raises(fabric.PipelineError) as caught:
        fabric.call_sync(program, 3)
    assert caught.value.returncode == 1


def test_a_program_that_does_not_check_is_told_as_such(folder: Path):
    """With code, line and column."""
    program = write(folder, "let main : !int -> !string = id\n")
    with pytest.raises(fabric.CheckError) as caught:
        fabric.call_sync(program, 1)
    assert (caught.value.code, caught.value.line) == ("type_mismatch", 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('let main : !int -> !int = python { call: "nowhere:f" }', "no module 'nowhere'"),
        ('let main : !json -> !json = worker { command: ["no-such-program"], transport: "stdio" }', "no-such-program"),
        ("let main : !string -> !string = agent { }", "has no provider"),
    ],
)
def test_a_program_that_cannot_be_started_is_told_as_such(text: str, words: str, folder: Path):
    """A function, a command, a setting is missing."""
    program = write(folder, text)
    with pytest.raises(fabric.RunError, match=words) as caught:
        fabric.call_sync(program, "x" if "string" in text else 1, env={"PLUMB_PROVIDER": ""})
    assert caught.value.returncode in (2, 4)


def test_a_file_that_is_not_there_is_told_as_such(folder: Path):
    """By its path."""
    with pytest.raises(fabric.RunError, match=r"cannot read nowhere\.plumb"):
        fabric.call_sync("nowhere.plumb", 1)


def test_an_extra_that_is_none_is_told_as_such(folder: Path):
    """By what there is."""
    program = write(folder, function("more"))

    async def start(name: str) -> None:
        await fabric.run(program, extra=(name,))

    with pytest.raises(fabric.RunError, match="'telemetry' or 'ctrl_out', got 'output'"):
        run("trio", start, "output")
    with pytest.raises(fabric.RunError, match="no worker of the program has a port 'telemetry'"):
        run("trio", start, "telemetry")


@dataclasses.dataclass
class Order:
    """As the guide has it."""

    item: str
    note: str | None = None


def test_none_of_a_class_is_a_field_that_is_absent(folder: Path):
    """As an input, and as what a worker gives, with an annotation or without."""
    lines = ["from dataclasses import dataclass", "", "@dataclass", "class Order:"]
    lines += ["    item: str", "    note: str | None = None", "", "def same(order: Order) -> Order:"]
    lines += ["    return order", "", "def bare(order):", "    return Order(order['item'])"]
    (folder / "orders.py").write_text("\n".join(lines))
    for name in ("same", "bare"):
        program = folder / f"{name}.plumb"
        program.write_text(f"""type Order = {{ item: string, note?: string }}
let f : !Order -> !Order = python {{ call: "orders:{name}" }}
let main : !Order -> !Order = plumb(input, output) {{ input ; f ; output }}
""")
        assert fabric.call_sync(program, Order("tea")) == [{"item": "tea"}]
    with pytest.raises(fabric.PipelineError, match="expected string, got null"):
        fabric.call_sync(program, {"item": "tea", "note": None})


def test_a_text_where_a_path_is_meant_is_told_as_such(folder: Path):
    """With what to do instead."""
    text = "let main : !string -> !string = id"
    for use in (fabric.check, partial(fabric.call_sync, input="x")):
        with pytest.raises(fabric.RunError, match=r"fabric\.dsl\.read"):
            use(text)
        with pytest.raises(fabric.RunError, match="cannot read"):
            use("let.plumb")


# --- Approval --------------------------------------------------------------------------------------------------------

CALLER = [sys.executable, str(Path(__file__).parent.parent / "support" / "caller.py")]

TOOLS = f"""
use fs
let main : !json -> !json = worker {{ command: {json.dumps(CALLER)} tools: [Fs.write] }}
"""

CALLS = [["Fs.write", {"path": "x", "text": "y"}]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_call_of_a_tool_is_approved_by_a_function(backend: str, folder: Path):
    """An async one runs in the caller's loop, a plain one in a thread; both see what is called."""
    program = write(folder, TOOLS)
    asked: list[tuple[str, str, int]] = []

    async def approve(approval: Approval) -> bool:
        await anyio.sleep(0)
        asked.append((approval.tool, approval.arguments, threading.get_ident()))
        return True

    def plainly(approval: Approval) -> bool:
        asked.append((approval.tool, approval.arguments, threading.get_ident()))
        return True

    run(backend, partial(fabric.call, approve=approve), program, CALLS)
    assert (folder / "x").read_text() == "y"
    (folder / "x").unlink()
    run(backend, partial(fabric.call, approve=plainly), program, CALLS)
    assert (folder / "x").read_text() == "y"
    here = threading.get_ident()
    assert [(tool, json.loads(arguments)) for tool, arguments, _ in asked] == [
        ("Fs.write", {"path": "x", "text": "y"})
    ] * 2
    assert (asked[0][2] == here, asked[1][2] == here) == (True, False)


def test_where_no_loop_runs_an_async_function_runs_under_trio(folder: Path):
    """In a thread of its own."""

    async def approve(approval: Approval) -> bool:
        await trio.sleep(0)
        return True

    fabric.call_sync(write(folder, TOOLS), CALLS, approve=approve)
    assert (folder / "x").exists()


def raise_(approval: Approval) -> bool:
    raise LookupError("nobody is here")


@pytest.mark.parametrize(
    ("approve", "why"),
    [
        (None, "there is nobody to approve it"),
        (raise_, "LookupError: nobody is here"),
    ],
)
def test_where_nobody_could_be_asked_the_program_fails(
    approve: Any, why: str, folder: Path, caplog: pytest.LogCaptureFixture
):
    """What the function raised is the cause, and what came out is there."""
    with pytest.raises(fabric.PipelineError, match=why) as caught:
        fabric.call_sync(write(folder, TOOLS), CALLS, approve=approve)
    assert (caught.value.code, caught.value.returncode) == ("not_approved", 6)
    assert isinstance(caught.value.__cause__, LookupError) == (approve is raise_)
    assert "Fs.write has effects and was not approved" in caught.value.outputs[0][0]["error"]
    assert not (folder / "x").exists()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("answer", [False, "yes", None])
def test_what_the_caller_denies_is_no_failure(answer: Any, backend: str, folder: Path):
    """Only ``True`` approves. The worker is told, and its answer is returned."""
    program = write(folder, TOOLS)

    async def talk() -> list[Any]:
        async with await fabric.run(program, approve=lambda approval: answer) as pipeline:
            await pipeline.send(CALLS)
            return [await pipeline.recv()]

    called = run(backend, partial(fabric.call, approve=lambda approval: answer), program, CALLS)
    assert called == run(backend, talk)
    assert called[0][0]["error"] == "Fs.write has effects and was not approved: it was denied"
    assert not (folder / "x").exists()


def test_approving_all_and_asking_is_one_too_much(folder: Path):
    """Neither is silently the one that counts."""
    with pytest.raises(fabric.RunError, match="give one of the two"):
        fabric.call_sync(write(folder, TOOLS), CALLS, auto_approve=True, approve=lambda approval: False)


def test_what_is_approved_in_advance_is_not_asked_for(folder: Path):
    """``auto_approve``, or its variable in any words that the flag takes; only where nobody is there to ask."""
    program = write(folder, TOOLS)
    fabric.call_sync(program, CALLS, auto_approve=True)
    assert (folder / "x").exists()
    (folder / "x").unlink()
    fabric.call_sync(program, CALLS, env={"FABRIC_AUTO_APPROVE": "yes"})
    assert (folder / "x").exists()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_call_that_is_cancelled_while_somebody_is_asked_leaves_nothing(backend: str, folder: Path):
    """He is not asked any more."""
    program = write(folder, TOOLS)
    ended: list[str] = []

    async def approve(approval: Approval) -> bool:
        ended.append("asked")
        scopes[0].cancel()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled")
        return True

    scopes: list[anyio.CancelScope] = []

    async def work() -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await fabric.call(program, CALLS, approve=approve)
        while ended != ["asked", "cancelled"]:
            await anyio.sleep(0)

    run(backend, work)
    assert not (folder / "x").exists()


# --- Many, and cancelled ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_many_calls_at_once_all_come_back(backend: str, folder: Path):
    """Each with its own answer."""
    program = write(folder, function("more"))
    answers: dict[int, list[Any]] = {}

    async def one(number: int) -> None:
        answers[number] = await fabric.call(program, number)

    async def many() -> None:
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(one, number)

    run(backend, many)
    assert answers == {number: [number + 1] for number in range(20)}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.08, 0.3])
def test_a_call_that_is_cancelled_leaves_nothing(delay_s: float, backend: str, folder: Path):
    """Already when the caller goes on: its worker is gone."""
    program = write(folder, function("wait"))

    async def cancelled() -> list[object]:
        with anyio.move_on_after(delay_s) as scope:
            await fabric.call(program, 1)
        assert scope.cancelled_caught
        return [*called.leftovers(), *called.run_directories()]

    assert run(backend, cancelled) == []


def test_a_task_of_asyncio_that_is_cancelled_twice_leaves_nothing(folder: Path):
    """asyncio knows no shields; the first cancellation is what the caller sees."""
    program = write(folder, function("wait"))
    (folder / "functions.py").write_text(
        "import time\ndef wait(value):\n    open('waiting', 'w').close()\n    time.sleep(600)\n"
    )

    async def cancelled() -> list[object]:
        task = asyncio.create_task(fabric.call(program, 1))
        async with asyncio.timeout(called.PATIENCE_S):
            while not (folder / "waiting").exists():
                await asyncio.sleep(0.01)  # the worker tells by a file
        task.cancel("first")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel("second")
        with pytest.raises(asyncio.CancelledError):
            await task
        return [*called.leftovers(), *called.run_directories()]

    assert asyncio.run(cancelled()) == []


def test_calls_from_threads_share_one_engine(folder: Path):
    """And one zygote."""
    program = write(folder, function("more"))
    answers: list[list[Any]] = []
    threads = [threading.Thread(target=lambda: answers.append(fabric.call_sync(program, 1))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [[2]] * 4
    assert [thread.name for thread in threading.enumerate()].count("fabric") == 1


def test_what_workers_write_is_logged_and_not_printed(folder: Path, caplog: pytest.LogCaptureFixture):
    """Lines of workers as information, notes at their level."""
    program = write(folder, function("fail"))
    with caplog.at_level(logging.DEBUG, "fabric"), pytest.raises(fabric.PipelineError):
        fabric.call_sync(program, 1)
    said = {(record.name, record.levelname) for record in caplog.records}
    assert ("fabric.workers", "INFO") in said
    assert ("fabric.session", "INFO") in said
    assert "f: about to fail" in [record.getMessage() for record in caplog.records]


def test_what_runs_is_ended_when_the_client_is_closed(folder: Path):
    """Also the zygote; the next call starts anew."""
    program = write(folder, function("more"))
    fabric.call_sync(program, 1)
    before = [name for name in os.listdir("/proc") if name.isdigit() and _is_ours(name)]
    assert before
    fabric.client.close()
    assert not any(_is_ours(name) for name in before)
    assert fabric.call_sync(program, 1) == [2]


def _is_ours(pid: str) -> bool:
    """Whether it is a child of this process that the library has started: tests of others have some, too."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return int(stat[1]) == os.getpid() and stat[0] not in "ZX" and b"fabric.launch" in command
