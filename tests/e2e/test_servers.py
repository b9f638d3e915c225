"""Agents call tools of MCP servers: real processes, from the program's text to the answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from peers import npm_peer, python_peer
from services import alive, record_of, said, start, wait_gone
from three_ways import environment, fabric, input_lines, read_lines

pytestmark = pytest.mark.processes

SERVER = str(Path(__file__).parent.parent / "support" / "mcp_server.py")

MCP_SERVER_TIME = "mcp-server-time==2026.10.19"
"""The time in any zone. MIT."""

SERVER_FILESYSTEM = "@modelcontextprotocol/server-filesystem@2026.8.31"
"""Files in some folders. MIT."""

AGENTS = """
import json, os
from pathlib import Path
from plumb_agent.providers.scripted import Call

def answer(user_text, messages):
    newest = messages[-1]["content"]
    results = [] if isinstance(newest, str) else [block for block in newest if block["type"] == "tool_result"]
    if results:
        return [[block["content"], block.get("is_error", False)] for block in results]
    told = Path(os.environ["PLUMB_MCP_TOOLS"])
    asked = json.loads(user_text)
    if asked == "tools":
        return [oct(told.stat().st_mode & 0o777), [tool["name"] for tool in json.loads(told.read_text())["tools"]]]
    return [Call(name, arguments) for name, arguments in asked]
