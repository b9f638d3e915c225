"""Programs as workers. Real processes, small ones; every wait is for an exit or for the end of a pipe."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from fabric.errors import TransportClosed, ValueRejected, WorkerFailed
from fabric.launch.launcher import Worker
from fabric.launch.process import ProcessLauncher, open_launcher
from fabric.launch.stderr import STDERR_LINE_BYTES_MAX
from fabric.plan.plan import WorkerPlan
from fabric.wire.lines import LINE_BYTES_MAX
from fabric.wire.payload import STRING
from fabric.wire.spec import WorkerSpec

pytestmark = pytest.mark.processes

SPEC = WorkerSpec("judge", "worker", STRING, STRING, config={"a": [1, "é"]})


def plan(*command: str, stdio: bool = True, ours: bool = False) -> WorkerPlan:
    return WorkerPlan("judge", SPEC, command, transport="stdio" if stdio else "zmq", ours=ours)


def shell(text: str) -> WorkerPlan:
    return plan("sh", "-c", text)


@pytest.fixture
async def launcher() -> AsyncIterator[ProcessLauncher]:
    async with open_launcher(os.environ | {"CANARY_SECRET": "s3cret"}) as opened:
        with trio.fail_after(50):
            yield opened


async def lines(source: AsyncIterator[bytes]) -> list[bytes]:
    return [line async for line in source]


async def finish(worker: Worker) -> tuple[int, list[bytes], list[str]]:
    """Return exit status, stdout and stderr."""
    out = await lines(worker.stdout_lines())
    err = [line async for line in worker.stderr_lines()]
    return await worker.wait(), out, err


async def finish_stdout(worker: Worker) -> tuple[int, list[bytes]]:
    """Return exit status and stdout."""
    out = await lines(worker.stdout_lines())
    return await worker.wait(), out


def descriptors() -> int:
    """Count our open descriptors; those of tests before this one are closed first."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    ("text", "status"),
    [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -9 $$", -9), ("kill -TERM $$", -15)],
)
async def test_an_exit_status_or_the_signal_is_returned(text: str, status: int, launcher: ProcessLauncher):
    """A signal as a negative number."""
    worker = await launcher.launch(shell(text))
    assert await worker.wait() == status


async def test_lines_of_stdout_and_stderr_are_given(launcher: ProcessLauncher):
    """Without line ends; a last one may lack it, an empty one counts; what is no UTF-8 is replaced on stderr."""
    worker = await launcher.launch(shell("printf 'a\\n\\nb'; printf 'oh\\nno \\377' >&2"))
    assert await finish(worker) == (0, [b"a", b"", b"b"], ["oh", "no \N{REPLACEMENT CHARACTER}"])


async def test_what_is_written_to_stdin_arrives_and_its_end_too(launcher: ProcessLauncher):
    """More than a pipe holds, both ways at once."""
    worker = await launcher.launch(plan("cat"))
    text = b"".join(b"%d\n" % i for i in range(50_000))

    async def write() -> None:
        await worker.write_stdin(text)
        await worker.close_stdin()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        assert await lines(worker.stdout_lines()) == text.splitlines()
    assert await worker.wait() == 0


async def test_a_program_that_no_longer_reads_is_noticed(launcher: ProcessLauncher):
    """As a closed transport, also once it is gone."""
    worker = await launcher.launch(shell("exec <&-; echo deaf; exec sleep 3600"))
    source = worker.stdout_lines()
    assert await anext(source) == b"deaf"
    with pytest.raises(TransportClosed):
        await worker.write_stdin(b"1\n")
    worker.signal("KILL")
    assert await lines(source) == []
    assert await worker.wait() == -signal.SIGKILL
    with pytest.raises(TransportClosed):
        await worker.write_stdin(b"1\n")
    await worker.close_stdin()


async def test_a_line_on_stdout_that_is_too_long_is_refused(launcher: ProcessLauncher):
    """It would not fit into a frame. Those before it were given."""
    worker = await launcher.launch(shell(f"echo 1; head -c {LINE_BYTES_MAX + 1} /dev/zero; exec sleep 3600"))
    source = worker.stdout_lines()
    assert await anext(source) == b"1"
    with pytest.raises(ValueRejected, match="expected a line of at most 16773858 bytes"):
        await anext(source)
    worker.signal("KILL")
    assert await worker.wait() == -signal.SIGKILL


