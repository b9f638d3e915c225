"""Programs as users write them, against scripted models: nothing in them knows that it is a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from peers import aimock

import fabric
from fabric.errors import PipelineError
from fabric.testing import (
    Answer,
    Call,
    Cut,
    FabricRun,
    Failure,
    ProcessesLeft,
    Text,
    Thinking,
    UnscriptedRequest,
    cassette,
    scripted_model,
)
from fabric.testing.leftovers import leftovers

pytestmark = pytest.mark.processes

TEXT = """
type Verdict = { ok: bool, why: string }
let words : !string -> !int = python { call: "words:count" }
let count : string -> int = tool { process: words }
let judge : !string -> !Verdict = agent { provider: "API" model: "m" prompt: "Judge." tools: [count] }
let poet : !Verdict -> !string = agent { provider: "API" model: "m" prompt: "Write." }
let main : !string -> !string = plumb(i, o) { i ; judge ; poet ; o }
"""

GOOD = {"ok": True, "why": "short"}


@pytest.fixture(params=["anthropic", "openai"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A program of two agents and a tool, with one of the providers."""
    (tmp_path / "words.py").write_text("def count(text):\n    return len(text.split())\n")
    path = tmp_path / "review.plumb"
    path.write_text(TEXT.replace("API", request.param))
    return path


def test_each_agent_has_its_own_script(program: Path, fabric_run: FabricRun):
    """A tool is called by the model and run by the fabric; a model may think first."""
    script = {
        "judge": [Call("count", {"input": "three little words"}), Answer(Thinking("Hm."), GOOD)],
        "poet": lambda request: f"An ode to {json.loads(request.prompt)['why']} words",
    }
    with scripted_model(script) as model:
        assert fabric_run(program, "three little words", env=model.env) == ["An ode to short words"]
        assert model.unused == []
    first, second = model.asked("judge")
    assert (first.agent, first.prompt, "count" in first.tools) == ("judge", '"three little words"', True)
    assert second.results == ("3",)
    assert first.system.startswith("Judge.")
    assert [request.agent for request in model.requests] == ["judge", "judge", "poet"]


def test_what_goes_wrong_and_passes_is_overcome(program: Path, fabric_run: FabricRun):
    """A wrong answer is asked again with what was wrong; a full server and a cut stream are tried again."""
    wrong = [Text("It is fine, I think."), {"ok": "yes"}]
    script = {"judge": [*wrong, GOOD], "poet": [Failure(429, "busy", retry_after_s=0), Cut("An ode"), "An ode"]}
    with scripted_model(script) as model:
        assert fabric_run(program, "x", env=model.env) == ["An ode"]
    assert len(model.requests) == 6
    assert "It is fine, I think." in str(model.asked("judge")[1].body["messages"])


