"""``fabric mcp``: with the SDK's client, over stdio and HTTP, and with peers who know no manners."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from mcp import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_peers import DOCTOR, HANGING, HANGING_PROGRAM, HANGS, Lines, descendants, http, lines, running, server
from services import wait_for, wait_gone
from three_ways import FABRIC, environment

pytestmark = pytest.mark.processes

ACCEPT = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


@pytest.fixture
def here(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("rt")))
    (tmp_path / "hangs.py").write_text(HANGS)
    return tmp_path


async def use_both_tools(client: ClientSession) -> None:
    assert [tool.name for tool in (await client.list_tools()).tools] == ["check", "call"]
    checked = await client.call_tool("check", {"source": DOCTOR})
    assert (checked.is_error, checked.content[0].text) == (False, '{"ok":true}')
    refused = await client.call_tool("check", {"source": DOCTOR.replace("agent", "agnet")})
    assert refused.is_error
    assert refused.content[0].text.startswith("error[E")
    assert "\x1b" not in refused.content[0].text
    called = await client.call_tool("call", {"source": DOCTOR, "input": "I feel sad"})
    assert (called.is_error, called.content[0].text) == (False, '"TELL ME MORE ABOUT SUCH FEELINGS"')
    with pytest.raises(MCPError, match="there is no tool 'run'; the tools are: check, call"):
        await client.call_tool("run", {})


async def test_the_client_of_the_sdk_over_stdio(here: Path):
    """It ends the server by leaving."""
    command = StdioServerParameters(command=FABRIC[0], args=[*FABRIC[1:], "mcp"], cwd=here, env=environment())
    with open(here / "log", "w") as log:
        async with stdio_client(command, log) as streams, ClientSession(*streams) as client:
            await client.initialize()
            await use_both_tools(client)
    assert (here / "log").read_text() == ""


async def over_http(url: str, use: Callable[[ClientSession], Awaitable[None]]) -> None:
    """For asyncio: on trio this client leaves generators behind, which pytest reports."""
    async with streamable_http_client(url) as streams, ClientSession(*streams[:2]) as client:
        await client.initialize()
        await use(client)


def test_the_client_of_the_sdk_over_http(here: Path):
    """Each request by itself; one Ctrl-C ends the server in order."""
    with http(here) as (url, process):
        asyncio.run(over_http(url, use_both_tools))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


ANSWERS = [
    ("let main : !{ a: int } -> !int = map(a + 1)", {"a": 3}, False, "4"),
    ("let main : !{ a: int } -> !int = map(a + 1)", '{"a": 3}', False, "4"),
    ("let main : !string -> !string = map(value)", '{"a": 3}', False, '"{\\"a\\": 3}"'),
    ("let main : !int -> !int = map(value + 1)", "x", True, 'expected int, got string "x"'),
    ("let main : !int -> !int = map(value + 1)", '"x"', True, 'expected int, got string "\\"x\\""'),
    ("let main : !int -> !number = map(1 / value)", 0, True, "expr_eval: division by zero (at main)"),
    ("let main : !int -> !int = filter(value > 7)", 3, True, "no_output: the program gave no output for this input"),
    (
        "let main : (!int, !int) -> !int = plumb(a, b, o) { a ; o  b ; o }",
        3,
        True,
        "a call gives one input to a program that has one; the inputs of this one are: a, b",
    ),
    (
        "let main : !int -> (!int, !int) = plumb(i, a, b) { i ; a  i ; map(value + 1) ; b }",
        3,
        False,
        '{"__port":"a","msg":3}',
    ),
]


def test_what_comes_of_a_call_is_its_first_output_or_why_there_is_none(here: Path):
    """A value may come as its JSON text, if only that fits."""
    with lines(here) as client:
        for number, (source, value, failed, text) in enumerate(ANSWERS, 1):
            client.call(number, source, input=value)
            result = client.read()["result"]
            assert (result["isError"], result["content"]) == (failed, [{"type": "text", "text": text}])
        assert client.leave() == 0


def test_a_failing_agent_is_told_and_the_server_goes_on(here: Path):
    """Its own words are on stderr, and in the answer."""
    (here / "s.jsonl").write_text('{"text": "no json"}\n')
    script = 'let main : !int -> !int = agent { provider: "scripted" script: "./s.jsonl" max_retries: 0 }'
    with lines(here, "--docroot", ".") as client:
        client.call(1, script, input=1)
        result = client.read()["result"]
        assert result["isError"]
        assert "no valid output after 0 retries" in result["content"][0]["text"]
        client.call(2, DOCTOR, input="I feel sad")
        assert not client.read()["result"]["isError"]
        assert client.leave() == 0
        assert b"no valid output after 0 retries" in client.process.stderr.read()


@pytest.mark.parametrize("approved", [False, True])
def test_effects_are_refused_unless_they_were_approved_beforehand(approved: bool, here: Path):
    """There is nobody to ask. The agent goes on in both cases."""
    (here / "s.jsonl").write_text('{"tool": "write", "arguments": {"path": "x", "text": "y"}}\n{"reply": "done"}\n')
    writes = """
        use fs
        let main : !string -> !string = agent { provider: "scripted" script: "./s.jsonl" tools: [Fs.write] }
    """
    with lines(here, "--docroot", ".", *(["--auto-approve"] if approved else [])) as client:
        client.call(1, writes, input="x")
        result = client.read()["result"]
        assert (result["isError"], result["content"][0]["text"]) == (False, '"done"')
        assert (here / "x").exists() == approved
        assert client.leave() == 0


def test_a_budget_is_one_of_each_call(here: Path):
    """A call may use it up, and the next one has its own."""
    with lines(here, "--budget-calls", "1") as client:
        twice = DOCTOR.replace("main", "one") + "\n" + DOCTOR.replace("main", "two")
        twice += "\nlet main : !string -> !string = plumb(i, o) { i ; one ; two ; o }"
        client.call(1, twice, input="I feel sad")
        result = client.read()["result"]
        assert result["isError"]
        assert "budget" in result["content"][0]["text"]
        for number in (2, 3):
            client.call(number, DOCTOR, input="I feel sad")
            assert not client.read()["result"]["isError"]
        assert client.leave() == 0


GARBAGE = b'garbage\n\n[]\n{"jsonrpc":"2.0","id":1.5,"method":"ping"}\n\xff\n' + b"x" * 5_000_000 + b"\n"


def test_what_is_no_message_is_answered_and_the_next_one_is_served(here: Path):
    """Also a line that is too long; nothing but messages is on stdout."""
    with lines(here) as client:
        client.write(GARBAGE)
        assert [client.read()["error"]["code"] for _ in range(5)] == [-32700, -32600, -32600, -32700, -32600]
        assert client.ask(7, "ping")["result"] == {}
        client.send("tools/list")  # a notification, which is none
        client.write(b'{"jsonrpc":"2.0","id":99,"result":{}}\n')
        assert client.ask(8, "no/such")["error"]["code"] == -32601
        assert client.leave() == 0
        assert client.process.stdout.read() == b""


def test_calls_run_side_by_side(here: Path):
    """One that hangs does not keep another from its answer."""
    with lines(here, "--docroot", ".", "--allow-processes") as client:
        client.call(1, HANGING, input=1)
        wait_for(here / "begun-1")
        client.call(2, DOCTOR, input="I feel sad")
        assert client.read()["id"] == 2


def hang(client: Lines, folder: Path) -> set[int]:
    """Begin a call that hangs in a function of ours and one that does in a program; return what runs for them."""
    client.call(1, HANGING, input=1)
    client.call(2, HANGING_PROGRAM, input=2)
    wait_for(folder / "begun-1")
    wait_for(folder / "begun-2")
    found = descendants(client.process.pid)
    assert len(running(found)) >= 4  # the function's, the program's, its shell's sleep, who guards it
    return found


def test_a_cancelled_call_leaves_no_process_and_no_answer(here: Path):
    """The server goes on."""
    with lines(here, "--docroot", ".", "--allow-processes") as client:
        pids = hang(client, here)
        for request in (1, 2):
            client.send("notifications/cancelled", requestId=request, reason="enough")
        for pid in pids:
            wait_gone(pid)
        assert client.ask(3, "ping")["result"] == {}
        assert client.leave() == 0


def test_a_client_that_leaves_ends_its_calls(here: Path):
    """By the end of stdin."""
    with lines(here, "--docroot", ".", "--allow-processes") as client:
        pids = hang(client, here)
        assert client.leave() == 0
        assert running(pids) == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_and_its_calls(number: int, here: Path):
    """Exit code 0: nobody lost what they had not been given yet."""
    with lines(here, "--docroot", ".", "--allow-processes") as client:
        pids = hang(client, here)
        client.process.send_signal(number)
        assert client.process.wait(60) == 0
        assert running(pids) == set()


def test_a_server_that_is_killed_leaves_no_process(here: Path):
    """Those of ours notice, and somebody watches for the others."""
    with lines(here, "--docroot", ".", "--allow-processes") as client:
        pids = hang(client, here)
        client.process.kill()
        for pid in pids:
            wait_gone(pid)


def test_a_call_that_gives_nothing_ends_in_time(here: Path):
    """It says after how long, and nothing of it is left."""
    with lines(here, "--docroot", ".", "--allow-processes") as client:
        client.call(1, HANGING_PROGRAM, input=1, timeout_s=1.5)
        result = client.read()["result"]
        assert result["isError"]
        assert result["content"][0]["text"] == "timeout: the program gave nothing within 1.5 s, and was ended"
        assert running(descendants(client.process.pid)) == set()


def test_the_project_says_how_programs_are_run(here: Path):
    """Its time for calls of tools holds here, too."""
    (here / "fabric.toml").write_text('[run]\ntool_timeout = "0.5s"\n')
    (here / "s.jsonl").write_text('{"tool": "hang", "arguments": {"input": 1}}\n{"reply": "done"}\n')
    calls = """
        let hangs : !int -> !int = python { call: "hangs:hang" }
        let hang : int -> int = tool { process: hangs }
        let main : !int -> !string = agent { provider: "scripted" script: "./s.jsonl" tools: [hang] }
    """
    with lines(here, "--docroot", ".", "--allow-processes") as client:
        client.call(1, calls, input=1, timeout_s=20)
        assert client.read()["result"]["content"][0]["text"] == '"done"'


# --- HTTP -------------------------------------------------------------------------------------------------------------


def ask(url: str, method: str, body: bytes = b"", **headers: str) -> tuple[int, str, str]:
    """Return status, the header Allow, and the body."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request(method, "/mcp", body, ACCEPT | headers)
    response = connection.getresponse()
    said = response.status, response.headers.get("allow", ""), response.read().decode()
    connection.close()
    return said