@pytest.mark.parametrize("more", [0, 1, 300_000])
async def test_a_line_on_stderr_is_cut_where_it_is_too_long(more: int, launcher: ProcessLauncher):
    """What comes behind it is given whole: the last line is the one that says why."""
    size = STDERR_LINE_BYTES_MAX + more
    worker = await launcher.launch(shell(f"(echo one; head -c {size} /dev/zero; echo; echo two) >&2"))
    err = [line async for line in worker.stderr_lines()]
    assert err == ["one", "\0" * STDERR_LINE_BYTES_MAX, "two"]
    assert await finish_stdout(worker) == (0, [])


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("no-such-program-here", "x"), "'no-such-program-here': No such file or directory"),
        (("/",), "'/': Permission denied"),
        (("echo", "a\0b"), "'echo': embedded null byte"),
    ],
    ids=["missing", "no program", "zero byte"],
)
async def test_a_program_that_cannot_be_started_has_failed(
    command: tuple[str, ...], message: str, launcher: ProcessLauncher
):
    """In the system's words."""
    with pytest.raises(WorkerFailed) as caught:
        await launcher.launch(plan(*command))
    assert str(caught.value) == message


async def test_a_worker_has_a_session_of_its_own(launcher: ProcessLauncher):
    """So Ctrl-C at the terminal reaches the coordinator alone."""
    code = "import os; print(os.getsid(0), os.getpgid(0), os.getpid())"
    worker = await launcher.launch(plan(sys.executable, "-c", code))
    status, out, _ = await finish(worker)
    assert (status, out) == (0, [f"{worker.pid} {worker.pid} {worker.pid}".encode()])


async def test_its_environment_holds_no_secret(launcher: ProcessLauncher):
    """The canary in ours is not in theirs; what a foreign program may watch and read is."""
    worker = await launcher.launch(plan("env", "-0"))
    status, out, _ = await finish(worker)
    names = {entry.partition(b"=")[0].decode() for entry in b"\n".join(out).split(b"\0") if entry}
    assert status == 0
    assert "CANARY_SECRET" not in names
    assert {"PATH", "FABRIC_WORKER", "FABRIC_PARENT_FD", "FABRIC_SPEC_FD"} <= names


@pytest.mark.parametrize("ours", [True, False])
async def test_a_worker_reads_its_spec_from_a_descriptor(ours: bool, launcher: ProcessLauncher):
    """As JSON, to its end; one of ours, or a program of others."""
    code = "import os; print(open(int(os.environ['FABRIC_SPEC_FD'])).read())"
    worker = await launcher.launch(plan(sys.executable, "-c", code, ours=ours))
    status, (line,), err = await finish(worker)
    assert (status, err) == (0, [])
    assert json.loads(line) == {
        "name": "judge",
        "kind": "worker",
        "input": {"kind": "prim", "name": "string"},
        "output": {"kind": "prim", "name": "string"},
        "config": {"a": [1, "é"]},
        "directory": ".",
        "documents": [],
        "ports": [],
        "tools": [],
        "part_of": "",
        "metered": False,
        "fenced": False,
        "durable": False,
        "key": None,
    }


async def test_a_worker_on_sockets_has_an_empty_stdin_and_prints_for_people(launcher: ProcessLauncher):
    """Its stdout is its stderr."""
    worker = await launcher.launch(plan("sh", "-c", "cat; echo for people; echo oh no >&2", stdio=False))
    assert [line async for line in worker.stderr_lines()] == ["for people", "oh no"]
    assert await worker.wait() == 0


# --- The end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "status"), [("TERM", -15), ("KILL", -9)])
async def test_a_signal_reaches_what_the_worker_started(name: str, status: int, launcher: ProcessLauncher):
    """The end of stdout tells that nobody of the group holds it any more."""
    worker = await launcher.launch(shell("sh -c 'echo started; exec sleep 3600' & wait"))
    source = worker.stdout_lines()
    assert await anext(source) == b"started"
    worker.signal(name)  # type: ignore[arg-type]
    assert await lines(source) == []
    assert await worker.wait() == status
    worker.signal("KILL")  # to one that is gone: nothing