"""


def mcp(*servers: Any) -> str:
    """Return the configuration of servers as the language writes it: names of keys without quotes."""
    said = ", ".join(
        "{ " + ", ".join(f"{key}: {json.dumps(value)}" for key, value in server.items()) + " }" for server in servers
    )
    return f"[{said}]"


def ours(name: str, *modes: str) -> dict[str, Any]:
    return {"name": name, "command": sys.executable, "args": [SERVER, *modes]}


def write_program(folder: Path, *servers: Any) -> Path:
    """Write a program whose agent makes the calls that it is sent, [name, arguments], and answers with results."""
    (folder / "agents.py").write_text(AGENTS)
    path = folder / "demo.plumb"
    path.write_text(
        'let main : !json -> !json = agent {\n  provider: "scripted"\n  script: "agents:answer"\n'
        f"  mcp: {mcp(*servers)}\n}}\n"
    )
    return path


def called(folder: Path, *calls: Any, flags: tuple[str, ...] = ("--auto-approve",)) -> Any:
    """Run the program on one message; return what its agent answered."""
    done = fabric("run", *flags, "demo.plumb", stdin=input_lines(list(calls)), cwd=folder)
    assert done.returncode == 0, done.stderr.decode()
    return read_lines(done.stdout)


def pids(folder: Path) -> list[int]:
    return [int(path.name.removeprefix("pid-")) for path in folder.glob("pid-*")]


def test_the_time_and_files_by_servers_of_others(project: Path):
    """Several calls at once; what a server refuses is an error for the model, which goes on."""
    clock, files = python_peer(MCP_SERVER_TIME), npm_peer(SERVER_FILESYSTEM)
    (project / "root").mkdir()
    (project / "root" / "note.txt").write_text("remember")
    write_program(
        project,
        {"name": "time", "command": str(clock / "mcp-server-time")},
        {"name": "files", "command": str(files / "mcp-server-filesystem"), "args": ["root"]},
    )
    calls = [
        ["get_current_time", {"timezone": "UTC"}],
        ["read_text_file", {"path": "note.txt"}],
        ["write_file", {"path": "new.txt", "content": "written"}],
        ["read_text_file", {"path": "/etc/passwd"}],
        ["get_current_time", {"timezone": "Nowhere"}],
    ]
    (now, note, written, outside, nowhere), tools = called(project, calls, "tools")
    assert (json.loads(now[0])["timezone"], now[1]) == ("UTC", False)
    assert note == ["remember", False]
    assert written[1] is False
    assert (project / "root" / "new.txt").read_text() == "written"
    assert ("Access denied" in outside[0], outside[1]) == (True, True)
    assert nowhere[1] is True
    assert tools[0] == "0o600"
    assert tools[1][:2] == ["time.get_current_time", "time.convert_time"]
    assert "files.read_text_file" in tools[1]


def test_a_call_of_a_server_waits_for_approval(project: Path):
    """Whatever the server says of its tools. Denied, it is an error; granted for good, no further one is asked for."""
    write_program(project, ours("one"))
    assert fabric("up", "-d", "demo.plumb", cwd=project).returncode == 0
    calls = json.dumps([["echo", {"a": "1"}]])
    for options, expected in ((["--deny"], True), (["--always"], False)):
        sender = start(project, "send", calls)
        until_s = time.monotonic() + 60
        while not (waiting := json.loads(fabric("approve", "--format", "json", cwd=project).stdout)["approvals"]):
            assert time.monotonic() < until_s
        assert (waiting[0]["worker"], waiting[0]["tool"]) == ("main", "one.echo")
        assert json.loads(waiting[0]["arguments"]) == {"a": "1"}
        assert fabric("approve", *options, waiting[0]["id"], cwd=project).returncode == 0
        ((_, is_error),) = read_lines(sender.communicate(timeout=60)[0])[0]
        assert is_error is expected
    assert read_lines(fabric("send", calls, cwd=project).stdout) == [[["1", False]]]
    logs = fabric("logs", "fabric", cwd=project).stdout.decode()
    assert "server.opened server=one" in logs
    assert fabric("down", cwd=project).returncode == 0
    assert [pid for pid in pids(project) if alive(pid)] == []


def test_a_run_without_a_terminal_calls_no_server(project: Path):
    """And says so by its exit code."""
    write_program(project, ours("one"))
    done = fabric("run", "demo.plumb", stdin=input_lines([[["echo", {"a": "1"}]]]), cwd=project)
    assert done.returncode == 6
    ((result, is_error),) = read_lines(done.stdout)[0]
    assert "there is nobody to approve it" in result
    assert is_error


def test_a_call_that_takes_too_long_is_an_error_and_the_agent_goes_on(project: Path):
    """The server is told; what else it is asked it does."""
    write_program(project, ours("one", "many"))
    (project / "fabric.toml").write_text('[run]\ntool_timeout = "300ms"\n')
    answers = called(project, [["slow", {}]], [["tool-150", {}]])
    assert answers == [
        [["one.slow took longer than 0.3 s; what it still does is not waited for", True]],
        [["tool-150", False]],
    ]


def test_a_server_that_dies_is_there_again_for_the_next_call(project: Path):
    """The model hears what happened."""
    write_program(project, ours("one"))
    (died,), (again,) = called(project, [["die", {}]], [["echo", {"a": "back"}]])
    assert died[0].startswith("MCP server 'one' ended during the call, which may have had its effect")
    assert (died[1], again) == (True, ["back", False])


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (ours("bad", "crash"), ["it ended with status 3", "  | cannot read my configuration", "  | giving up"]),
        (ours("bad", "silent"), ["it did not answer within 1 s"]),
        ({"name": "bad", "command": "./none"}, ["none' cannot be started: No such file or directory"]),
        ({"name": "bad", "url": "http://127.0.0.1:9/mcp"}, ["(http://127.0.0.1:9/mcp) could not be opened: "]),
    ],
)
def test_without_a_server_nothing_is_started(project: Path, server: Any, words: list[str]):
    """The session ends before its agents begin; the text says which server, and why."""
    write_program(project, server)
    flags = ("--ready-timeout", "1") if "silent" in server.get("args", ()) else ()
    done = fabric("run", *flags, "demo.plumb", stdin=b"1\n", cwd=project)
    assert (done.returncode, done.stdout) == (4, b"")
    error = json.loads(said(done).splitlines()[-1])
    assert error["code"] == "server_not_started"
    assert error["error"].startswith("MCP server 'bad' (")
    assert [word for word in words if word not in error["error"]] == []
    assert [pid for pid in pids(project) if alive(pid)] == []


def test_a_service_without_its_server_does_not_come_up(project: Path):
    """Whoever started it is told, although it was to be left running."""
    write_program(project, ours("bad", "rubbish"))
    up = fabric("up", "-d", "demo.plumb", cwd=project)
    assert up.returncode == 4
    assert "MCP server 'bad'" in said(up)
    assert "(on its stdout, where only messages belong) <html>" in said(up)


def test_nothing_of_it_outlives_a_killed_coordinator(project: Path):
    """Neither the host nor a server that ends for nothing else, nor the child of one."""
    write_program(project, ours("one", "stubborn", "child"))
    assert fabric("up", "-d", "demo.plumb", cwd=project).returncode == 0
    pid = record_of(project / ".fabric" / "run" / "demo.json")["process"]["pid"]
    left = [*pids(project), int((project / "child").read_text())]
    assert len(left) == 2
    os.kill(pid, signal.SIGKILL)
    for other in left:
        wait_gone(other)
    assert fabric("down", cwd=project).returncode == 0


def test_a_signal_while_servers_are_opened_ends_it_all(project: Path):
    """Whoever starts a slow server by mistake can leave."""
    write_program(project, ours("one", "silent"))
    running = start(project, "run", "demo.plumb", stdin=None)
    until_s = time.monotonic() + 60
    while not pids(project):
        assert time.monotonic() < until_s
        time.sleep(0.01)
    running.send_signal(signal.SIGTERM)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 143
    assert json.loads(errors.splitlines()[-1])["code"] == "stopped"
    assert [pid for pid in pids(project) if alive(pid)] == []


def test_without_the_library_the_mistake_is_named(project: Path):
    """With the command that installs it."""
    write_program(project, ours("one"))
    without = "import sys; sys.modules['mcp'] = None; from fabric.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", without, "run", "demo.plumb"],
        input=b"1\n",
        capture_output=True,
        cwd=project,
        env=environment(),
        timeout=60,
    )
    assert done.returncode == 2
    assert "pip install 'plumb-fabric[mcp]'" in said(done)


def test_the_plan_shows_servers_and_who_shares_them(project: Path):
    """Equal declarations are one; a different one of the same name is another."""
    write_program(project, ours("one"))
    text = (project / "demo.plumb").read_text()
    agent = text[text.index("agent") :]
    (project / "demo.plumb").write_text(
        f"let a : !json -> !json = {agent}let b : !json -> !json = {agent}"
        f"let c : !json -> !json = {agent.replace('mcp_server.py', 'other.py')}"
        "let main : !json -> !json = plumb(i, o) { i ; a ; b ; c ; o }\n"
    )
    plan = json.loads(fabric("plan", "--format", "json", "demo.plumb", cwd=project).stdout)
    assert [(server["name"], server["callers"]) for server in plan["servers"]] == [
        ("one", ["a", "b"]),
        ("one-2", ["c"]),
    ]
    assert "one  for a, b, asks for approval: " in fabric("plan", "demo.plumb", cwd=project).stdout.decode()
