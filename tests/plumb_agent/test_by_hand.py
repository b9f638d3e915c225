"""Every documented payload, to a real process: on lines, and on sockets that are opened by hand.

The model is a script that answers ``{"greeting":"hi"}`` and, where an input says so, calls tools.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from by_hand import MODES, Hand, by_hand

pytestmark = [pytest.mark.processes, pytest.mark.parametrize("mode", MODES)]

PROGRAM = """
use fs
type Greeting = {{ greeting: string }}
let shout : !string -> !string = map(value + "!")
let loud : string -> string = tool {{ process: shout, description: "Say it loudly." }}
let bot : (!string, !json) -> (!Greeting, !json) = agent {{
  provider: "scripted"
  model: "claude-haiku-4-5-20251001"
  script: "model:reply"
  tools: [Fs.read, loud]
  {config}
}}
let main : (!string, !json) -> (!Greeting, !json) = plumb(said, told, answer, seen) {{
  spawn bot(input=said, ctrl_in=told, output=answer, telemetry=seen)
}}
"""

MODEL = """
import json
from plumb_agent.providers.scripted import Call, Text

READ = Call("read", {"path": "notes.md"})
PIN = Call("pin", {"tool": "read", "arguments": {"path": "notes.md"}})

def reply(text, messages):
    said = json.loads(text)
    rounds = 0
    for message in reversed(messages):
        if message["content"] == text and message["role"] == "user":
            break
        rounds += message["role"] == "assistant"
    plan = {"read": [READ], "both": [[READ, Call("loud", {"input": "hey"})]], "pin": [READ, PIN], "again": [READ],
            "wrong": [Call("loud", {"input": 1})], "forever": [READ] * 99, "no json": [Text("no json")]}.get(said, [])
    return plan[rounds] if rounds < len(plan) else {"greeting": "hi"}
