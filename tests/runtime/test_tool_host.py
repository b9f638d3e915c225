"""The tool host with real servers: what they have, what calls give, what becomes of those that die or are silent."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from plans import plan_of
from services import alive, wait_gone

from fabric.errors import ServerFailed, sole
from fabric.plan.plan import Plan, ServerPlan
from fabric.runtime.tool_host import ToolHost, open_tool_host
from fabric.session.events import CallServer, Note, Served

pytestmark = pytest.mark.processes

SUPPORT = Path(__file__).parent.parent / "support"
EMPTY = plan_of("let main : !int -> !int = map(value)")


def plan_with(folder: Path, **modes: str) -> Plan:
    """Return a plan of servers that behave so, by name."""
    command = sys.executable, str(SUPPORT / "mcp_server.py")
    servers = {
        name: ServerPlan(name, name, (*command, *said.split()), directory=str(folder)) for name, said in modes.items()
    }
    return with_servers(servers)


def with_servers(servers: Mapping[str, ServerPlan]) -> Plan:
    return Plan(
        **{name: getattr(EMPTY, name) for name in EMPTY.__struct_fields__ if name != "servers"}, servers=servers
    )


class Caller:
    """Calls servers, and hears what comes of it and what is noted."""

    def __init__(self) -> None:
        self.host: ToolHost
        self.notes: list[Note] = []
        self._numbers = iter(range(-1, -1_000, -1))
        self._answers: dict[int, trio.MemorySendChannel[Served]] = {}
        self.unasked: list[Served] = []
        self._noted = trio.Event()

    def noted(self, note: Note) -> None:
        self.notes.append(note)
        self._noted.set()

    def worker_wrote(self, worker: str, line: str) -> None:
        raise AssertionError(line)

    def served(self, served: Served) -> None:
        if served.call in self._answers:
            self._answers.pop(served.call).send_nowait(served)
        else:
            self.unasked.append(served)

    def begin(self, server: str, tool: str, arguments: Any = None) -> tuple[int, trio.MemoryReceiveChannel[Served]]:
        number = next(self._numbers)
        self._answers[number], answer = trio.open_memory_channel[Served](1)
        self.host.call(CallServer(number, server, tool, json.dumps(arguments or {}).encode()))
        return number, answer

    async def call(self, server: str, tool: str, arguments: Any = None) -> Any:
        """Return what a call gave, or why it gave nothing."""
        _, answer = self.begin(server, tool, arguments)
        served = await answer.receive()
        return served.error if served.content is None else json.loads(served.content)

    async def wait_noted(self, event: str, **fields: Any) -> Note:
        while True:
            for note in self.notes:
                if note.event == event and fields.items() <= note.fields.items():
                    return note
            self._noted = trio.Event()
            await self._noted.wait()


@asynccontextmanager
async def opened(
    plan: Plan, ready_timeout_s: float = 60.0, environment: Mapping[str, str] = os.environ
) -> AsyncIterator[Caller]:
    """Give a caller of servers that are open. The limit is for a hang."""
    caller = Caller()
    with trio.fail_after(120):
        async with open_tool_host(plan, environment, caller, ready_timeout_s) as caller.host:
            caller.host.listen(caller.served)
            yield caller


async def refused(plan: Plan, ready_timeout_s: float = 60.0) -> ServerFailed:
    """Return why servers cannot be opened."""
    with pytest.raises(BaseExceptionGroup) as raised:
        async with opened(plan, ready_timeout_s):
            raise AssertionError("it is open")
    error = sole(raised.value)
    assert isinstance(error, ServerFailed)
    return error


def pids(folder: Path) -> list[int]:
    """Return the processes of servers that ran in a folder."""
    return [int(path.name.removeprefix("pid-")) for path in folder.glob("pid-*")]


async def test_calls_give_text_names_of_pictures_structures_and_errors(tmp_path: Path):
    """Beside each other; what is too large is refused, and not cut."""
    async with opened(plan_with(tmp_path, one="")) as caller:
        assert caller.host.plan.servers["one"].tools[:3] == ("echo", "slow", "die")
        assert await caller.call("one", "echo", {"a": "first", "b": "second"}) == "first\nsecond"
        assert await caller.call("one", "picture") == "look:\n[image, image/png, 3 bytes]"
        assert await caller.call("one", "structured") == {"a": [1, 2.5]}
        assert await caller.call("one", "wrong") == "it went wrong"
        assert await caller.call("one", "large") == ("the result has 2097154 bytes; at most 1048576: ask for less")
        assert await caller.call("one", "echo", [1]) == "arguments: expected an object, got [1]"
        _, slow = caller.begin("one", "slow")
        assert await caller.call("one", "echo", {"a": 1}) == "1"
        with pytest.raises(trio.WouldBlock):
            slow.receive_nowait()
    assert [pid for pid in pids(tmp_path) if alive(pid)] == []


async def test_a_server_gets_the_usual_environment_and_what_its_declaration_names(tmp_path: Path):
    """In the folder of the program; nothing else that we happen to have."""
    plan = plan_with(tmp_path, one="")
    plan = with_servers(
        {"one": ServerPlan("one", "one", plan.servers["one"].command, env=("TOKEN",), directory=str(tmp_path))}
    )
    environment = {"PATH": os.environ["PATH"], "HOME": "/none", "TOKEN": "secret", "OTHER": "secret", "LC_ALL": "C"}
    async with opened(plan, environment=environment) as caller:
        found = await caller.call("one", "environment")
    assert found["folder"] == str(tmp_path)
    assert set(found["names"]) - {"LC_CTYPE"} == {"PATH", "HOME", "TOKEN", "LC_ALL"}


async def test_many_tools_are_listed_from_all_pages_and_a_greeting_does_no_harm(tmp_path: Path):
    """What a server prints that is no message is shown under its name, as is its stderr."""
    async with opened(plan_with(tmp_path, many="many greets")) as caller:
        tools = caller.host.plan.servers["many"].tools
        assert (len(tools), len(set(tools)), tools[-1]) == (200, 200, "tool-190")
        assert await caller.call("many", "tool-150") == "tool-150"
        await caller.wait_noted(
            "server.wrote",
            server="many",
            line="(on its stdout, where only messages belong) Welcome to the test server!",
        )
        caller.begin("many", "slow")
        await caller.wait_noted("server.wrote", server="many", line="slow was called")


async def test_a_call_that_nobody_waits_for_is_cancelled_at_its_server(tmp_path: Path):
    """The server is told, and goes on."""
    async with opened(plan_with(tmp_path, one="")) as caller:
        number, _ = caller.begin("one", "slow")
        await caller.wait_noted("server.wrote", line="slow was called")
        caller.host.cancel(number)
        await caller.wait_noted("server.wrote", line="a call was cancelled")
        assert await caller.call("one", "echo", {"a": "still there"}) == "still there"
        assert caller.unasked == []


async def test_a_server_that_dies_is_started_again_for_the_next_call(tmp_path: Path):
    """What it was at is an error, and not done twice; what its last words were is told."""
    async with opened(plan_with(tmp_path, one="", other="")) as caller:
        first = int(await caller.call("one", "process"))
        _, slow = caller.begin("one", "slow")
        await caller.wait_noted("server.wrote", line="slow was called")
        error = await caller.call("one", "die")
        assert error.startswith("MCP server 'one' ended during the call, which may have had its effect")
        assert error.endswith("; it ended with status 7\n  | slow was called\n  | dying")
        assert (await slow.receive()).error == error
        second = int(await caller.call("one", "process"))
        assert first != second
        assert not alive(first)
        os.kill(second, signal.SIGKILL)
        wait_gone(second)
        found = await caller.call("one", "process")
        if not found.isdigit():  # the call was faster than the news
            found = await caller.call("one", "process")
        assert int(found) not in (first, second)


async def test_the_host_itself_is_started_again_when_it_dies(tmp_path: Path):
    """What was under way is answered with an error; its servers do not outlive it."""
    async with opened(plan_with(tmp_path, one="")) as caller:
        first = int(await caller.call("one", "process"))
        _, slow = caller.begin("one", "slow")
        await caller.wait_noted("server.wrote", line="slow was called")
        (host,) = [pid for pid in children() if "fabric.tool_host" in command_of(pid)]
        os.kill(host, signal.SIGKILL)
        assert (await slow.receive()).error == (
            "the tool host was killed by signal 9 during the call, which may have had its effect"
        )
        await trio.to_thread.run_sync(wait_gone, first)
        assert int(await caller.call("one", "process")) != first


def children() -> list[int]:
    """Return our child processes, whichever thread started them."""
    found = [file.read_text() for file in Path("/proc/self/task").glob("*/children")]
    return [int(pid) for text in found for pid in text.split()]


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")


async def test_a_server_that_ends_for_no_signal_and_what_it_left_behind_are_killed(tmp_path: Path):
    """When the session ends."""
    async with opened(plan_with(tmp_path, one="stubborn child")) as caller:
        assert await caller.call("one", "echo", {"a": 1}) == "1"
    child = int((tmp_path / "child").read_text())
    assert [pid for pid in [child, *pids(tmp_path)] if alive(pid)] == []


async def test_a_server_that_cannot_be_opened_is_told_with_its_last_words(tmp_path: Path):
    """Which, with what command, and why; one that does well does not help."""
    plan = plan_with(tmp_path, good="", crashes="crash", rubbish="rubbish", silent="silent", hidden="hidden")
    nowhere = ServerPlan("nowhere", "nowhere", ("./none",), directory=str(tmp_path))
    error = await refused(with_servers({**plan.servers, "nowhere": nowhere}), ready_timeout_s=3.0)
    assert error.exit_code == 4
    text = str(error)
    command = f"{sys.executable} {SUPPORT / 'mcp_server.py'}"
    assert f"MCP server 'crashes' ({command} crash) could not be opened: " in text
    assert "; it ended with status 3\n  | cannot read my configuration\n  | giving up" in text
    assert "MCP server 'silent'" in text
    assert "it did not answer within 3 s" in text
    assert "\n  | (on its stdout, where only messages belong) <html>" in text
    assert "MCP server 'nowhere' (./none) could not be opened: './none' cannot be started: No such file" in text
    assert "it has a tool with the name 'read\\x1b[2Kwrite', which cannot be shown as it is" in text
    assert "'good'" not in text
    assert [pid for pid in pids(tmp_path) if alive(pid)] == []


@pytest.fixture
def listener() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


def start_http(listener: socket.socket) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(SUPPORT / "mcp_http_server.py"), str(listener.fileno())]
    return subprocess.Popen(command, pass_fds=[listener.fileno()])


async def test_a_server_somewhere_else_is_spoken_to_over_http(listener: socket.socket):
    """If it was started anew meanwhile, so is the session with it."""
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    server = start_http(listener)
    try:
        async with opened(with_servers({"far": ServerPlan("far", "far", url=url)})) as caller:
            assert caller.host.plan.servers["far"].tools == ("add", "shout")
            assert await caller.call("far", "add", {"a": 1, "b": 2}) == "3"
            assert await caller.call("far", "shout", {"text": "hey"}) == "HEY!"
            assert "a" in await caller.call("far", "add", {"b": 2})
            server.kill()
            server.wait()
            server = start_http(listener)
            found = await caller.call("far", "shout", {"text": "again"})
            if found != "AGAIN!":  # the old session, of which the new server knows nothing
                assert found.startswith("MCP server 'far': ")
                found = await caller.call("far", "shout", {"text": "again"})
            assert found == "AGAIN!"
    finally:
        server.kill()
        server.wait()


async def test_a_server_somewhere_else_that_is_not_there_is_told():
    """Whatever the reason."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = await refused(with_servers({"far": ServerPlan("far", "far", url=f"http://127.0.0.1:{port}/mcp")}))
    assert f"MCP server 'far' (http://127.0.0.1:{port}/mcp) could not be opened: " in str(error)
