"""A program in virtual time is the program: its session, its workers, its conversations with the models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fabric.errors import CheckError, ConfigError
from fabric.lang.source import Source
from fabric.session.events import Approval
from fabric.testing import (
    Answer,
    Call,
    Crash,
    Cut,
    Decision,
    Failure,
    Faults,
    NoStandIn,
    Text,
    UnscriptedRequest,
    run_virtual,
)

CLERK = """
let delete : { path: string } -> unit = tool { builtin: "fs.delete" }
let clerk : !string -> !string = agent { provider: "API" model: "m" prompt: "You keep the files." tools: [delete] }
let main : !string -> !string = plumb(i, o) { i ; clerk ; o }
"""

DELETE = Call("delete", {"path": "old.txt"})


@pytest.fixture(params=["anthropic", "openai"])
def clerk(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An agent that may delete files, with one of the providers."""
    path = tmp_path / "clerk.plumb"
    path.write_text(CLERK.replace("API", request.param))
    (tmp_path / "old.txt").write_text("old")
    return path


def told(request: Any) -> Any:
    """Answer with what came of the tool."""
    return request.results[0]


def test_an_approval_that_nobody_gives_expires(clerk: Path):
    """After five minutes, or as long as the settings say; the model is told, and the file stays."""
    done = run_virtual(clerk, ["Tidy up."], models={"clerk": [DELETE, told]})
    assert done.ended_s == 300
    assert "was not approved: nobody decided within 300 s" in done.outputs[0]
    assert [(approval.tool, outcome) for approval, outcome in done.approvals] == [("delete", "expired")]
    done = run_virtual(clerk, ["Tidy up."], models={"clerk": [DELETE, told]}, approval_timeout_s=7.0)
    assert (done.ended_s, done.exit_code, done.error) == (7, 0, None)
    assert (clerk.parent / "old.txt").exists()


@pytest.mark.parametrize("granted", [True, False])
def test_somebody_decides(clerk: Path, granted: bool):
    """After a while; a reason is for the model. What is approved is done, by what stands for the tool."""
    seen: list[Approval] = []
    gone: list[Any] = []

    def decide(approval: Approval) -> Decision:
        seen.append(approval)
        return Decision(granted, after_s=42.0, reason="we need it")

    done = run_virtual(
        clerk, ["Tidy up."], models={"clerk": [DELETE, told]}, approve=decide, workers={"delete": gone.append}
    )
    assert done.ended_s == 42
    assert [(each.worker, json.loads(each.arguments)) for each in seen] == [("clerk", {"path": "old.txt"})]
    assert [outcome for _, outcome in done.approvals] == ["granted" if granted else "denied"]
    assert ("we need it" in done.outputs[0]) is not granted
    assert gone == ([{"path": "old.txt"}] if granted else [])


def test_a_tool_with_effects_does_nothing_without_a_stand_in(clerk: Path):
    """The model is told; the test fails, and says which call it was. Reading is no effect."""
    with pytest.raises(
        NoStandIn, match=r"tool 'delete' \(fs.delete\) was called with \{\"path\":\"old.txt\"\}"
    ) as raised:
        run_virtual(clerk, ["Tidy up."], models={"clerk": [DELETE, told]}, approval="grant")
    assert "give a function that stands for it in 'workers'" in str(raised.value)
    assert (clerk.parent / "old.txt").exists()
    clerk.write_text(clerk.read_text().replace("fs.delete", "fs.read").replace("-> unit", "-> string"))
    assert "old" in run_virtual(clerk, ["Read."], models={"clerk": [DELETE, told]}).outputs[0]


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        ({"workers": {"delet": print}}, "workers: the program has no worker .* named 'delet'; it has 'delete'"),
        ({"workers": {"clerk": print}}, "workers: 'clerk' is an agent: what it is told is scripted in 'models'"),
        ({"models": {"clark": [], "*": "x"}}, "models: the program has no agent .* named 'clark'; it has 'clerk'"),
        ({"models": {"delete": "x"}}, "models: the program has no agent .* named 'delete'; it has 'clerk'"),
    ],
)
def test_a_name_that_nobody_has_is_refused(clerk: Path, given: dict[str, Any], detail: str):
    """With those that there are: a misspelt stand-in would leave the tool to itself."""
    with pytest.raises(ConfigError, match=detail):
        run_virtual(clerk, ["x"], **given)


def test_an_agent_that_asks_nobody_cannot_be_scripted(tmp_path: Path):
    """Its script would never be read."""
    path = tmp_path / "doctor.plumb"
    path.write_text('let d : !string -> !string = agent { provider: "eliza" }\nlet main : !string -> !string = d\n')
    with pytest.raises(ConfigError, match="no agent that asks a model in the network named 'd'; it has none"):
        run_virtual(path, ["x"], models={"d": "y"})


def test_answers_that_nobody_asked_for_are_told(clerk: Path):
    """A test may mind."""
    assert run_virtual(clerk, ["x"], models={"clerk": ["a", "b"]}).unused == ["agent 'clerk': 1 left"]
    assert run_virtual(clerk, ["x"], models={"clerk": ["a"], "*": "b"}).unused == []