"""

HI = {"greeting": "hi"}
MEMORY = [{"role": "user", "content": '"hello"'}, {"role": "assistant", "content": '{"greeting":"hi"}'}]


def program(folder: Path, config: str = "") -> Path:
    """Write the program, and return its path."""
    (folder / "model.py").write_text(MODEL, encoding="utf-8")
    (folder / "bot.plumb").write_text(PROGRAM.format(config=config), encoding="utf-8")
    return folder / "bot.plumb"


async def say(hand: Hand, text: str) -> Any:
    """Write an input and return its output."""
    await hand.write("input", text)
    return await hand.read("output")


async def events(hand: Hand, number: int) -> list[Any]:
    return [await hand.read("telemetry") for _ in range(number)]


# Control, row by row


async def test_set_temp(mode: str, tmp_path: Path):
    """A number, and null for what the program says. The next call has it."""
    async with by_hand(mode, program(tmp_path), PIPELINE_DEBUG="1") as hand:
        for command in ({"set_temp": 0.9}, {"set_temp": None}):
            await hand.write("ctrl_in", command)
            await hand.ask({"resume": True})
            assert await say(hand, "hello") == HI
        assert await hand.end() == 0
    requests = [line.get("temperature") for line in hand.errors if line["event"] == "api_request"]
    assert requests == [0.9, None]


async def test_set_model(mode: str, tmp_path: Path):
    """A name, and null for what the program says. Telemetry tells which it was."""
    async with by_hand(mode, program(tmp_path)) as hand:
        for command in ({"set_model": "claude-opus-4-20250514"}, {"set_model": None}):
            await hand.write("ctrl_in", command)
            await hand.ask({"resume": True})
            assert await say(hand, "hello") == HI
        told = [event["model"] for event in await events(hand, 5) if event["kind"] == "usage"]
        assert told == ["claude-opus-4-20250514", "claude-haiku-4-5-20251001"]
        assert await hand.end() == 0


async def test_stop(mode: str, tmp_path: Path):
    """Clean, although the input is open."""
    async with by_hand(mode, program(tmp_path)) as hand:
        assert await say(hand, "hello") == HI
        await hand.write("ctrl_in", {"stop": True})
        assert await hand.leave() == 0


async def test_pause_and_resume(mode: str, tmp_path: Path):
    """Acknowledged at once; in between control and memory are live, and no input is taken."""
    async with by_hand(mode, program(tmp_path)) as hand:
        assert await hand.ask({"pause": True}) == {"kind": "pause_ack"}
        await hand.write("input", "hello")
        assert await hand.ask({"get_memory": True}) == {"kind": "memory", "messages": [], "pinned": []}
        acknowledged = {"kind": "memory_set", "old_messages": 0, "new_messages": 2}
        assert await hand.ask({"set_memory": MEMORY}) == acknowledged
        assert hand.rest("output") == []
        assert await hand.ask({"resume": True}) == {"kind": "resume_ack"}
        assert await hand.read("output") == HI
        assert len((await hand.ask({"get_memory": True}))["messages"]) == 4
        assert await hand.end() == 0


async def test_get_memory(mode: str, tmp_path: Path):
    """The documented dump, in both formats; any other format is the first."""
    async with by_hand(mode, program(tmp_path)) as hand:
        assert await say(hand, "hello") == HI
        shown = {"kind": "memory", "messages": MEMORY, "pinned": []}
        assert await hand.ask({"get_memory": True}) == shown
        assert await hand.ask({"get_memory": True, "format": "openai"}) == shown
        assert await hand.ask({"get_memory": True, "format": "xml"}) == shown
        assert await hand.end() == 0


async def test_set_memory(mode: str, tmp_path: Path):
    """The documented example and its counts; a malformed one changes nothing and has no reply."""
    example = [{"role": "user", "content": '"hello"'}, {"role": "assistant", "content": '"world"'}]
    async with by_hand(mode, program(tmp_path)) as hand:
        await hand.ask({"set_memory": example * 21})
        acknowledged = {"kind": "memory_set", "old_messages": 42, "new_messages": 2}
        assert await hand.ask({"set_memory": example}) == acknowledged
        for malformed in ([{"role": "user"}], [{"content": "x"}], [*example, {}], {}, "x"):
            await hand.write("ctrl_in", {"set_memory": malformed, "pause": True})
        assert (await hand.ask({"get_memory": True}))["messages"] == example
        assert await hand.end() == 0
    assert [line["event"] for line in hand.errors] == ["control_refused"] * 5


async def test_what_a_dump_shows_can_be_set_again(mode: str, tmp_path: Path):
    """Tools and all, in both formats."""
    async with by_hand(mode, program(tmp_path)) as hand:
        await hand.write("input", "read")
        call = await hand.read("tool_req")
        await hand.write("tool_resp", {"id": call["id"], "content": "the notes"})
        assert await hand.read("output") == HI
        for format_, roles in (("blocks", ["user", "assistant", "user", "assistant"]),
                               ("openai", ["user", "assistant", "tool", "assistant"])):  # fmt: skip
            shown = await hand.ask({"get_memory": True, "format": format_})
            assert [message["role"] for message in shown["messages"]] == roles
            acknowledged = {"kind": "memory_set", "old_messages": 4, "new_messages": 4}
            assert await hand.ask({"set_memory": shown["messages"]}) == acknowledged
            assert await hand.ask({"get_memory": True, "format": format_}) == shown
        assert await hand.end() == 0


async def test_unknown_fields_are_ignored(mode: str, tmp_path: Path):
    """Without a word."""
    async with by_hand(mode, program(tmp_path)) as hand:
        assert await hand.ask({"colour": "red", "pause": True}) == {"kind": "pause_ack"}
        assert await hand.end() == 0
    assert hand.errors == []


async def test_nonsense_on_the_control_channel_is_survived(mode: str, tmp_path: Path):
    """Each with a warning."""
    async with by_hand(mode, program(tmp_path)) as hand:
        await hand.write("ctrl_in", [1], "x", None, 7, {"pause": 1}, {"set_temp": "hot"}, {"set_temp": 3})
        assert await hand.ask({"get_memory": True}) == {"kind": "memory", "messages": [], "pinned": []}
        assert await say(hand, "hello") == HI
        assert await hand.end() == 0
    assert [line["event"] for line in hand.errors] == ["control_refused"] * 7


# Tools


async def test_tools(mode: str, tmp_path: Path):
    """Two calls at once, answered in the other order; one of them with an error."""
    async with by_hand(mode, program(tmp_path)) as hand:
        await hand.write("input", "both")
        first, second = await hand.read("tool_req"), await hand.read("tool_req")
        assert (first["name"], first["arguments"]) == ("Fs.read", {"path": "notes.md"})
        assert (second["name"], second["arguments"]) == ("loud", "hey")
        assert first["id"] != second["id"]
        await hand.write("tool_resp", {"id": second["id"], "content": "HEY!"}, {"id": first["id"], "error": "no file"})
        assert await hand.read("output") == HI
        told = {event["name"]: event for event in await events(hand, 6) if event["kind"] == "tool_call"}
        assert {name: (event["summary"], event["is_error"]) for name, event in told.items()} == {
            "loud": ("ok", False),
            "read": ("no file", True),
        }
        assert told["read"]["arguments"] == '{"path":"notes.md"}'
        results = (await hand.ask({"get_memory": True}))["messages"][2]["content"]
        assert [(result["content"], result["is_error"]) for result in results] == [("no file", True), ("HEY!", False)]
        assert await hand.end() == 0


async def test_inputs_behind_a_call_are_kept(mode: str, tmp_path: Path):
    """On one stream the answer of a tool comes behind them."""
    async with by_hand(mode, program(tmp_path)) as hand:
        await hand.write("input", "read", "hello", "hello")
        call = await hand.read("tool_req")
        await hand.write("tool_resp", {"id": call["id"], "content": "the notes"})
        assert [await hand.read("output") for _ in range(3)] == [HI] * 3
        assert await hand.end() == 0


async def test_a_call_with_wrong_arguments_does_not_leave(mode: str, tmp_path: Path):
    """The model is told, and goes on."""
    async with by_hand(mode, program(tmp_path)) as hand:
        assert await say(hand, "wrong") == HI
        assert await hand.end() == 0
        assert hand.rest("tool_req") == []


async def test_the_end_of_the_tools_fails_who_waits_for_one(mode: str, tmp_path: Path):
    """On lines that is the end of stdin."""
    async with by_hand(mode, program(tmp_path)) as hand:
        await hand.write("input", "read")
        await hand.read("tool_req")
        assert await hand.end("tool_resp") == 1
    assert [line["code"] for line in hand.errors] == ["tool_channel_closed"]


async def test_too_many_calls(mode: str, tmp_path: Path):
    """The limit is of one input."""
    async with by_hand(mode, program(tmp_path, "max_tool_calls: 2")) as hand:
        for text in ("read", "forever"):
            await hand.write("input", text)
            for _ in range(1 if text == "read" else 2):
                call = await hand.read("tool_req")
                await hand.write("tool_resp", {"id": call["id"], "content": "the notes"})
        assert await hand.leave() == 1
    assert [line["code"] for line in hand.errors] == ["tool_limit"]


async def test_responses_to_nobody_are_survived(mode: str, tmp_path: Path):
    """With a warning each."""
    async with by_hand(mode, program(tmp_path)) as hand:
        await hand.write("tool_resp", {"id": "c1", "content": 1}, {"id": 7, "content": 1}, [], {"id": "c1"})
        await hand.write("input", "read")
        call = await hand.read("tool_req")
        await hand.write("tool_resp", {"id": call["id"]})
        assert await hand.read("output") == HI
        assert await hand.end() == 0
    assert [line["event"] for line in hand.errors] == ["tool_response_ignored"] * 4


async def test_mcp_tools(mode: str, tmp_path: Path):
    """From the file that the environment names; telemetry says that they are there."""
    (tmp_path / "tools.json").write_text('{"tools":[{"name":"time.now","inputSchema":{"type":"object"}}]}')
    environment = {"PLUMB_MCP_TOOLS": str(tmp_path / "tools.json")}
    async with by_hand(mode, program(tmp_path), **environment) as hand:
        (config,) = await events(hand, 1)
        assert config["tools"] == ["Fs.read", "loud", "time.now"]
        assert await hand.end() == 0


# Pins


async def test_pins_survive_compactions(mode: str, tmp_path: Path):
    """As documented: told, shown, not called again, and first in the history after it was replaced, twice."""
    pinned = [{"tool": "read", "arguments": {"path": "notes.md"}, "content": "the notes"}]
    async with by_hand(mode, program(tmp_path), PIPELINE_DEBUG="1") as hand:
        await hand.write("input", "pin")
        call = await hand.read("tool_req")
        await hand.write("tool_resp", {"id": call["id"], "content": "the notes"})
        assert await hand.read("output") == HI
        state = {"kind": "pin_state", "action": "pin", "count": 1, "keys": ['read({"path":"notes.md"})']}
        assert state in await events(hand, 8)
        for _ in range(2):
            assert (await hand.ask({"get_memory": True}))["pinned"] == pinned
            counts = await hand.ask({"set_memory": MEMORY})
            assert counts["new_messages"] == 2
            shown = await hand.ask({"get_memory": True})
            assert shown == {"kind": "memory", "messages": MEMORY, "pinned": pinned}
            assert await say(hand, "again") == HI
            (told,) = [event for event in await events(hand, 4) if event["kind"] == "tool_call"]
            assert (told["name"], told["summary"]) == ("read", "ok")
        assert await hand.end() == 0
        assert hand.rest("tool_req") == []
    rounds = [line["content"] for line in hand.errors if line.get("role") == "user"]
    notes = [text for round_ in rounds if isinstance(round_, list) and '"note"' in (text := round_[0]["content"])]
    assert len(notes) == 2
    assert all('block at the top of your conversation."}' in note for note in notes)


# Telemetry


async def test_telemetry(mode: str, tmp_path: Path):
    """The documented events, with their keys in the documented order."""
    async with by_hand(mode, program(tmp_path)) as hand:
        assert await say(hand, "hello") == HI
        config, usage, output = await events(hand, 3)
        assert list(config) == ["kind", "model", "provider", "max_tokens", "thinking_budget", "tools"]
        assert config["model"] == "claude-haiku-4-5-20251001"
        names = ["kind", "prompt_tokens", "completion_tokens", "cache_read_tokens", "cache_creation_tokens", "model"]
        assert list(usage) == names
        assert output == {"kind": "output", "content": HI}
        assert await hand.end() == 0


async def test_debug_lines(mode: str, tmp_path: Path):
    """The documented ones; what does not stay in the history is marked."""
    async with by_hand(mode, program(tmp_path), PIPELINE_DEBUG="1") as hand:
        assert await say(hand, "no json") == HI
        assert await hand.end() == 0
    lines = [(line["event"], line.get("role"), line.get("retry", False)) for line in hand.errors]
    call = [("api_request", None, False)]
    assert lines == [
        ("message", "user", False),
        *call,
        ("message", "assistant", True),
        ("api_response", None, False),
        ("message", "user", True),
        *call,
        ("message", "assistant", False),
        ("api_response", None, False),
    ]
    model = "claude-haiku-4-5-20251001"
    documented = {"model": model, "max_tokens": 8192, "thinking_budget": None, "message_count": 1}
    assert hand.errors[1] == {"log": "debug", "event": "api_request", **documented}
