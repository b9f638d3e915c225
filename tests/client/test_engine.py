"""The engine at the ends of things: Ctrl-C, forks, the end of the interpreter, a zygote that dies. Real processes."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import anyio
import called
import pytest
import trio
from called import BACKENDS, function, run, write

import fabric
from fabric.client import engine as engines

pytestmark = pytest.mark.processes


def script(text: str, folder: Path) -> subprocess.Popen[str]:
    """Start a Python program in a folder."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", text],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Return status, output and errors of a program that has to end."""
    try:
        output, errors = process.communicate(timeout=called.PATIENCE_S)
    finally:
        process.kill()
    return process.returncode, output, errors


def alive(folder: Path) -> list[str]:
    """Return the processes that work in a folder, but for this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if Path(os.readlink(entry / "cwd")) == folder and _state(entry) not in "ZX":
                    found.append(entry.name)
            except OSError:  # it has ended meanwhile, or is none of ours
                continue
    return found


def _state(entry: Path) -> str:
    return (entry / "stat").read_text().rpartition(")")[2].split()[0]


def expect_gone(folder: Path) -> None:
    """Return when nobody works in a folder any more. Fails if that takes long."""
    until_s = time.monotonic() + called.PATIENCE_S / 4
    while left := alive(folder):
        assert time.monotonic() < until_s, left
        time.sleep(0.01)  # processes of others tell nobody


WAITING = """
import fabric, pathlib, sys
def told(text):
    print(text, flush=True)
"""


@pytest.mark.parametrize("how", ["call_sync", "asyncio", "trio"])
def test_ctrl_c_ends_the_call_and_is_raised(how: str, folder: Path):
    """In that order: nothing of the call is left when the caller goes on."""
    (folder / "functions.py").write_text(
        "import time\ndef wait(value):\n    open('waiting', 'w').close()\n    time.sleep(600)\n"
    )
    (folder / "main.plumb").write_text(function("wait"))
    work = "fabric.call_sync('main.plumb', 1)" if how == "call_sync" else f"anyio.run(work, backend={how!r})"
    process = script(
        f"""
import fabric, anyio
from fabric.testing.leftovers import leftovers
async def work():
    try:
        await fabric.call('main.plumb', 1)
    finally:
        print("left", leftovers(), flush=True)
try:
    {work}
except KeyboardInterrupt:
    print("interrupted", leftovers(), flush=True)
""",
        folder,
    )
    until_s = time.monotonic() + called.PATIENCE_S
    while not (folder / "waiting").exists():
        assert process.poll() is None, finished(process)
        assert time.monotonic() < until_s
        time.sleep(0.01)  # the worker tells by a file
    process.send_signal(signal.SIGINT)
    status, output, errors = finished(process)
    assert (status, output.splitlines()[-1], errors) == (0, "interrupted []", "")
    expect_gone(folder)


def test_a_pipeline_that_is_left_open_does_not_keep_the_interpreter(folder: Path):
    """It is ended by force at the end of the process, which is not long in coming."""
    write(folder, function("wait"))
    text = """
import fabric, trio
async def main():
    pipeline = await fabric.run('main.plumb')
    await pipeline.send(1)
    return pipeline
pipeline = trio.run(main)
print("done")
"""
    assert finished(script(text, folder)) == (0, "done\n", "")
    expect_gone(folder)
    assert called.run_directories() == []


def test_a_process_that_is_killed_takes_its_workers_along(folder: Path):
    """And the zygote."""
    write(folder, function("wait"))
    text = """
import fabric, trio, os
async def main():
    pipeline = await fabric.run('main.plumb')
    await pipeline.send(1)
    print("zygote", __import__("fabric.client.engine").client.engine.engine().zygotes.pid, flush=True)
    os.kill(os.getpid(), 9)
trio.run(main)
"""
    status, output, _ = finished(script(text, folder))
    assert status == -signal.SIGKILL
    expect_gone(folder)
    zygote = Path("/proc", output.split()[1])
    until_s = time.monotonic() + called.PATIENCE_S / 4
    while zygote.exists() and _state(zygote) not in "ZX":
        assert time.monotonic() < until_s
        time.sleep(0.01)
    assert called.run_directories() != []
    fabric.call_sync(write(folder, function("more")), 1)  # whoever comes next clears its directory away