@pytest.mark.parametrize("own", ["http://127.0.0.1:9/v1", "http://127.0.0.1:9/x/chat/completions?version=2"])
def test_an_agent_with_an_endpoint_of_its_own_is_scripted_as_well(program: Path, fabric_run: FabricRun, own: str):
    """Called from Python and run by a command."""
    program.write_text(program.read_text().replace('model: "m"', f'model: "m" endpoint: "{own}"'))
    with scripted_model({"judge": GOOD, "poet": "An ode"}) as model:
        assert fabric_run(program, "x", env=model.env) == ["An ode"]
        command = [sys.executable, "-P", "-m", "fabric.cli", "run", str(program)]
        done = subprocess.run(command, input='"x"\n', env=os.environ | model.env, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ('"An ode"\n', 0), done.stderr
    assert [request.agent for request in model.requests] == ["judge", "poet"] * 2


def test_an_agent_with_an_endpoint_of_its_own_is_recorded_from_there(tmp_path: Path, fabric_run: FabricRun):
    """Its key goes to no other one; replayed, nobody is asked."""
    path, tape_path = tmp_path / "two.plumb", tmp_path / "two.jsonl"
    keys = {"ANTHROPIC_API_KEY": "sk-0123456789abcdef", "OPENAI_API_KEY": "sk-0123456789abcdef"}
    with scripted_model({"far": "far"}) as own, scripted_model({"near": "near"}) as home:
        path.write_text(
            f"""
            let far : !string -> !string = agent {{ provider: "openai" model: "m" endpoint: "{own.url}/v1" }}
            let near : !string -> !string = agent {{ provider: "openai" model: "m" }}
            let main : !string -> !string = plumb(i, o) {{ i ; far ; near ; o }}
            """
        )
        with cassette(tape_path, "record", endpoints={"openai": home.url}) as tape:
            assert fabric_run(path, "x", env=tape.env | keys) == ["near"]
        assert (len(own.requests), len(home.requests)) == (1, 1)
    with cassette(tape_path) as tape:
        assert fabric_run(path, "x", env=tape.env) == ["near"]
        assert tape.unused == []


def test_an_unscripted_request_fails_the_test_though_the_program_fails_as_well(program: Path, fabric_run: FabricRun):
    """The program's error says it, too."""
    with scripted_model({"judge": GOOD}) as model:
        with pytest.raises(PipelineError, match=r"fabric\.testing: request 2: no answer is scripted for agent 'poet'"):
            fabric_run(program, "x", env=model.env)
        with pytest.raises(UnscriptedRequest, match="agent 'judge': does not fit"):
            model.check()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_pipeline_under_any_loop(backend: str, program: Path):
    """One model serves all messages of a conversation."""

    async def main() -> list[Any]:
        with scripted_model({"judge": GOOD, "poet": [f"ode {number}" for number in range(3)]}) as model:
            async with await fabric.run(program, env=model.env) as pipeline:
                return [(await pipeline.call(f"text {number}"))[0] for number in range(3)]

    assert anyio.run(main, backend=backend) == ["ode 0", "ode 1", "ode 2"]


def test_a_program_is_recorded_and_replayed(program: Path, tmp_path: Path, fabric_run: FabricRun, monkeypatch: Any):
    """The server is gone then, and so is the key."""
    monkeypatch.delenv("FABRIC_CASSETTE", raising=False)
    script = {"judge": [Failure(529, retry_after_s=0), Call("count", {"input": "a b"}), GOOD], "poet": ["An ode"]}
    path = tmp_path / "tape.jsonl"
    keys = {"ANTHROPIC_API_KEY": "sk-0123456789abcdef", "OPENAI_API_KEY": "sk-0123456789abcdef"}
    with (
        scripted_model(script) as model,
        cassette(path, "record", endpoints={"anthropic": model.url, "openai": model.url}) as tape,
    ):
        recorded = fabric_run(program, "x", env=tape.env | keys)
    with cassette(path) as tape:
        assert fabric_run(program, "x", env=tape.env) == recorded == ["An ode"]
        assert tape.unused == []
    assert "sk-0123456789abcdef" not in path.read_text()
    assert [json.loads(line)["agent"] for line in path.read_text().splitlines()] == ["judge"] * 3 + ["poet"]


def test_a_cassette_is_recorded_from_a_server_of_others(
    program: Path, tmp_path: Path, fabric_run: FabricRun, monkeypatch: Any
):
    """aimock's streams are replayed as they came."""
    monkeypatch.delenv("FABRIC_CASSETTE", raising=False)
    fixtures = [
        {"match": {"userMessage": "why"}, "response": {"content": '"An ode, of several pieces"'}, "chunkSize": 5},
        {"match": {"userMessage": "text"}, "response": {"content": json.dumps(GOOD)}},
    ]
    path = tmp_path / "tape.jsonl"
    keys = {"ANTHROPIC_API_KEY": "k", "OPENAI_API_KEY": "k"}
    with aimock(fixtures, tmp_path) as server:
        ends = {"anthropic": server.url, "openai": server.url}
        with cassette(path, "record", endpoints=ends) as tape:
            assert fabric_run(program, "text", env=tape.env | keys) == ["An ode, of several pieces"]
    with cassette(path) as tape:
        assert fabric_run(program, "text", env=tape.env) == ["An ode, of several pieces"]


# --- What is left -----------------------------------------------------------------------------------------------------


def test_a_pipeline_that_is_left_running_is_ended_and_told(program: Path):
    """Its processes are named; nothing of them is there afterwards."""
    runs = FabricRun()
    before = [process.pid for process in leftovers()]

    async def main() -> None:
        with scripted_model() as model:
            pipeline = await runs.start(program, env=model.env)
            with pytest.raises(ProcessesLeft, match=r"the test left \d processes running, which were ended: \d+ .*"):
                runs.check()
            await pipeline.shutdown()

    anyio.run(main)
    assert leftovers(before) == []
    runs.check()


def test_nothing_is_left_behind_a_call(program: Path):
    """But for the process that workers are forked from, which is kept warm."""
    runs = FabricRun()
    with scripted_model({"judge": GOOD, "poet": "An ode"}) as model:
        runs(program, "x", env=model.env)
    runs.check()
