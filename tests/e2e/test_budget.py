"""Budgets, time limits and costs as a user meets them: real agents, and a script that notes each call by itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from mcp_peers import lines
from paid_model import PaidModel, paid_model
from services import record_of, said, wait_gone
from three_ways import FABRIC, environment, fabric, input_lines, read_lines

pytestmark = pytest.mark.processes

SCRIPT = """
import json, os

def answer(text, messages):
    noted = os.open("calls.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(noted, (text + "\\n").encode())
    os.close(noted)
    return "said " + json.loads(text)
"""
AGENT = 'let {} : !string -> !string = agent {{ provider: "scripted", script: "script:answer", max_tokens: 100 }}\n'


def program(folder: Path, agents: int = 1) -> Path:
    """Write a program of agents side by side."""
    (folder / "script.py").write_text(SCRIPT)
    path = folder / "many.plumb"
    names = [f"a{number}" for number in range(agents)]
    path.write_text(
        "".join(map(AGENT.format, names))
        + "let main : !string -> !string = plumb(i, o) {\n"
        + "".join(f"i ; {name} ; o\n" for name in names)
        + "}\n"
    )
    return path


def attempts(folder: Path) -> int:
    log = folder / "calls.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def errors(stderr: bytes) -> list[Any]:
    lines = [line for line in stderr.splitlines() if line.startswith(b'{"error"')]
    return [json.loads(line) for line in lines]


# --- run ---


def test_ten_agents_make_no_more_calls_than_the_budget_has(project: Path):
    """At once, as real processes. What was called is delivered; 3, and why; the summary counts."""
    done = fabric("run", "--budget-calls", 7, program(project, 10), cwd=project, stdin=input_lines(["x", "y", "z"]))
    assert done.returncode == 3
    assert attempts(project) == len(read_lines(done.stdout)) == 7
    (error,) = errors(done.stderr)
    assert (error["code"], error["error"].split(":")[0]) == ("budget_exhausted", "the budget of 7 calls is used up")
    assert b'{"lost":0,"dead_lettered":' in done.stderr
    assert done.stderr.splitlines()[-1].decode().startswith("7 calls · ")


def test_a_budget_that_is_enough_changes_nothing(project: Path):
    """All answers, 0; on stderr only what was used. As an object if that is wanted."""
    path = program(project)
    done = fabric("run", path, cwd=project, stdin=b'"x"\n', env={"FABRIC_BUDGET_TOKENS": "100000"})
    assert (done.returncode, read_lines(done.stdout)) == (0, ["said x"])
    assert done.stderr.decode().startswith("1 call · ")
    done = fabric("call", "--budget-usd", 1, path, '"x"', cwd=project, env={"FABRIC_LOG_FORMAT": "json"})
    told = json.loads(done.stderr)
    assert (told["event"], told["calls"], told["usd"]) == ("usage.told", 1, 0.0)


def test_the_project_says_a_limit_and_a_flag_wins(project: Path):
    """``[limits]`` of fabric.toml."""
    path = program(project)
    (project / "fabric.toml").write_text("[limits]\ncalls = 1\n")
    done = fabric("run", path, cwd=project, stdin=input_lines(["x", "y"]))
    assert (done.returncode, read_lines(done.stdout)) == (3, ["said x"])
    done = fabric("run", "--budget-calls", "2", path, cwd=project, stdin=input_lines(["x", "y"]))
    assert (done.returncode, read_lines(done.stdout)) == (0, ["said x", "said y"])


@pytest.mark.parametrize(
    "flags",
    [
        ("--budget-usd", "nan"),
        ("--budget-calls", "0"),
        ("--budget-tokens", "99999999999999"),
        ("--max-time", "soon"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused(flags: tuple[str, str], project: Path):
    """With 2, and the flag's name; nothing runs."""
    done = fabric("run", f"{flags[0]}={flags[1]}", program(project), cwd=project, stdin=b'"x"\n')
    assert (done.returncode, done.stdout, attempts(project)) == (2, b"", 0)
    assert flags[0] in said(done)


def test_the_time_ends_a_graph_without_agents_whose_input_stays_open(project: Path):
    """What had come out is there."""
    path = project / "plain.plumb"
    path.write_text("let main : !int -> !int = map(value + 1)\n")
    reading, writing = os.pipe()
    os.write(writing, b"1\n")
    done = subprocess.run(
        [*FABRIC, "run", "--max-time", "1s", path],
        stdin=reading,
        capture_output=True,
        cwd=project,
        env=environment(),
        timeout=60,
        check=False,
    )
    os.close(reading)
    os.close(writing)
    assert (done.returncode, done.stdout) == (3, b"2\n")
    assert errors(done.stderr) == [{"error": "the time limit of 1 s is reached", "code": "time_limit"}]


def test_the_time_ends_a_worker_that_hangs(project: Path):
    """After the grace time, with 3 and what is lost."""
    path = project / "hangs.plumb"
    path.write_text(
        'let w : !int -> !int = python { call: "functions:hangs" }\n'
        "let main : !int -> !int = plumb(i, o) { i ; w ; o }\n"
    )
    done = fabric("run", "--max-time", "1", "--timeout", "0.5", path, cwd=project, stdin=b"1\n")
    assert done.returncode == 3
    (error,) = errors(done.stderr)
    assert error["error"] == "the time limit of 1 s is reached, and 0.5 s later not everything was done"
    assert b'{"lost":1,' in done.stderr


# --- dollars ---

HOSTED = 'let main : !string -> !string = agent {{ provider: "openai", model: "{}" }}\n'


def test_a_model_without_a_price_is_refused_before_anything_is_started(project: Path):
    """If the budget is in dollars. It says how to add one; with one of the project it goes on to what is next."""
    path = project / "hosted.plumb"
    path.write_text(HOSTED.format("gpt-none"))
    done = fabric("run", "--budget-usd", 1, path, cwd=project, stdin=b'"x"\n')
    assert done.returncode == 2
    (error,) = errors(done.stderr)
    assert error["error"].startswith(
        "a budget in dollars needs the price of 'gpt-none', the model of agent 'main', and"
    )
    assert '[prices."gpt-none"] input = …, output = …' in error["error"]
    (project / "fabric.toml").write_text('[prices."gpt-none"]\ninput = 1\noutput = 2.5\n')
    done = fabric("run", "--budget-usd", 1, path, cwd=project, stdin=b'"x"\n')
    assert "OPENAI_API_KEY" in said(done)


def paid(project: Path, server: PaidModel, *flags: object, messages: int = 1) -> Any:
    path = project / "hosted.plumb"
    path.write_text(HOSTED.format("gpt-4o"))
    env = {"PLUMB_ENDPOINT": server.url, "OPENAI_API_KEY": "key"}
    return fabric("run", *flags, path, cwd=project, stdin=input_lines(["x"] * messages), env=env)


def test_an_attempt_that_fails_is_a_call(project: Path):
    """The provider is busy for ever; the third attempt would be one too many. The server has seen two."""
    with paid_model(busy=100) as server:
        done = paid(project, server, "--budget-calls", 2)
        assert (done.returncode, len(server.requests)) == (3, 2)
    assert errors(done.stderr)[-1]["error"].startswith("the budget of 2 calls is used up: 2 calls used")
    assert b'{"lost":0,"dead_lettered":1,"unpaired":0}' in done.stderr


def test_what_a_hosted_model_took_is_told_in_dollars(project: Path):
    """By the table: 2.5 and 10 dollars for a million tokens. Without a budget, too."""
    with paid_model() as server:
        done = paid(project, server, messages=2)
        assert (done.returncode, read_lines(done.stdout), len(server.requests)) == (0, ["well"] * 2, 2)
    assert done.stderr.decode().splitlines() == ["2 calls · 2 200 tokens · $0.0070"]


def test_dollars_end_a_session_before_they_are_exceeded(project: Path):
    """Each call costs 0.0035 dollars. The reply that a call may ask for shrinks as the budget does."""
    with paid_model() as server:
        done = paid(project, server, "--budget-usd", 0.02, messages=20)
        asked = [body.get("max_completion_tokens", body.get("max_tokens")) for body in server.requests]
    assert done.returncode == 3
    assert 1 <= len(asked) <= 5
    assert asked == sorted(asked, reverse=True)
    assert asked[-1] < asked[0] < 8192
    assert len(read_lines(done.stdout)) == len(asked)
    assert errors(done.stderr)[-1]["error"].startswith("the budget of $0.0200 has no room for the next call: $0.0")


def test_the_plan_says_what_a_message_may_cost(project: Path):
    """Calls, tokens of replies, and dollars by the project's own price; or why there is no bound."""
    path = project / "hosted.plumb"
    path.write_text(HOSTED.format("mine"))
    (project / "fabric.toml").write_text("[prices.mine]\ninput = 1\noutput = 2.5\n")
    done = fabric("plan", path, cwd=project)
    assert "input: 4 calls, 32768 tokens of replies, $0.08192 for these tokens" in done.stdout.decode()
    bound = json.loads(fabric("plan", "--format", "json", path, cwd=project).stdout)["bound"]
    assert bound["inputs"]["input"]["calls"] == 4
    assert bound["unbounded"] is None


# --- up ---


def test_a_service_whose_budget_is_used_up_drains_by_itself(project: Path):
    """With 3. Its clients are told; what there was no call for is a dead letter, which another run may do."""
    path = program(project)
    started = fabric("up", "-d", "--budget-calls", "1", "--max-time", "1h", path, cwd=project)
    assert "ready · budget 1 call · 3600 s · " in said(started)
    assert fabric("send", '"x"', cwd=project).stdout == b'"said x"\n'
    refused = fabric("send", '"y"', cwd=project)
    assert refused.returncode == 1
    (error,) = errors(refused.stderr)
    assert (error["code"], "the budget of 1 call is used up" in error["error"]) == ("dead_lettered", True)
    ended = fabric("wait", cwd=project)
    assert ended.returncode == 3
    assert " · 1 call · " in said(ended)
    assert errors(ended.stderr)[0]["code"] == "budget_exhausted"
    assert attempts(project) == 1
    (letter,) = read_lines(fabric("dead", "list", "--format", "jsonl", cwd=project).stdout)
    assert letter["cause"] == "budget"
    assert fabric("up", "-d", path, cwd=project).returncode == 0
    assert fabric("dead", "retry", "--all", cwd=project).returncode == 0
    assert attempts(project) == 2
    assert fabric("dead", "list", "--format", "jsonl", cwd=project).stdout == b""
    assert fabric("down", cwd=project).returncode == 0


# --- cost ---


def test_cost_is_told_of_a_service_that_runs_and_of_one_that_has_ended(project: Path):
    """The same rows; as a table, as one object, as lines."""
    assert fabric("cost", cwd=project).returncode == 7
    assert fabric("up", "-d", program(project, 2), cwd=project).returncode == 0
    assert fabric("cost", cwd=project).stdout == b"'many' has called no model yet\n"
    assert fabric("send", '"x"', cwd=project).returncode == 0
    running = json.loads(fabric("cost", "--format", "json", cwd=project).stdout)
    assert (running["v"], running["running"], running["total"]["calls"], running["total"]["usd"]) == (1, True, 2, 0.0)
    assert {(row["worker"], row["model"], row["calls"]) for row in running["usage"]} == {
        ("a0", "scripted", 1),
        ("a1", "scripted", 1),
    }
    assert fabric("down", cwd=project).returncode == 0
    ended = json.loads(fabric("cost", "--format", "json", cwd=project).stdout)
    assert ended == running | {"running": False}
    lines = read_lines(fabric("cost", "--format", "jsonl", cwd=project).stdout)
    assert [{name: line[name] for name in row} for line, row in zip(lines, ended["usage"], strict=True)] == ended[
        "usage"
    ]
    table = fabric("cost", cwd=project).stdout.decode().splitlines()
    assert table[0].split() == ["WORKER", "MODEL", "CALLS", "IN", "CACHED", "WRITTEN", "OUT", "USD"]
    assert table[-1].split()[:2] == ["total", "2"]


def test_cost_of_a_service_that_was_killed_is_not_known(project: Path):
    """It says so."""
    assert fabric("up", "-d", program(project), cwd=project).returncode == 0
    pid = record_of(project / ".fabric" / "run" / "many.json")["process"]["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)
    done = fabric("cost", cwd=project)
    assert done.returncode == 7
    assert "what it has used is not known" in said(done)
    assert fabric("down", cwd=project).returncode == 0


def test_a_chat_has_a_budget_too(project: Path):
    """It ends with 3, and what was used is told."""
    done = fabric("chat", "--budget-calls", 1, program(project), cwd=project, stdin=b"x\ny\nz\n")
    assert (done.returncode, done.stdout) == (3, b"said x\n")
    assert done.stderr.splitlines()[-1].decode().startswith("1 call · ")


def test_a_program_that_somebody_sends_has_the_budget_of_one_call(project: Path):
    """Of `fabric mcp`, for each anew: two agents in a row have one call."""
    doctor = 'let {} : !string -> !string = agent {{ provider: "eliza" }}\n'
    two = doctor.format("a") + doctor.format("b") + "let main : !string -> !string = plumb(i, o) { i ; a ; b ; o }\n"
    with lines(project, "--budget-calls", "1") as client:
        for number, (source, failed) in enumerate([(two, True), (doctor.format("main"), False)], 1):
            client.call(number, source, input="I feel sad")
            result = client.read()["result"]
            assert result["isError"] is failed
            assert ("the budget of 1 call is used up" in result["content"][0]["text"]) is failed
        assert client.leave() == 0