def test_a_function_stands_for_a_tool(clerk: Path):
    """It gets what the model gave; the file stays."""
    given: list[Any] = []
    done = run_virtual(
        clerk,
        ["Tidy up."],
        models={"clerk": [DELETE, "done"]},
        workers={"delete": given.append},
        approval="grant",
    )
    assert (done.outputs, given, done.approvals) == (["done"], [{"path": "old.txt"}], ())
    assert (clerk.parent / "old.txt").exists()


def test_attempts_wait_as_long_as_they_are_asked_to(clerk: Path):
    """And no real time: a full server, a cut stream, an answer of the wrong type."""
    script = [Failure(529, retry_after_s=8.0), Cut("no"), Text("no string"), "yes"]
    done = run_virtual(clerk, ["x"], models=script)
    assert done.outputs == ["yes"]
    assert 8 <= done.ended_s < 60
    assert [(event.port, event.data) for event in done.events] == [("o", "yes")]
    assert done.events[0].at_s == done.ended_s
    assert len(done.requests) == 4
    assert {request.agent for request in done.requests} == {"clerk"}


def test_what_is_not_scripted_fails(clerk: Path):
    """As with a server; a script that fails as well."""
    with pytest.raises(UnscriptedRequest, match="request 1: no answer is scripted for agent 'clerk'"):
        run_virtual(clerk, ["x"])
    with pytest.raises(UnscriptedRequest, match="failed with ZeroDivisionError"):
        run_virtual(clerk, ["x"], models=lambda request: 1 / 0)


def test_how_a_program_fails_is_told(clerk: Path):
    """Exit code, error, and what became of the message."""
    done = run_virtual(clerk, ["x"], models=Failure(400, "no"), restarts_max=0)
    assert (done.outputs, done.exit_code) == ([], 1)
    assert done.error is not None
    assert "answered 400: no" in done.error[1]
    assert done.finish.exit_code == 1


def test_inputs_by_name_and_functions_of_the_program(tmp_path: Path):
    """The functions beside the program are found; each input has its messages."""
    (tmp_path / "pair.plumb").write_text(TEXT)
    (tmp_path / "halves.py").write_text("def half(value):\n    return value // 2\n")
    done = run_virtual(tmp_path / "pair.plumb", {"a": [10, 20], "b": [7]})
    assert sorted(done.outputs) == [3, 5, 10]
    with pytest.raises(ConfigError, match="the program has no input 'c'; it has 'a', 'b'"):
        run_virtual(tmp_path / "pair.plumb", {"c": [1]})
    with pytest.raises(ConfigError, match="the program has the inputs 'a', 'b': give a mapping"):
        run_virtual(tmp_path / "pair.plumb", [1])


TEXT = """
let half : !int -> !int = python { call: "halves:half" }
let main : (!int, !int) -> !int = plumb(a, b, o) { a ; half ; o  b ; half ; o }
"""


def test_a_program_may_be_text_and_its_workers_may_crash():
    """A process dies in the middle; the message goes to the next one, and the seed is the run."""
    source = Source("half.plumb", 'let f : !int -> !int = python { call: "m:f" }\nlet main : !int -> !int = f\n')
    faults = Faults(crashes=(Crash("f", 4),))
    runs = [run_virtual(source, [1, 2], workers={"f": lambda n: n * 10}, faults=faults, seed=3) for _ in range(2)]
    assert [run.outputs for run in runs] == [[10, 20], [10, 20]]
    assert [record.status for record in runs[0].simulated.processes] == [-9, 0]
    assert runs[0].ended_s == runs[1].ended_s


def test_a_text_that_does_not_check_is_refused():
    """As by ``fabric check``."""
    with pytest.raises(CheckError, match="there is no field 'input'"):
        run_virtual(Source("x.plumb", "let main : !int -> !string = map(input)"), [])


def test_a_program_of_others_needs_a_stand_in(tmp_path: Path):
    """It could not be run in virtual time; a function can."""
    path = tmp_path / "echo.plumb"
    path.write_text('let w : !int -> !int = worker { command: ["./w"] }\nlet main : !int -> !int = w\n')
    with pytest.raises(ConfigError, match="worker 'w' is a program of its own: give a function that stands for it"):
        run_virtual(path, [1])
    assert run_virtual(path, [1], workers={"w": lambda n: n + 1}).outputs == [2]


def test_an_error_of_the_test_is_raised_as_it_is(clerk: Path):
    """Not wrapped in the groups of all the nurseries that it came through."""

    def decide(approval: Approval) -> Decision:
        raise LookupError(approval.tool)

    with pytest.raises(LookupError, match="delete"):
        run_virtual(clerk, ["x"], models=[DELETE], approve=decide)


def test_a_stand_in_has_to_give_what_the_program_says(clerk: Path):
    """Its failure is told to the model, as that of a tool would be."""
    done = run_virtual(clerk, ["x"], models=[DELETE, told], workers={"delete": lambda value: 3}, approval="grant")
    assert "delete" in done.outputs[0]
    assert "expected" in done.outputs[0]


def test_several_parts_in_one_answer(clerk: Path):
    """Words before a call are no answer yet."""
    script = {"clerk": [Answer(Text("I look."), DELETE), "done"]}
    stand_in: dict[str, Any] = {"delete": lambda arguments: None}
    assert run_virtual(clerk, ["x"], models=script, workers=stand_in, approval="grant").outputs == ["done"]