async def test_a_stopped_worker_can_be_terminated(launcher: ProcessLauncher):
    """It is made to go on, or it could not act on the signal."""
    worker = await launcher.launch(shell("trap 'echo bye; exit 7' TERM; echo started; while :; do kill -STOP $$; done"))
    source = worker.stdout_lines()
    assert await anext(source) == b"started"
    await trio.to_thread.run_sync(os.waitid, os.P_PID, worker.pid, os.WSTOPPED | os.WNOWAIT)
    worker.signal("TERM")
    assert await lines(source) == [b"bye"]
    assert await worker.wait() == 7


async def test_what_a_worker_left_behind_is_killed_when_it_is_reaped(launcher: ProcessLauncher):
    """Its stdout comes to an end only then."""
    worker = await launcher.launch(shell("sleep 3600 & echo started"))
    source = worker.stdout_lines()
    assert await anext(source) == b"started"
    assert await worker.wait() == 0
    assert await lines(source) == []


async def test_after_20_launches_no_zombie_and_no_descriptor_is_left(launcher: ProcessLauncher):
    """While the launcher is open, and the workers are still known."""
    workers = [await launcher.launch(plan("cat"))]
    await workers[0].close_stdin()
    await finish(workers[0])
    before = descriptors()
    for _ in range(20):
        worker = await launcher.launch(plan("cat"))
        workers.append(worker)
        await worker.write_stdin(b"1\n")
        await worker.close_stdin()
        assert await finish(worker) == (0, [b"1"], [])
    assert descriptors() == before
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker.pid or 0, 0)


async def test_a_program_that_could_not_be_started_leaves_no_descriptor(launcher: ProcessLauncher):
    """Twenty times."""
    await finish(await launcher.launch(plan("true")))  # starts the guard
    before = descriptors()
    for _ in range(20):
        with pytest.raises(WorkerFailed):
            await launcher.launch(plan("no-such-program-here"))
    assert descriptors() == before


@pytest.mark.parametrize("ours", [False, True])
async def test_at_the_end_of_the_launcher_what_is_left_is_killed_and_reaped(ours: bool):
    """Those that nobody has ended."""
    async with open_launcher(os.environ) as launcher:
        worker = await launcher.launch(plan("sh", "-c", "echo started; exec sleep 3600", ours=ours))
        source = worker.stdout_lines()
        assert await anext(source) == b"started"
    with trio.fail_after(20):
        assert await lines(source) == []
        assert await worker.wait() == -signal.SIGKILL


COORDINATOR = """
import os, sys, trio
from fabric.launch.process import open_launcher
from fabric.plan.plan import WorkerPlan
from fabric.wire.payload import STRING
from fabric.wire.spec import WorkerSpec

async def main():
    async with open_launcher(os.environ) as launcher:
        # It holds our stderr, so that its end can be told.
        command = ("sh", "-c", f"exec 2>/proc/{os.getpid()}/fd/2; echo started >&2; sleep 3600")
        worker = await launcher.launch(WorkerPlan("judge", WorkerSpec("judge", "worker", STRING, STRING), command))
        print(worker.pid, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


def test_programs_of_others_die_with_a_coordinator_that_is_killed(tmp_path: Path):
    """And a folder of the name ``fabric`` where the user works does not keep the guard from starting."""
    (tmp_path / "fabric").mkdir()
    (tmp_path / "fabric" / "__init__.py").write_text("raise SystemExit('not ours')")
    script = tmp_path / "elsewhere" / "coordinator.py"
    script.parent.mkdir()
    script.write_text(COORDINATOR)
    with subprocess.Popen(
        [sys.executable, "-P", script], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as coordinator:
        assert coordinator.stdout is not None
        assert coordinator.stderr is not None
        worker = int(coordinator.stdout.readline())
        assert coordinator.stderr.readline() == b"started\n"
        coordinator.kill()
        try:
            assert coordinator.communicate(timeout=20) == (b"", b"")  # worker and guard held it, and are gone
        finally:
            with suppress(ProcessLookupError):
                os.killpg(worker, signal.SIGKILL)
