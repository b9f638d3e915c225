"""Hosted models from end to end: real agents, on sockets and on lines, against a server of somebody else's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from llm_bytes import RESET, Answer, anthropic_text, json_answer, playing, stream
from llm_recordings import message, text
from peers import Aimock, aimock
from three_ways import FABRIC, environment

pytestmark = pytest.mark.processes

KEY = "sk-e2e-Zx9+/=0123456789abcdef"
LONG = "The quick brown fox jumps over the lazy dog, again and again. " * 5
WAYS = [(api, way) for api in ("anthropic", "openai") for way in ("fabric", "lines")]

TEXT = """
type Verdict = { ok: bool, why: string }
let words : !string -> !int = python { call: "words:count" }
let count : string -> int = tool { process: words }
let judge : !string -> (!Verdict, !json) = agent {
  provider: "API"
  model: "m"
  prompt: "Judge."
  max_tokens: 4000
  thinking_budget: 2000
  tools: [count]
}
let main : !string -> !Verdict = plumb(i, o) { i ; judge ; o }
"""


def verdict(why: str) -> dict[str, Any]:
    return {"ok": True, "why": why}


def content(why: str) -> dict[str, str]:
    return {"content": json.dumps(verdict(why))}


def fixtures(of: str) -> list[dict[str, Any]]:
    """Return what the server answers to one of the ways; some answers depend on how often it was asked."""

    def once(text: str, response: dict[str, Any], **how: Any) -> list[dict[str, Any]]:
        match = {"userMessage": f"{text} {of}"}
        after = {"match": match, "response": content(f"after {text}")}
        return [{"match": match | {"sequenceIndex": 0}, "response": response, **how}, after]

    def error(status: int) -> dict[str, Any]:
        return {"error": {"message": "Not now", "type": "overloaded_error"}, "status": status, "retryAfter": 1}

    used = {"input_tokens": 21, "output_tokens": 5, "prompt_tokens": 21, "completion_tokens": 5}
    call = {"toolCalls": [{"id": "call_7", "name": "count", "arguments": {"input": "three little words"}}]}
    return [
        *once("busy", error(429)),
        *once("overloaded", error(529)),
        *once("cut", content(LONG), truncateAfterChunks=3, latency=20),
        *once("wrong", {"content": "I think that it is fine."}),
        {"match": {"userMessage": f"plain {of}"}, "response": content("plain") | {"usage": used}},
        {"match": {"userMessage": f"long {of}"}, "response": content(LONG), "chunkSize": 5},
        {"match": {"userMessage": f"slow {of}"}, "response": content(LONG), "latency": 60},
        {"match": {"userMessage": f"think {of}"}, "response": content("1") | {"reasoning": "Let me see."}},
        {"match": {"userMessage": f"tool {of}", "hasToolResult": False}, "response": call},
        {"match": {"userMessage": f"tool {of}", "hasToolResult": True}, "response": content("three")},
        {"match": {"userMessage": "could not use that answer"}, "response": content("better")},
    ]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    """One server for all."""
    answers = [fixture for way in WAYS for fixture in fixtures(" ".join(way))]
    with aimock(answers, tmp_path_factory.mktemp("aimock")) as running:
        yield running


class Done(NamedTuple):
    """What came of a run: values, telemetry, exit status, and all that was written anywhere."""

    outputs: list[Any]
    telemetry: list[dict[str, Any]]
    exit_code: int
    errors: list[dict[str, Any]]
    written: str

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.telemetry if event["kind"] == kind]


class Runner:
    """Runs the program with one API in one of the ways."""

    def __init__(self, api: str, way: str, url: str, folder: Path) -> None:
        self.name = f"{api} {way}"
        self._way = way
        self._folder = folder
        self._program = folder / "judge.plumb"
        self._program.write_text(TEXT.replace("API", api))
        (folder / "words.py").write_text("def count(text):\n    return len(text.split())\n")
        (folder / "key").write_text(f"{KEY}\n")
        keys = {"ANTHROPIC_API_KEY": KEY} if api == "anthropic" else {"OPENAI_API_KEY_FILE": str(folder / "key")}
        self._environment = environment() | keys | {"PLUMB_ENDPOINT": url, "PIPELINE_DEBUG": "1"}

    def run(self, *texts: str) -> Done:
        """Send each text, followed by the name of the way, and wait for the end."""
        values = [f"{text} {self.name}" for text in texts]
        return self._on_sockets(values) if self._way == "fabric" else self._on_lines(values)

    def _on_sockets(self, values: list[str]) -> Done:
        extra = self._folder / "telemetry"
        done = subprocess.run(
            [*FABRIC, "run", "--extra", f"telemetry={extra}", str(self._program)],
            input="".join(json.dumps(value) + "\n" for value in values).encode(),
            capture_output=True,
            cwd=self._folder,
            env=self._environment,
            timeout=120,
            check=False,
        )
        heard = [json.loads(line.split("\t", 1)[1]) for line in extra.read_text().splitlines()]
        outputs = [json.loads(line) for line in done.stdout.splitlines()]
        return self._done(outputs, heard, done.returncode, done.stdout, done.stderr)

    def _on_lines(self, values: list[str]) -> Done:
        """Run the agent alone, and be the tool that it calls."""
        with open(self._folder / "stderr", "wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "plumb_agent", str(self._program)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=self._folder,
                env=self._environment,
            )
        assert process.stdin is not None
        assert process.stdout is not None

        def say(value: Any) -> None:
            process.stdin.write(json.dumps(value).encode() + b"\n")
            process.stdin.flush()

        outputs, heard, written = [], [], b""
        waiting = list(values)
        say(waiting.pop(0))
        for line in process.stdout:
            written += line
            value = json.loads(line)
            match value:
                case {"__port": "telemetry", "msg": event}:
                    heard.append(event)
                case {"__port": "tool_req", "msg": {"id": id_, "arguments": arguments}}:
                    say({"__port": "tool_resp", "msg": {"id": id_, "content": len(arguments.split())}})
                case _:
                    outputs.append(value)
                    if waiting:
                        say(waiting.pop(0))
                    else:
                        process.stdin.close()
        process.stdin.close()
        code = process.wait(60)
        process.stdout.close()
        return self._done(outputs, heard, code, written, (self._folder / "stderr").read_bytes())

    def _done(self, outputs: list[Any], heard: list[Any], code: int, stdout: bytes, stderr: bytes) -> Done:
        kept = [path.read_bytes() for path in self._folder.rglob("*") if path.is_file() and path.name != "key"]
        written = b"\n".join([stdout, stderr, *kept]).decode("utf-8", "replace")
        lines = [json.loads(line) for line in stderr.decode().splitlines() if line.startswith("{")]
        return Done(outputs, heard, code, [line for line in lines if "error" in line], written)


@pytest.fixture(params=WAYS, ids=" ".join)
def runner(request: pytest.FixtureRequest, server: Aimock, project: Path) -> Runner:
    return Runner(*request.param, server.url, project)


def test_answers_of_all_kinds(runner: Runner, server: Aimock):
    """At once, in many pieces, slowly, after thinking, and after a tool; in one conversation."""
    done = runner.run("plain", "long", "slow", "think", "tool")
    assert done.errors == []
    assert done.exit_code == 0
    assert done.outputs == [verdict(why) for why in ("plain", LONG, LONG, "1", "three")]
    assert [event["thinking"] for event in done.told("thinking")] == ["Let me see."]
    (call,) = done.told("tool_call")
    assert (call["id"], call["name"], call["is_error"]) == ("call_7", "count", False)
    first = done.told("usage")[0]
    assert (first["prompt_tokens"], first["completion_tokens"], first["model"]) == (21, 5, "m")
    assert len(done.told("usage")) == 6
    assert KEY not in done.written
    asked = [body for body in server.bodies() if body["messages"][-1].get("tool_call_id") == "call_7"]
    assert asked[-1]["messages"][-1]["content"] == "3"


def test_failures_that_pass_and_an_answer_that_did_not_fit(runner: Runner):
    """Each is overcome: 429, 529, a stream that is cut, and words instead of a value."""
    done = runner.run("busy", "overloaded", "cut", "wrong")
    assert done.errors == []
    assert done.exit_code == 0
    assert done.outputs == [verdict(why) for why in ("after busy", "after overloaded", "after cut", "better")]
    assert KEY not in done.written


SAID = {"error": {"type": "authentication_error", "message": f"The key {KEY} is not known"}}
STUBBORN: dict[str, tuple[Answer, str, int]] = {
    "refuses": (json_answer(401, SAID), "provider_refused_request", 1),
    "redirects": (json_answer(307, {}, {"location": f"http://h/{KEY}"}), "provider_refused_request", 1),
    "is busy for long": (json_answer(529, SAID, {"retry-after": "100"}), "provider_unavailable", 69),
    "cuts": (stream(anthropic_text(message(text(KEY)))[:-20], RESET), "provider_unavailable", 69),
}
"""What a server may do for good, the code of the error, and how ``fabric run`` ends. An agent alone ends with 1."""


@pytest.mark.parametrize(
    ("name", "way"),
    # Five attempts take a while, and who decides about them is the same in both ways.
    [(name, way) for name in STUBBORN for way in ("fabric", "lines") if (name, way) != ("cuts", "lines")],
)
def test_failures_for_good_say_why_and_do_not_show_the_key(name: str, way: str, project: Path):
    """Not on stdout, not on stderr with all debug lines, not in telemetry, not in any file, not in the error."""
    played, code, exit_code = STUBBORN[name]
    with playing(played) as played_server:
        done = Runner("anthropic", way, played_server.url, project).run("x")
    assert done.outputs == []
    assert code in [error["code"] for error in done.errors]
    assert done.exit_code == (exit_code if way == "fabric" else 1)
    assert [secret for secret in (KEY, KEY[-12:]) if secret in done.written] == []
    assert "api_request" in done.written
    assert len(played_server.requests) == (5 if name == "cuts" else 1)
