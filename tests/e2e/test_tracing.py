"""Traces as a collector gets them: of real processes, each of which tells its part by itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from collector import Collector, Received
from services import listed
from span_trees import children, held_together, named
from three_ways import FABRIC, environment, fabric, input_lines, read_lines, service

import fabric as client
from fabric.testing import Call, scripted_model
from fabric.wire.tracing import derived, read_traceparent

pytestmark = pytest.mark.processes

WORDS = "def count(text):\n    return len(text.split())\n"

PROGRAM = """
let words : !string -> !int = python { call: "words:count" }
let count : string -> int = tool { process: words }
let pro : !string -> !string = agent { provider: "anthropic", model: "m" }
let con : !string -> !string = agent { provider: "openai", model: "n" }
let judge : !(string, string) -> !string = agent { provider: "anthropic", model: "m", tools: [count] }
let main : !string -> !string = plumb(i, o) { i ; (pro * con) ; barrier ; judge ; o }
"""

SCRIPT = {"pro": "yes", "con": "no", "judge": [Call("count", {"input": "three little words"}), "three"]}

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector().running() as running:
        yield running


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "words.py").write_text(WORDS)
    path = tmp_path / "debate.plumb"
    path.write_text(PROGRAM)
    return path


def one_trace(spans: list[Received]) -> Received:
    """Assert that all spans are one tree; return its root."""
    held_together(spans)
    assert len({span.trace_id for span in spans}) == 1
    return named(spans, "invoke_workflow debate")


def test_one_trace_joins_input_agents_models_tool_and_output(program: Path, collector: Collector):
    """Five processes, each with its own resource; the barrier has the parent of its left side, and a link to the other.

    Every id follows from that of the message which came in.
    """
    with scripted_model(SCRIPT) as model:
        env = model.env | collector.environment | {"TRACEPARENT": CALLER}
        done = fabric("run", program, stdin=input_lines(["topic"]), env=env, cwd=program.parent)
    assert (done.returncode, read_lines(done.stdout)) == (0, ["three"]), done.stderr.decode()
    spans = collector.spans
    root = one_trace(spans)
    names = sorted(span.name for span in spans)
    (join,) = [span for span in spans if span.name.startswith("join ")]
    assert names == sorted(
        [
            "invoke_workflow debate", "invoke_agent pro", "invoke_agent con", "invoke_agent judge", join.name,
            "chat m", "chat m", "chat m", "chat n", "execute_tool count", "run count.words", "call words:count",
        ]
    )  # fmt: skip

    pro, con, judge = (named(spans, f"invoke_agent {name}") for name in ("pro", "con", "judge"))
    call, work = named(spans, "execute_tool count"), named(spans, "run count.words")
    assert children(spans, root) == ["invoke_agent con", "invoke_agent pro"]
    assert children(spans, pro) == sorted(["chat m", join.name])
    assert (children(spans, con), children(spans, join)) == (["chat n"], ["invoke_agent judge"])
    assert children(spans, judge) == ["chat m", "chat m", "execute_tool count"]
    assert (children(spans, call), children(spans, work)) == (["run count.words"], ["call words:count"])

    assert (pro.span_id, con.span_id) == (derived(root.span_id, "pro"), derived(root.span_id, "con"))
    assert root.links == (read_traceparent(CALLER),)
    assert (join.parent, join.links) == (pro.span_id, ((con.trace_id, con.span_id),))

    told = {span.name: span.resource["service.name"] for span in spans}
    assert told["invoke_workflow debate"] == told[join.name] == told["execute_tool count"] == "fabric-coordinator"
    assert (told["chat n"], told["invoke_agent con"], told["call words:count"]) == ("con", "con", "count.words")
    assert len({span.resource.get("process.pid") for span in spans} - {None}) == 5


def test_what_is_told_of_a_model_and_a_tool(program: Path, collector: Collector):
    """In the words of OpenTelemetry; not what was said."""
    with scripted_model(SCRIPT) as model:
        env = model.env | collector.environment
        assert fabric("run", program, stdin=b'"topic"\n', env=env, cwd=program.parent).returncode == 0
    chat = named(collector.spans, "chat n")
    port = chat.attributes.pop("server.port")
    assert model.env["OPENAI_BASE_URL"].find(f":{port}") > 0 if "OPENAI_BASE_URL" in model.env else port > 0
    assert chat.attributes.pop("gen_ai.response.time_to_first_chunk") > 0
    assert {name: value for name, value in chat.attributes.items() if "usage" not in name} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.agent.name": "con",
        "gen_ai.request.model": "n",
        "gen_ai.request.max_tokens": 8192,
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "n",
        "gen_ai.response.finish_reasons": ["stop"],
        "server.address": "127.0.0.1",
    }
    assert chat.kind == 3
    agent = named(collector.spans, "invoke_agent judge")
    chats = [span for span in collector.spans if span.parent == agent.span_id and span.name == "chat m"]
    for name in ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"):
        assert agent.attributes[name] == sum(span.attributes[name] for span in chats) > 0
    call = named(collector.spans, "execute_tool count")
    assert call.attributes["gen_ai.tool.name"] == "count"
    text = repr([span.attributes for span in collector.spans])
    assert "three" not in text
    assert "topic" not in text


def test_what_is_said_is_told_if_somebody_asks_for_it(program: Path, collector: Collector):
    """To models, and to tools."""
    with scripted_model(SCRIPT) as model:
        wish = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"}
        env = model.env | collector.environment | wish
        assert fabric("run", program, stdin=b'"topic"\n', env=env, cwd=program.parent).returncode == 0
    call, chat = named(collector.spans, "execute_tool count"), named(collector.spans, "chat n")
    assert json.loads(call.attributes["gen_ai.tool.call.arguments"]) == "three little words"
    assert call.attributes["gen_ai.tool.call.result"] == "3"
    assert "topic" in chat.attributes["gen_ai.input.messages"]
    assert "no" in chat.attributes["gen_ai.output.messages"]


HANGS = """
import os, sys, time