def test_a_process_that_was_forked_starts_anew(folder: Path):
    """Its own engine, its own zygote; what the other one runs is not its matter, and goes on."""
    write(folder, function("more"))
    text = """
import fabric, trio, os, sys
async def open_():
    return await fabric.run('main.plumb')
async def talk(pipeline):
    async with pipeline:
        await pipeline.send(41)
        return await pipeline.recv()
async def try_(pipeline):
    try:
        await pipeline.recv()
    except fabric.PipelineError as error:
        return error.code
pipeline = trio.run(open_)
pid = os.fork()
if pid == 0:
    told = [fabric.call_sync('main.plumb', 1), trio.run(try_, pipeline)]
    print("child", told, flush=True)
    sys.exit(0)
status = os.waitpid(pid, 0)[1]
print("parent", os.waitstatus_to_exitcode(status), trio.run(talk, pipeline), fabric.call_sync('main.plumb', 2))
"""
    status, output, errors = finished(script(text, folder))
    assert (status, output, errors) == (0, "child [[2], 'other_process']\nparent 0 42 [3]\n", "")
    expect_gone(folder)


def test_a_process_that_was_forked_does_not_keep_workers_alive(folder: Path):
    """They end with the one that started them, though the other lives on."""
    write(folder, function("wait"))
    text = """
import fabric, trio, os, signal
async def main():
    pipeline = await fabric.run('main.plumb')
    await pipeline.send(1)
    return pipeline
pipeline = trio.run(main)
pid = os.fork()
if pid == 0:
    os.chdir("/")
    os.close(1)
    os.close(2)
    signal.pause()
print(pid, flush=True)
os.kill(os.getpid(), 9)
"""
    status, output, _ = finished(script(text, folder))
    try:
        assert status == -signal.SIGKILL
        expect_gone(folder)
        os.kill(int(output), 0)
        fabric.call_sync(write(folder, function("more")), 1)  # it does not hold the directory, which is cleared away
    finally:
        os.kill(int(output), signal.SIGKILL)


def test_multiprocessing_may_fork_while_calls_run(folder: Path):
    """Each process calls by itself."""
    write(folder, function("more"))
    text = """
import fabric, multiprocessing
print(fabric.call_sync('main.plumb', 0))
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.starmap(fabric.call_sync, [('main.plumb', number) for number in range(4)]))
"""
    assert finished(script(text, folder)) == (0, "[1]\n[[1], [2], [3], [4]]\n", "")
    expect_gone(folder)


# --- The zygote ------------------------------------------------------------------------------------------------------


def test_one_zygote_serves_all(folder: Path):
    """Programs that need less than it has imported do not start another."""
    more, doctor = write(folder, function("more"), "more"), write(folder, called.DOCTOR, "doctor")
    fabric.call_sync(more, 1)
    fabric.call_sync(doctor, "hello")
    zygotes = engines.engine().zygotes
    before = zygotes.pid
    fabric.call_sync(more, 1)
    fabric.call_sync(doctor, "hello")
    assert zygotes.pid == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_zygote_that_dies_is_replaced(backend: str, folder: Path):
    """What it had forked dies with it, as in a crash; who comes later gets a new one."""
    program = write(folder, function("more"))
    waiting = write(folder, function("wait"), "waiting")

    async def talk() -> tuple[int | None, int | None, object]:
        before = engines.engine().zygotes.pid
        assert before is not None
        async with await fabric.run(program) as pipeline:
            assert await pipeline.call(1) == [2]
            os.kill(before, signal.SIGKILL)
            assert await pipeline.call(2) == [3]  # its worker was started again
        return before, engines.engine().zygotes.pid, await fabric.call(program, 3)

    fabric.call_sync(program, 1)
    before, _, answer = run(backend, talk)
    assert answer == [4]
    after = engines.engine().zygotes.pid
    assert after not in (None, before)
    assert waiting.exists()


