"""Command mode, with real processes: each wait is for the end of a process or of a pipe."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from contextlib import suppress

import pytest
import trio
from handler_scripts import call, python

from fabric.handlers.command import CommandHandler
from fabric.handlers.invocation import Ended
from fabric.handlers.processes import STDERR_BYTES_MAX
from fabric.launch.guarding import open_guard

pytestmark = pytest.mark.processes

LONG_S = 60.0
"""A patience that no test comes near."""


async def run(
    script: str, given: bytes = b"", timeout_s: float = LONG_S, environment: Mapping[str, str] | None = None
) -> Ended:
    handler = CommandHandler(python(script), environment or {}, timeout_s, None, lambda _: None)
    return await handler.invoke(call(given))


async def wait_gone(pid: int) -> None:
    """Wait for the end of somebody else's child."""
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            await trio.lowlevel.wait_readable(handle)
        finally:
            os.close(handle)


async def test_records_go_in_and_come_out():
    """All that it wrote, whole; its status; what it said."""
    ended = await run("import sys; d = sys.stdin.read(); print(d.upper(), end=''); sys.stderr.write('said')", b"a\nb\n")
    assert ended == Ended(exit=0, output=b"A\nB\n", stderr="said")


async def test_a_handler_knows_its_session():
    """By both names, beside all that we have ourselves; and it reaches us past any proxy."""
    script = "import json, os; print(json.dumps(dict(os.environ)))"
    inherited = {
        "KEY": "k",
        "http_proxy": "http://p:1",
        "no_proxy": "a, b",
        "TRACEPARENT": "00-1",
        "PUGMARK_RPC_URL": "fd://9",
    }
    found = json.loads((await run(script, environment=inherited)).output)
    for system in ("PUGMARK", "FABRIC"):
        assert found[f"{system}_SESSION_ID"] == "s1"
        assert found[f"{system}_AGENT_ID"] == "a1"
        assert json.loads(found[f"{system}_SESSION_METADATA"]) == {}
        assert f"{system}_RPC_URL" not in found
    assert found["FABRIC_INVOCATION_ID"] == "s1:3"
    assert found["KEY"] == "k"
    assert found["TRACEPARENT"] == "00-1"
    assert found["NO_PROXY"] == found["no_proxy"] == "a,b,127.0.0.1"


@pytest.mark.parametrize(
    ("script", "exit_", "reason"),
    [
        ("raise SystemExit(3)", 3, "it ended with status 3"),
        ("import os; os.kill(os.getpid(), 9)", 137, "it was ended by signal 9"),
        ("import os; print('lost'); os._exit(17)", 17, "it ended with status 17"),
    ],
)
async def test_whoever_does_not_end_well_has_written_nothing(script: str, exit_: int, reason: str):
    """Whatever was on its way."""
    ended = await run(script)
    assert (ended.exit, ended.reason, ended.output) == (exit_, reason, b"")


async def test_a_command_that_cannot_be_started_is_told_of():
    """With its name, as a shell does."""
    ended = await CommandHandler(["/no/such/thing"], {}, LONG_S, None, lambda _: None).invoke(call())
    assert ended == Ended(exit=127, reason="cannot start '/no/such/thing': No such file or directory")


async def test_a_handler_need_not_read_its_input():
    """More than a pipe holds, and it ends at once, or closes it and goes on."""
    given = b"x" * 5_000_000
    assert (await run("print('done')", given)).output == b"done\n"
    assert (await run("import os; os.close(0); print('done')", given)).output == b"done\n"


async def test_all_pipes_are_served_at_once():
    """It writes a flood on both before it reads, and its input is one as well."""
    script = (
        "import sys; sys.stdout.write('o' * 3_000_000); sys.stderr.write('e' * 3_000_000); print(len(sys.stdin.read()))"
    )
    ended = await run(script, b"i" * 3_000_000)
    assert ended.output == b"o" * 3_000_000 + b"3000000\n"
    assert ended.stderr == "e" * STDERR_BYTES_MAX


async def test_a_hundred_megabytes_are_an_output():
    """All of them."""
    ended = await run("import os\nfor _ in range(1600): os.write(1, b'x' * 65535 + b'\\n')")
    assert len(ended.output) == 1600 * 65536


async def test_an_output_without_end_is_stopped():
    """It would be held in memory."""
    command = python("while True: print('x' * 1000)")
    ended = await CommandHandler(command, {}, LONG_S, None, lambda _: None, output_bytes_max=1_000_000).invoke(call())
    assert (ended.exit, ended.output) == (1, b"")
    assert ended.reason.startswith("it wrote more than 1000000 bytes")


async def test_whoever_never_ends_is_ended():
    """Its whole group, also where nobody listens to SIGTERM; what it said is kept."""
    script = (
        "import os, signal, sys, time; signal.signal(15, signal.SIG_IGN)\n"
        "child = os.fork()\n"
        "if child: sys.stderr.write(str(child)); sys.stderr.flush()\n"
        "while True: time.sleep(60)"
    )
    ended = await run(script, timeout_s=1.0)
    assert (ended.exit, ended.reason, ended.output) == (124, "it did not end within 1 s", b"")
    await wait_gone(int(ended.stderr))


async def test_a_stopped_handler_is_ended():
    """It could not act on SIGTERM."""
    assert (await run("import os; os.kill(os.getpid(), 19)", timeout_s=0.5)).exit == 124


LEAVES = """
import os, sys, time
begun, begin = os.pipe()
if not os.fork():
    {escape}
    sys.stderr.write(str(os.getpid())); sys.stderr.flush()
    os.write(begin, b".")
    {then}
    while True: time.sleep(60)
os.read(begun, 1)
print("done")
"""


async def test_what_it_leaves_behind_is_killed():
    """A program in the background holds the pipes, and would write into the next thing that is read there."""
    script = LEAVES.format(escape="", then="")
    ended = await run(script)
    assert ended.output == b"done\n"
    await wait_gone(int(ended.stderr))


@pytest.mark.parametrize("then", ["", "while True: os.write(1, b'noise')"])
async def test_what_escapes_is_not_waited_for(then: str):
    """In a session of its own, it holds our pipes as long as it likes: what counts was written before."""
    script = LEAVES.format(escape="os.setsid()", then=then)
    ended = await run(script)
    os.kill(int(ended.stderr), signal.SIGKILL)
    assert b"done\n" in ended.output


async def test_a_run_that_is_broken_off_leaves_nothing():
    """Cancelled from outside, as by Ctrl-C."""
    said: list[bytes] = []
    began = trio.Event()

    def show(data: bytes) -> None:
        said.append(data)
        began.set()

    script = "import os, sys, time; sys.stderr.write(str(os.getpid())); sys.stderr.flush(); time.sleep(3600)"
    handler = CommandHandler(python(script), {}, LONG_S, None, show)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(handler.invoke, call())
        await began.wait()
        nursery.cancel_scope.cancel()
    await wait_gone(int(b"".join(said)))


async def test_a_handler_does_not_outlive_us():
    """The guard ends it when we are killed: here, when the guard's pipe is closed."""
    guard = await open_guard()
    began = trio.Event()
    handler = CommandHandler(
        python("import sys, time; sys.stderr.write('.'); sys.stderr.flush(); time.sleep(3600)"),
        {}, LONG_S, guard, lambda _: began.set(),
    )  # fmt: skip
    ended: list[Ended] = []

    async def invoke() -> None:
        ended.append(await handler.invoke(call()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(invoke)
        await began.wait()
        await guard.close()
    assert ended[0].reason == "it was ended by signal 9"