def slow(value):
    if not os.path.exists("go"):
        open("go", "w").close()
        print("hangs", file=sys.stderr, flush=True)
        time.sleep(3600)
    return value + 1
"""


def test_a_worker_that_is_killed_leaves_nothing_in_the_air(project: Path, collector: Collector, monkeypatch: Any):
    """The message is done by another process: one span of the work, and one of the attempt that died."""
    (project / "hangs.py").write_text(HANGS)
    program = project / "program.plumb"
    program.write_text(
        'let slow : !int -> !int = python { call: "hangs:slow" }\n'
        'let last : !int -> !int = python { call: "functions:quiet" }\n'
        "let main : !int -> !int = plumb(i, o) { i ; slow ; last ; o }\n"
    )
    for name, value in collector.environment.items():
        monkeypatch.setenv(name, value)
    with service(program, project):
        sending = subprocess.Popen(
            [*FABRIC, "send", "1"], cwd=project, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert wait_for(project, "hangs")
        os.kill(pid_of(project, "slow"), signal.SIGKILL)
        out, error = sending.communicate(timeout=60)
        assert (out, error) == (b"2\n", b"")
    held_together(collector.spans)
    work = named(collector.spans, "run slow")
    assert (work.error, work.attributes["fabric.attempt"]) == (None, 2)
    assert children(collector.spans, work) == ["attempt slow", "call hangs:slow", "run last"]
    assert children(collector.spans, named(collector.spans, "invoke_workflow program")) == ["run slow"]


def wait_for(project: Path, text: str) -> bool:
    """Wait until a worker has written something; for a hang there is the limit of the command."""
    following = subprocess.Popen(
        [*FABRIC, "logs", "-f"], cwd=project, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert following.stdout is not None
    try:
        return any(text.encode() in line for line in following.stdout)
    finally:
        following.kill()
        following.wait()
        following.stdout.close()


def pid_of(project: Path, worker: str) -> int:
    (pid,) = [one["pid"] for one in listed(project)["workers"] if one["worker"] == worker]
    return pid


INCREMENT = "let main : !int -> !int = map(value + 1)\n"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def test_a_collector_that_is_down_costs_no_message(tmp_path: Path):
    """One line says so, and how many spans were lost."""
    (tmp_path / "p.plumb").write_text(INCREMENT)
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    done = fabric("run", "p.plumb", stdin=b"1\n2\n", env=env, cwd=tmp_path)
    assert (done.returncode, read_lines(done.stdout)) == (0, [2, 3])
    said = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["event"], line["sent"], line["lost"]) for line in said] == [("tracing.ended", 0, 2)]


@pytest.mark.parametrize(
    "said", [{}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}]
)
def test_without_being_asked_for_nothing_of_opentelemetry_is_loaded(tmp_path: Path, said: dict[str, str]):
    """Neither by the command nor by its workers."""
    (tmp_path / "functions.py").write_text(
        "import sys\n\ndef loaded(value):\n    return sorted(name for name in sys.modules if 'opentelemetry' in name)\n"
    )
    (tmp_path / "p.plumb").write_text('let main : !int -> ![string] = python { call: "functions:loaded" }\n')
    code = (
        "import sys\nfrom fabric.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    print(sorted(name for name in sys.modules if 'opentelemetry' in name), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, "run", "p.plumb"],
        input=b"1\n",
        capture_output=True,
        cwd=tmp_path,
        env=environment() | said,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == (b"[]\n", b"[]\n")


WITHOUT = """
import sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refused())
from fabric.cli import main
main()
"""


def test_without_the_extra_a_wish_for_traces_says_how_to_install_it(tmp_path: Path):
    """Exit code 2, one line."""
    (tmp_path / "p.plumb").write_text(INCREMENT)
    done = subprocess.run(
        [sys.executable, "-P", "-c", WITHOUT, "run", "p.plumb"],
        input=b"1\n",
        capture_output=True,
        cwd=tmp_path,
        env=environment() | {"OTEL_TRACES_EXPORTER": "otlp"},
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert b"pip install 'plumb-fabric[otel]'" in done.stderr


def test_a_call_from_python_sets_up_nothing_global(tmp_path: Path, collector: Collector):
    """The spans are there, and the process has the tracer provider that it had."""
    trace = pytest.importorskip("opentelemetry.trace")
    before = trace.get_tracer_provider()
    (tmp_path / "p.plumb").write_text(INCREMENT)
    assert client.call_sync(tmp_path / "p.plumb", 1, env=collector.environment) == [2]
    assert trace.get_tracer_provider() is before
    assert [span.name for span in collector.spans] == ["invoke_workflow p"]