LIST = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'


def test_only_post_from_this_machine_is_answered_over_http(here: Path):
    """Others are refused with what is wrong; a page of somebody else gets nothing by any name of ours."""
    with http(here) as (url, _):
        for method in ("GET", "DELETE", "PUT", "OPTIONS"):
            assert ask(url, method)[:2] == (405, "POST")
        status, _, said = ask(url, "POST", LIST)
        assert (status, '"name":"check"' in said) == (200, True)
        assert ask(url, "POST", LIST, Origin="http://localhost:3000")[0] == 200
        assert ask(url, "POST", LIST, Origin="http://evil.example")[0] == 403
        assert ask(url, "POST", LIST, Origin="null")[0] == 403
        assert ask(url, "POST", LIST, Host="evil.example")[0] == 421
        assert ask(url, "POST", b"garbage")[0] == 400
        assert ask(url, "POST", LIST, **{"content-length": "5000000"})[0] == 413
        assert ask(url, "POST", LIST)[0] == 200


def test_it_listens_on_this_machine_only_and_says_if_it_cannot(here: Path):
    """A taken port is exit code 2, in one line."""
    with http(here) as (url, _):
        port = urlsplit(url).port
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port))
        done = subprocess.run(
            [*FABRIC, "mcp", "--http", str(port)],
            cwd=here,
            env=environment(),
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stdout) == (2, b"")
    assert json.loads(done.stderr)["error"] == f"cannot listen on 127.0.0.1:{port}: Address already in use"


