"""What is planned of tools: who calls them, by which name, and how what they are made of is run."""

from __future__ import annotations

import json

from plans import graph_of, module_of, plan_of

from fabric.graph.ir import End
from fabric.plan.make import Surroundings, make_plan
from fabric.plan.plan import ToolPlan
from fabric.plan.render import render_plan
from fabric.plan.tools import called_as
from fabric.wire.payload import STRING
from fabric.wire.spec import ToolSpec

TEXT = """
let write : { path: string, text: string } -> unit = tool { builtin: "fs.write" }
let talk : !string -> !string = agent { provider: "eliza" }
let chat : string -> string = tool { process: talk, description: "Talk." }
let w : !string -> !string = worker { command: ["./w"], tools: [chat, write] }
let lines : !string -> !string = worker { command: ["./w"], transport: "stdio", tools: [chat] }
let main : !string -> !string = plumb(i, o) { i ; w ; lines ; o }
"""
PLAN = plan_of(TEXT)
WORKERS = {worker.name: worker for worker in PLAN.workers}


def test_a_tool_knows_its_callers():
    """And where calls come in."""
    assert PLAN.tools == {
        "chat": ToolPlan("chat", End("chat.call", "arguments"), True, ("w", "lines"), repeatable=True),
        "write": ToolPlan("write", End("write.call", "arguments"), True, ("w",), effects=True, repeatable=True),
    }


def test_who_may_call_has_the_ports_and_knows_the_tools():
    """Nobody else has them; on lines there are no ports."""
    assert list(WORKERS["w"].endpoints)[-2:] == ["tool_req", "tool_resp"]
    assert WORKERS["w"].spec.tools[0] == ToolSpec("chat", STRING, STRING, "Talk.")
    assert "tool_req" not in WORKERS["chat.talk"].endpoints
    assert (WORKERS["lines"].endpoints, WORKERS["lines"].tools) == ({}, {"chat": "chat"})


def test_a_program_on_lines_that_calls_tools_has_one_message_at_a_time():
    """The line behind its call is the result."""
    assert (WORKERS["w"].window, WORKERS["lines"].window) == (64, 1)


def test_an_agent_in_a_tool_remembers_nothing():
    """Calls share it."""
    assert WORKERS["chat.talk"].spec.config["amnesiac"] is True
    assert (WORKERS["chat.talk"].spec.part_of, WORKERS["chat.talk"].window) == ("chat", 8)


def test_a_builtin_is_told_its_folder():
    """The program's, unless somebody names another."""
    assert WORKERS["write"].spec.config == {"call": "fs.write", "builtin": "fs.write", "docroot": "."}
    plan = make_plan(module_of(TEXT), graph_of(TEXT), Surroundings("python", "RUN", ".", docroot="/x"))
    (config,) = (worker.spec.config for worker in plan.workers if worker.name == "write")
    assert config["docroot"] == "/x"


def test_tools_with_effects_are_known():
    """Builtins that change something; not what a program is made of."""
    assert {tool.name for tool in PLAN.tools.values() if tool.effects} == {"write"}


REPEATED = """
let add : !string -> !int = python {{ call: "m:f" }}
let told : string -> int = tool {{ process: add, idempotent: true }}
let untold : string -> int = tool {{ process: add }}
let size : !string -> !int = map(0)
let pure : string -> int = tool {{ process: size }}
let list : {{ command: [string] }} -> {{ status: int, stdout: string, stderr: string }} = tool {{ builtin: "sys.exec" }}
let asks : !string -> !string = agent {{ provider: "eliza", tools: [{0}] }}
let nested : string -> string = tool {{ process: asks }}
let main : !string -> !string = agent {{ provider: "eliza", tools: [told, untold, pure, nested] }}
"""


def test_what_may_be_run_twice_is_what_says_so_or_does_nothing():
    """A python function may do anything. What is made of agents is as what they may call."""

    def repeatable(called: str) -> set[str]:
        return {tool.name for tool in plan_of(REPEATED.format(called)).tools.values() if tool.repeatable}

    assert repeatable("told, pure") == {"told", "pure", "nested"}
    assert repeatable("told, untold") == {"told", "pure"}
    assert repeatable("list") == {"told", "pure"}


def test_tools_are_started_before_who_calls_them():
    """As consumers before producers."""
    names = [worker.name for worker in PLAN.workers]
    assert names.index("w") > max(names.index("chat.talk"), names.index("write"))


def test_a_tool_of_another_file_may_be_called_by_its_last_name():
    """If no other tool of the caller ends so."""
    assert called_as(["Fs.read", "words"]) == {"Fs.read": "Fs.read", "words": "words", "read": "Fs.read"}
    assert called_as(["Fs.read", "read"]) == {"Fs.read": "Fs.read", "read": "read"}
    assert called_as(["A.read", "B.read"]) == {"A.read": "A.read", "B.read": "B.read"}


def test_a_printed_plan_has_the_tools():
    """Who they are for, and the way of a call."""
    lines = [line.strip() for line in render_plan(PLAN, "text").splitlines()]
    assert lines[lines.index("tools") + 1 :][:2] == ["chat  for w, lines", "write  for w, asks for approval"]
    at = lines.index("chat.call !string")
    assert lines[at + 1] == "-> worker chat.talk.input"
    assert "-> chat.result" in lines
    plan = json.loads(render_plan(PLAN, "json"))
    assert plan["tools"] == [
        {"name": "chat", "callers": ["w", "lines"], "approval": False},
        {"name": "write", "callers": ["w"], "approval": True},
    ]
    assert {worker["name"]: worker["part_of"] for worker in plan["workers"]}["chat.talk"] == "chat"