def test_an_engine_that_has_ended_takes_nothing(folder: Path):
    """Who comes too late is told; who asks for the engine gets another."""
    program = write(folder, function("more"))
    first = engines.engine()
    fabric.client.close()
    assert not first.soon(lambda: None)
    assert fabric.call_sync(program, 1) == [2]
    assert engines.engine() is not first


def test_an_engine_that_finds_no_descriptor_is_told_and_the_next_one_runs(folder: Path):
    """Whoever asks for it gets an error in words, not what is half there."""
    program = write(folder, function("more"))
    fabric.client.close()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(fabric.RunError, match=r"the thread that runs programs cannot be started: .*open files"):
            engines.engine()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert fabric.call_sync(program, 1) == [2]


class Lingering:
    """A session that is not gone before it is told to."""

    def __init__(self) -> None:
        self.running = threading.Event()
        self.ending = threading.Event()
        self.release = threading.Event()

    async def run(self, engine: engines.Engine) -> None:
        """Run until the engine ends, and then some."""
        self.running.set()
        try:
            await trio.sleep_forever()
        finally:
            self.ending.set()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self.release.wait)

    def cancel(self) -> None:
        """It is not asked to."""

    def refuse(self, error: Exception) -> None:
        """It is not refused."""


def test_each_who_closes_waits_until_nothing_is_left(folder: Path):
    """Also whoever comes second: the end of the interpreter must not overtake a thread that closes."""
    runs = engines.engine()
    session = Lingering()
    runs.start(session)
    assert session.running.wait(called.PATIENCE_S)
    left: list[bool] = []

    def close() -> None:
        fabric.client.close()
        left.append("fabric" in [thread.name for thread in threading.enumerate()])

    closing = [threading.Thread(target=close) for _ in range(2)]
    closing[0].start()
    assert session.ending.wait(called.PATIENCE_S)
    closing[1].start()
    while closing[1].is_alive() and "join" not in _calls(closing[1]):
        time.sleep(0.01)  # it tells nobody that it waits
    session.release.set()
    for thread in closing:
        thread.join(called.PATIENCE_S)
    assert left == [False, False]
    fabric.call_sync(write(folder, function("more")), 1)


def _calls(thread: threading.Thread) -> list[str]:
    """Return the functions that a thread is in."""
    frame = sys._current_frames().get(thread.ident or 0)
    return [one.f_code.co_name for one, _ in traceback.walk_stack(frame)] if frame else []


def test_an_engine_whose_start_was_interrupted_is_closed_too(folder: Path):
    """By Ctrl-C while its thread is on the way."""
    text = """
import os, signal, sys, threading
from fabric.client import engine
interrupted = threading.Event()
def interrupt(*event):
    sys.setprofile(None)
    os.kill(os.getpid(), signal.SIGINT)
    interrupted.wait()
threading.setprofile(interrupt)
try:
    engine.engine()
except KeyboardInterrupt:
    interrupted.set()
engine.close()
print([thread.name for thread in threading.enumerate()])
"""
    assert finished(script(text, folder)) == (0, "['MainThread']\n", "")


def test_what_runs_when_the_client_is_closed_is_told(folder: Path):
    """Readers and callers, in whatever thread they are."""
    program = write(folder, function("wait"))
    told: list[str] = []

    def call() -> None:
        try:
            fabric.call_sync(program, 1)
        except fabric.FabricError as error:
            told.append(error.code)

    async def started() -> None:
        async with await fabric.run(program) as pipeline:
            thread.start()
            await anyio.to_thread.run_sync(fabric.client.close)
            with pytest.raises(fabric.PipelineError, match="ended by force"):
                await pipeline.recv()

    thread = threading.Thread(target=call)
    run("asyncio", started)
    thread.join(called.PATIENCE_S / 4)
    if thread.is_alive():  # it came behind the end, and runs in another engine
        fabric.client.close()
        thread.join(called.PATIENCE_S / 4)
    assert told
    fabric.call_sync(write(folder, function("more")), 1)