def test_two_calls_at_once_over_http(here: Path):
    """By one client."""

    async def call_twice(client: ClientSession) -> None:
        calls = [
            client.call_tool("call", {"source": DOCTOR, "input": text}) for text in ("I feel sad", "My mother hates me")
        ]
        assert [result.content[0].text for result in await asyncio.gather(*calls)] == [
            '"TELL ME MORE ABOUT SUCH FEELINGS"',
            '"TELL ME MORE ABOUT YOUR FAMILY"',
        ]

    with http(here) as (url, _):
        asyncio.run(over_http(url, call_twice))


def test_a_client_that_leaves_over_http_ends_its_call(here: Path):
    """There is nobody to give an answer to."""
    with http(here, "--docroot", ".", "--allow-processes") as (url, process):
        params = {"name": "call", "arguments": {"source": HANGING_PROGRAM, "input": 1}}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        connection = HTTPConnection(urlsplit(url).netloc)
        connection.request("POST", "/mcp", body, ACCEPT)
        wait_for(here / "begun-1")
        pids = descendants(process.pid)
        assert running(pids)
        connection.close()
        for pid in pids:
            wait_gone(pid)
        assert ask(url, "POST", LIST)[0] == 200


def test_a_signal_ends_the_calls_over_http_within_the_grace(here: Path):
    """Exit code 0, and nothing is left."""
    with http(here, "--docroot", ".", "--allow-processes") as (url, process):
        params = {"name": "call", "arguments": {"source": HANGING, "input": 1}}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        connection = HTTPConnection(urlsplit(url).netloc)
        connection.request("POST", "/mcp", body, ACCEPT)
        wait_for(here / "begun-1")
        pids = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert running(pids) == set()
        connection.close()


def test_what_is_missing_is_said_in_one_line(here: Path):
    """With the command that mends it; exit code 2."""
    (here / "mcp.py").write_text("")
    without = (
        "import sys; sys.modules['hypercorn'] = None; sys.argv[0] = 'fabric'; import fabric.cli; fabric.cli.main()"
    )
    done = subprocess.run(
        [FABRIC[0], "-P", "-c", without, "mcp"],
        cwd=here,
        env=environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert json.loads(done.stderr)["error"] == "the MCP server is not installed: pip install 'plumb-fabric[mcp]'"


def test_a_docroot_that_is_none_is_told_before_anybody_comes(here: Path):
    """Exit code 2."""
    with server(here, "--docroot", "nothing") as process:
        assert process.wait(60) == 2
        assert json.loads(process.stderr.read())["error"] == "--docroot nothing: there is no such folder"
        assert os.listdir(here) == ["hangs.py"]
