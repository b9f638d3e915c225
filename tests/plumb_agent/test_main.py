"""``plumb-agent`` as a real process, on stdin and stdout and on sockets."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fabric.transport.sockets import open_sockets
from fabric.wire.codec import decode, encode
from fabric.wire.control import MARK_ALL_PORTS, MEMORY, NUMBERED, parse_ready
from fabric.wire.frame import Data, Eof, Marker, Provenance
from fabric.wire.payload import JSON, STRING, encode_json
from fabric.wire.spec import WorkerSpec

pytestmark = pytest.mark.processes

TIMEOUT_S = 60


def bot(**fields: Any) -> WorkerSpec:
    fields.setdefault("config", {"provider": "eliza"})
    return WorkerSpec("bot", "agent", STRING, **{"output": STRING, **fields})


def start(spec: WorkerSpec | None, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    """Start the worker as the fabric does, the spec on an inherited descriptor."""
    reader, writer = os.pipe()
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    if spec is not None:
        os.write(writer, encode_json(spec))
        environment["FABRIC_SPEC_FD"] = str(reader)
    os.close(writer)
    process = subprocess.Popen(
        [sys.executable, "-m", "plumb_agent", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**inherited, **environment},
        pass_fds=[reader],
    )
    os.close(reader)
    return process


def run(spec: WorkerSpec | None, text: str, *arguments: str, **environment: str) -> tuple[int, list[Any], list[Any]]:
    """Return exit status, and the JSON lines of stdout and stderr."""
    process = start(spec, *arguments, **environment)
    out, err = process.communicate(text.encode(), timeout=TIMEOUT_S)
    return (
        process.returncode,
        [json.loads(line) for line in out.splitlines()],
        [json.loads(e) for e in err.splitlines()],
    )


def control(message: Any) -> str:
    return json.dumps({"__port": "ctrl_in", "msg": message}) + "\n"


def test_one_line_answers_one_line():
    """Nothing else is on stdout, and nothing on stderr; the last line needs no line end."""
    assert run(bot(), '"My hat"\n\n"Yes"') == (0, ["YOUR HAT", "YOU SEEM QUITE POSITIVE"], [])


def test_an_empty_input_ends_well():
    """Nothing to do is no error."""
    assert run(bot(), "") == (0, [], [])


def test_control_takes_effect_where_its_line_stands():
    """The memory shown after the second input has both exchanges, and stop leaves before the third."""
    text = '"Yes"\n"Yes"\n' + control({"get_memory": True}) + control({"stop": True}) + '"Yes"\n'
    status, out, _ = run(bot(), text)
    assert (status, out[:2]) == (0, ["YOU SEEM QUITE POSITIVE", "YOU ARE SURE"])
    assert out[2]["__port"] == "ctrl_out"
    assert [message["role"] for message in out[2]["msg"]["messages"]] == ["user", "assistant", "user", "assistant"]
    assert out[3:] == []


def test_pause_memory_and_resume():
    """Inputs wait for the resume behind them."""
    text = control({"pause": True}) + '"Yes"\n' + control({"set_memory": []}) + control({"resume": True})
    assert run(bot(), text) == (
        0,
        [
            {"__port": "ctrl_out", "msg": {"kind": "pause_ack"}},
            {"__port": "ctrl_out", "msg": {"kind": "memory_set", "old_messages": 0, "new_messages": 0}},
            {"__port": "ctrl_out", "msg": {"kind": "resume_ack"}},
            "YOU SEEM QUITE POSITIVE",
        ],
        [],
    )


def test_telemetry_is_in_envelopes_where_the_agent_has_that_port():
    """Config, usage, and the output once more."""
    status, out, _ = run(bot(ports=("telemetry",)), '"Yes"\n')
    assert status == 0
    assert [line["msg"]["kind"] if isinstance(line, dict) else line for line in out] == [
        "config",
        "usage",
        "YOU SEEM QUITE POSITIVE",
        "output",
    ]


def test_a_marker_is_echoed_in_its_place():
    """For a relay that acknowledges."""
    marker = {"__port": "marker", "msg": "ack/1"}
    assert run(bot(), '"Yes"\n' + json.dumps(marker) + "\n") == (0, ["YOU SEEM QUITE POSITIVE", marker], [])


def test_a_wrapped_input_is_data():
    """And an envelope for nobody is reported and ignored."""
    text = '{"__port":"data","msg":"Yes"}\n{"__port":"nowhere","msg":1}\n'
    status, out, (line,) = run(bot(), text)
    assert (status, out) == (0, ["YOU SEEM QUITE POSITIVE"])
    assert line == {"log": "warning", "event": "line_ignored", "reason": "there is no port 'nowhere' to write to"}


@pytest.mark.parametrize("text", ["1\n", "{no json\n", "\ufeff\n"])
def test_a_wrong_input_is_an_error_with_status_1(text):
    """One error line; nothing on stdout."""
    status, out, (error,) = run(bot(), text)
    assert (status, out, error["code"]) == (1, [], "input_type_mismatch")
    assert error["error"].startswith("input of agent 'bot': expected")


def test_what_was_answered_before_an_error_was_written():
    """Outputs leave one by one."""
    status, out, errors = run(bot(), '"Yes"\n1\n')
    assert (status, out, len(errors)) == (1, ["YOU SEEM QUITE POSITIVE"], 1)


def test_debug_lines_are_a_transcript():
    """Only under PIPELINE_DEBUG=1."""
    _, _, lines = run(bot(), '"Yes"\n', PIPELINE_DEBUG="1")
    answer = '"YOU SEEM QUITE POSITIVE"'
    words = lines[3]["input_tokens"]  # of the output instruction, too
    assert lines == [
        {"log": "debug", "event": "message", "role": "user", "content": '"Yes"'},
        {
            "log": "debug",
            "event": "api_request",
            "model": "doctor",
            "max_tokens": 8192,
            "thinking_budget": None,
            "message_count": 1,
        },
        {"log": "debug", "event": "message", "role": "assistant", "content": [{"type": "text", "text": answer}]},
        {
            "log": "debug",
            "event": "api_response",
            "status": 200,
            "content_blocks": 1,
            "stop_reason": "end_turn",
            "input_tokens": words,
            "output_tokens": 4,
        },
    ]


@pytest.mark.parametrize(
    ("config", "code", "word"),
    [
        ({}, "bad_config", "has no provider"),
        ({"provider": "eliza", "max_tokens": "x"}, "bad_config", "max_tokens"),
        ({"provider": "scripted", "script": "./none.jsonl"}, "bad_config", "cannot read the script"),
    ],
)
def test_a_wrong_configuration_is_an_error_with_status_2(config, code, word):
    """Before anything is read."""
    status, out, (error,) = run(bot(config=config), '"a"\n')
    assert (status, out, error["code"]) == (2, [], code)
    assert word in error["error"]


def test_provider_and_model_may_come_from_the_environment():
    """Where the program does not say them."""
    environment = {"PLUMB_PROVIDER": "eliza", "PLUMB_MODEL": "ignored"}
    assert run(bot(config={}), '"Yes"\n', **environment) == (0, ["YOU SEEM QUITE POSITIVE"], [])


def test_usage():
    """Help is no error; too few and too many arguments are."""
    process = start(None, "--help")
    out, _ = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, out.splitlines()[0]) == (0, b"usage: plumb-agent spec.plumb")
    assert run(None, "", "a", "b") == (2, [], [{"error": "usage: plumb-agent spec.plumb", "code": "bad_config"}])
    assert run(None, "")[0] == 2


def test_a_reader_that_is_gone_ends_the_worker():
    """Status 1 and an error line, not a traceback."""
    process = start(bot())
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(b'"Yes"\n', timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert json.loads(err)["code"] == "output_closed"


def test_stop_leaves_although_stdin_is_open():
    """Nothing waits for a line that never comes."""
    process = start(bot())
    assert process.stdin is not None
    process.stdin.write(control({"stop": True}).encode())
    process.stdin.flush()
    assert process.wait(timeout=TIMEOUT_S) == 0
    process.communicate()


def test_an_interrupt_ends_with_status_130():
    """Without a traceback."""
    process = start(bot())
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b'"Yes"\n')
    process.stdin.flush()
    assert process.stdout.readline() == b'"YOU SEEM QUITE POSITIVE"\n'
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, err) == (130, b"")


def test_a_file_can_be_stdin(tmp_path):
    """epoll refuses files; the worker does not."""
    (tmp_path / "in.jsonl").write_text('"Yes"\n' * 1000, encoding="utf-8")
    reader, writer = os.pipe()
    os.write(writer, encode_json(bot()))
    os.close(writer)
    with (tmp_path / "in.jsonl").open("rb") as stdin:
        done = subprocess.run(
            [sys.executable, "-m", "plumb_agent"],
            stdin=stdin,
            stdout=subprocess.PIPE,
            env={"FABRIC_SPEC_FD": str(reader)},
            pass_fds=[reader],
            timeout=TIMEOUT_S,
            check=True,
        )
    os.close(reader)
    assert len(done.stdout.splitlines()) == 1000


def test_importing_the_worker_is_light():
    """What only the coordinator and the command line need is not loaded."""
    heavy = ("typer", "rich", "pydantic", "prometheus_client", "httpx2", "structlog", "fabric.lang", "fabric.compiler")
    code = f"import sys, plumb_agent.__main__; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=TIMEOUT_S, check=True)
    assert done.stdout == b"[]\n"


async def test_on_sockets_a_whole_life(tmp_path: Path):
    """Ready, an input, its marker, the end, stop, and status 0 with every end delivered."""
    names = ("input", "output", "ctrl_in", "ctrl_out", "telemetry")
    endpoints = {name: f"ipc://{tmp_path}/{name}" for name in names}
    origin = Provenance(b"t" * 16, b"s" * 8, 1)
    async with open_sockets() as transport:
        writers = {name: transport.sender(endpoints[name], bind=True) for name in ("input", "ctrl_in")}
        readers = {name: transport.receiver(endpoints[name], bind=False) for name in names if name not in writers}

        async def receive(name: str, number: int) -> list[Any]:
            frames: list[Any] = []
            while len(frames) < number:
                frames += map(decode, await readers[name].receive())
            return frames

        process = start(
            bot(output=JSON),
            **{f"PLUMB_ENDPOINT_{name.upper()}": endpoint for name, endpoint in endpoints.items()},
        )
        (ready,) = await receive("ctrl_out", 1)
        announced = parse_ready(ready.payload)
        assert announced is not None
        assert announced.features == (MARK_ALL_PORTS, MEMORY, NUMBERED)
        assert announced.incarnation is not None
        for frame in (Data("", b'"Yes"', origin), Marker("", "ack/1"), Eof("")):
            writers["input"].send_nowait(encode(frame))
        output, marker, end = await receive("output", 3)
        assert (output.payload, output.provenance.parents) == (b'"YOU SEEM QUITE POSITIVE"', origin.span_id)
        assert (marker, end) == (Marker("bot", "ack/1"), Eof("bot"))
        for frame in (Data("", b'{"stop":true}'), Eof("")):
            writers["ctrl_in"].send_nowait(encode(frame))
        assert await receive("ctrl_out", 2) == [Marker("bot", "ack/1"), Eof("bot")]
        assert (await receive("telemetry", 5))[-1] == Eof("bot")
        _, err = process.communicate(timeout=TIMEOUT_S)
        assert (process.returncode, err) == (0, b"")


def test_a_worker_dies_with_its_parent(tmp_path: Path):
    """The end of the inherited pipe ends it, although its input is open."""
    reader, writer = os.pipe()
    spec_reader, spec_writer = os.pipe()
    os.write(spec_writer, encode_json(bot()))
    os.close(spec_writer)
    process = subprocess.Popen(
        [sys.executable, "-m", "plumb_agent"],
        env={
            "FABRIC_SPEC_FD": str(spec_reader),
            "FABRIC_PARENT_FD": str(reader),
            "PLUMB_ENDPOINT_INPUT": f"ipc://{tmp_path}/input",
            "PLUMB_ENDPOINT_OUTPUT": f"ipc://{tmp_path}/output",
        },
        pass_fds=[reader, spec_reader],
    )
    os.close(reader)
    os.close(spec_reader)
    os.close(writer)
    assert process.wait(timeout=TIMEOUT_S) == 1


# Programs

BOT = 'let bot : !string -> !string = agent { provider: "eliza", model: "doctor" }\n'


def test_a_program_is_run_from_its_file(tmp_path: Path):
    """The agent is found, and what it names beside the file, too."""
    (tmp_path / "bot.plumb").write_text(BOT, encoding="utf-8")
    assert run(None, '"Yes"\n', str(tmp_path / "bot.plumb")) == (0, ["YOU SEEM QUITE POSITIVE"], [])


def test_a_script_is_found_beside_the_program(tmp_path: Path):
    """Wherever the command was started."""
    text = 'let bot : !string -> !bool = agent { provider: "scripted", script: "./replies.jsonl" }\n'
    (tmp_path / "bot.plumb").write_text(text, encoding="utf-8")
    (tmp_path / "replies.jsonl").write_text('"no bool"\ntrue\n', encoding="utf-8")
    assert run(None, '"a"\n', str(tmp_path / "bot.plumb")) == (0, [True], [])


def test_a_program_with_several_agents_is_refused(tmp_path: Path):
    """The error line lists their names."""
    main = "let main : !string -> !string = plumb(input, output) { input ; a ; b ; output }\n"
    text = BOT.replace("bot", "a") + BOT.replace("bot", "b") + main
    (tmp_path / "bot.plumb").write_text(text, encoding="utf-8")
    status, out, (error,) = run(None, "", str(tmp_path / "bot.plumb"))
    assert (status, out, error["code"]) == (2, [], "bad_config")
    assert error["error"].endswith("has 2: 'a', 'b'")


def test_a_program_that_does_not_check_is_refused(tmp_path: Path):
    """An error line for each diagnostic, with its place."""
    (tmp_path / "bot.plumb").write_text(BOT.replace("!string ->", "!strong ->"), encoding="utf-8")
    status, out, (error, *_) = run(None, "", str(tmp_path / "bot.plumb"))
    assert (status, out, error["code"], error["line"], error["column"]) == (2, [], "unknown_type", 1, 12)


def test_a_program_that_is_not_there_is_refused(tmp_path: Path):
    """As a configuration error."""
    status, out, (error,) = run(None, "", str(tmp_path / "none.plumb"))
    assert (status, out, error["code"]) == (2, [], "bad_config")


def test_the_documented_example(tmp_path: Path):
    """The program and the line of the manual."""
    text = 'let bot : !string -> !string = agent {\n  provider: "eliza",\n  model: "doctor"\n}\n'
    (tmp_path / "eliza-bot.plumb").write_text(text, encoding="utf-8")
    said = run(None, '"I feel sad today"\n', str(tmp_path / "eliza-bot.plumb"))
    assert said == (0, ["TELL ME MORE ABOUT SUCH FEELINGS"], [])


@pytest.mark.parametrize(
    ("content", "word"),
    [(None, "Is a directory"), (b"\xff\xfe", "not UTF-8"), (b"", "no process to run"), (b"\0", "")],
)
def test_what_is_no_program_is_refused(tmp_path: Path, content: bytes | None, word: str):
    """As JSON, with status 2."""
    if content is not None:
        (tmp_path / "bot.plumb").write_bytes(content)
    path = tmp_path if content is None else tmp_path / "bot.plumb"
    status, out, errors = run(None, "", str(path))
    assert (status, out) == (2, [])
    assert word in errors[0]["error"]


def test_the_key_of_a_provider_is_needed(tmp_path: Path):
    """The error names both variables."""
    (tmp_path / "bot.plumb").write_text(BOT.replace("eliza", "anthropic"), encoding="utf-8")
    status, out, (error,) = run(None, "", str(tmp_path / "bot.plumb"))
    assert (status, out) == (2, [])
    assert "ANTHROPIC_API_KEY" in error["error"]
    assert "ANTHROPIC_API_KEY_FILE" in error["error"]


def test_a_hosted_provider_needs_a_model():
    """From the program or the environment."""
    status, out, (error,) = run(bot(config={"provider": "openai"}), "", OPENAI_API_KEY="sk-long-enough")
    assert (status, out) == (2, [])
    assert "model" in error["error"]


@pytest.mark.parametrize("text", ["", "[]", '{"tools":[{"name":"a.b"},{"name":"a.b"}]}'])
def test_a_malformed_file_of_tools_is_refused(tmp_path: Path, text: str):
    """With status 2; so is one that is not there."""
    (tmp_path / "tools.json").write_text(text, encoding="utf-8")
    status, _, (error,) = run(bot(), "", PLUMB_MCP_TOOLS=str(tmp_path / "tools.json"))
    assert (status, error["code"]) == (2, "bad_config")
    status, _, (error,) = run(bot(), "", PLUMB_MCP_TOOLS=str(tmp_path / "none.json"))
    assert (status, error["code"]) == (2, "bad_config")


def redirected(how: str, tmp_path: Path) -> subprocess.CompletedProcess[bytes]:
    """Run the worker in a shell that opens or closes its descriptors."""
    (tmp_path / "bot.plumb").write_text(BOT, encoding="utf-8")
    command = f"exec {sys.executable} -m plumb_agent {tmp_path}/bot.plumb {how}"
    return subprocess.run(["sh", "-c", command], input=b'"Yes"\n', capture_output=True, timeout=TIMEOUT_S, check=False)


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        (">&-", 1, "output_closed"),
        ("> /dev/full", 1, "output_closed"),
        ("<&-", 1, "input_closed"),
        ("<&- >&-", 1, "input_closed"),
    ],
)
def test_closed_streams_are_errors(tmp_path: Path, how: str, status: int, code: str):
    """As JSON, with status 1; nothing else is taken for them."""
    done = redirected(how, tmp_path)
    assert (done.returncode, json.loads(done.stderr)["code"]) == (status, code)


def test_a_closed_stderr_is_none(tmp_path: Path):
    """Nobody is told anything, and the work is done."""
    done = redirected("2>&-", tmp_path)
    assert (done.returncode, done.stdout) == (0, b'"YOU SEEM QUITE POSITIVE"\n')


def test_on_sockets_tools_need_their_ports(tmp_path: Path):
    """The error names both variables, before anything is said."""
    text = "use fs\n" + BOT.replace(" }", ", tools: [Fs.read] }")
    (tmp_path / "bot.plumb").write_text(text, encoding="utf-8")
    endpoints = {f"PLUMB_ENDPOINT_{port}": f"ipc://{tmp_path}/{port}" for port in ("INPUT", "OUTPUT")}
    status, _, (error,) = run(None, "", str(tmp_path / "bot.plumb"), **endpoints)
    assert (status, error["code"]) == (2, "bad_config")
    assert "PLUMB_ENDPOINT_TOOL_REQ and PLUMB_ENDPOINT_TOOL_RESP" in error["error"]


def test_a_key_is_in_no_line_even_after_a_bug(tmp_path: Path):
    """A script raises it, an input has it, and the transcript is on."""
    key = "sk-very-secret"
    (tmp_path / "leak.py").write_text(
        "import os\ndef reply(text, messages):\n    raise KeyError(os.environ['OPENAI_API_KEY'])\n"
    )
    text = 'let bot : !string -> !string = agent { provider: "scripted", script: "leak:reply" }\n'
    (tmp_path / "bot.plumb").write_text(text, encoding="utf-8")
    process = start(None, str(tmp_path / "bot.plumb"), OPENAI_API_KEY=key, PIPELINE_DEBUG="1")
    _, err = process.communicate(json.dumps(key).encode() + b"\n", timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert b"very" not in err
    assert b"[redacted]" in err
