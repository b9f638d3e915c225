"""Workers that are forked, and the same ones spawned. Real processes; each wait is for an exit or the end of a pipe."""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from fabric.errors import WorkerFailed
from fabric.launch.launcher import Worker
from fabric.launch.preload import ZygoteProcess, module_to_fork, open_zygote
from fabric.launch.process import ProcessLauncher, open_launcher
from fabric.plan.make import MODULE
from fabric.plan.plan import WorkerPlan
from fabric.wire.payload import STRING
from fabric.wire.spec import WorkerSpec

pytestmark = pytest.mark.processes

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "LANG": "C.UTF-8",
    "TZ": "Asia/Tokyo",
    "CANARY_SECRET": "s3cret",
    "ANTHROPIC_API_KEY": "key",
    "BYTES": "\udcff",
}


def plan(text: str, folder: Path, name: str = "judge", pass_on: tuple[str, ...] = ()) -> WorkerPlan:
    """Return the plan of a Python worker that runs a text while it imports its function."""
    (folder / f"{name}.py").write_text(text)
    spec = WorkerSpec(name, "python", STRING, STRING, config={"call": f"{name}:f"}, directory=str(folder))
    return WorkerPlan(name, spec, (sys.executable, *MODULE, "fabric.worker"), ours=True, pass_on=pass_on)


@pytest.fixture(params=["zygote", "spawn"])
def zygote(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ZygoteProcess | None]:
    """The zygote, and none."""
    with open_zygote([plan("", tmp_path)] if request.param == "zygote" else []) as opened:
        yield opened


@pytest.fixture
def forking(tmp_path: Path) -> Iterator[ZygoteProcess]:
    with open_zygote([plan("", tmp_path)]) as opened:
        assert opened is not None
        yield opened


@pytest.fixture
async def launcher(zygote: ZygoteProcess | None) -> AsyncIterator[ProcessLauncher]:
    async with open_launcher(ENVIRONMENT, zygote) as opened:
        with trio.fail_after(50):
            yield opened


async def finish(worker: Worker) -> tuple[int, list[str]]:
    """Return exit status and what was written."""
    written = [line async for line in worker.stderr_lines()]
    return await worker.wait(), written


async def said(launcher: ProcessLauncher, expression: str, folder: Path, **more: Any) -> Any:
    """Return the value of an expression in a worker."""
    text = f"import json, os, sys\nprint(json.dumps({expression}))\nos._exit(0)"
    status, written = await finish(await launcher.launch(plan(text, folder, **more)))
    assert status == 0, written
    return json.loads(written[-1])


# --- As a fresh process ----------------------------------------------------------------------------------------------


async def test_its_environment_is_what_it_needs_and_nothing_else(launcher: ProcessLauncher, tmp_path: Path):
    """Not the coordinator's, not the zygote's, not where it had its spec from; bytes that are no text get through."""
    found = await said(launcher, "dict(os.environ)", tmp_path, pass_on=("BYTES",))
    assert found.pop("FABRIC_PARENT_FD").isdigit()
    assert found == {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "TZ": "Asia/Tokyo",
        "FABRIC_WORKER": "judge",
        "PYTHONUNBUFFERED": "1",
        "BYTES": "\udcff",
    }


async def test_a_program_that_it_starts_gets_the_same(launcher: ProcessLauncher, tmp_path: Path):
    """The C library's copy is in step with Python's."""
    text = "import subprocess, os\nsubprocess.run(['env'], check=True)\nos._exit(0)"
    _, written = await finish(await launcher.launch(plan(text, tmp_path)))
    names = sorted(line.partition("=")[0] for line in written)
    assert names == ["FABRIC_PARENT_FD", "FABRIC_WORKER", "LANG", "PATH", "PYTHONUNBUFFERED", "TZ"]


async def test_the_system_shows_nothing_of_the_coordinators_environment(launcher: ProcessLauncher, tmp_path: Path):
    """In ``/proc``, where the variables are that a process was executed with."""
    found = await said(launcher, "open('/proc/self/environ', 'rb').read().decode('latin-1')", tmp_path)
    assert "s3cret" not in found
    assert "key" not in found


async def test_its_stdin_is_empty_and_its_stdout_is_for_people(launcher: ProcessLauncher, tmp_path: Path):
    """Stdout and stderr are one pipe; both are written at once."""
    text = "import os, sys\nprint(repr(sys.stdin.read()))\nprint('oh', file=sys.stderr)\nprint('no')\nos._exit(0)"
    assert await finish(await launcher.launch(plan(text, tmp_path))) == (0, ["''", "oh", "no"])


async def test_it_leads_a_session_and_holds_few_descriptors(launcher: ProcessLauncher, tmp_path: Path):
    """Stdin, stdout, stderr, the pipe that it lives by, and the listing itself; its spec is read and closed."""
    expression = "[os.getsid(0) == os.getpgid(0) == os.getpid(), len(os.listdir('/proc/self/fd'))]"
    assert await said(launcher, expression, tmp_path) == [True, 5]


async def test_signals_are_as_in_any_python(launcher: ProcessLauncher, tmp_path: Path):
    """And none is blocked."""
    text = "[signal.getsignal(n) in (signal.SIG_DFL, None) for n in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP)]"
    expression = (
        f"(lambda signal: [{text}, signal.getsignal(signal.SIGINT) is signal.default_int_handler,"
        " list(signal.pthread_sigmask(signal.SIG_BLOCK, [])), signal.set_wakeup_fd(-1)])(__import__('signal'))"
    )
    assert await said(launcher, expression, tmp_path) == [[True, True, True], True, [], -1]


async def test_its_time_zone_is_the_coordinators(launcher: ProcessLauncher, tmp_path: Path):
    """Tokyo is nine hours ahead."""
    assert await said(launcher, "__import__('time').localtime(0).tm_hour", tmp_path) == 9


async def test_it_runs_as_its_module(launcher: ProcessLauncher, tmp_path: Path):
    """With the arguments that it would have from ``python -m``, in the same directory, collecting garbage."""
    expression = (
        "[os.path.basename(sys.argv[0]), len(sys.argv), sys.modules['__main__'].__spec__.name, os.getcwd(),"
        " sys.flags.safe_path, __import__('gc').isenabled(), len(__import__('threading').enumerate())]"
    )
    expected = ["__main__.py", 1, "fabric.worker.__main__", os.getcwd(), True, True, 1]
    assert await said(launcher, expression, tmp_path) == expected


async def test_no_two_draw_the_same_numbers(launcher: ProcessLauncher, tmp_path: Path):
    """Each has chance of its own."""
    drawn = [await said(launcher, "__import__('random').random()", tmp_path) for _ in range(3)]
    assert len(set(drawn)) == 3


async def test_a_name_tells_it_apart(forking: ZygoteProcess, tmp_path: Path):
    """In ``ps`` and ``top``."""
    expression = "[open('/proc/self/comm').read(), open('/proc/self/cmdline').read().rstrip('\\0')]"
    async with open_launcher(ENVIRONMENT, forking) as launcher:
        name = "an_agent_with_a_long_name"
        assert await said(launcher, expression, tmp_path, name=name) == [
            "fabric:an_agent\n",
            f"fabric worker {name} (fabric.worker)",
        ]


# --- The end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("import os; os._exit(7)", 7),
        ("raise SystemExit(3)", 3),
        ("raise SystemExit", 0),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("raise KeyboardInterrupt", -signal.SIGINT),
    ],
)
async def test_the_exit_status_or_the_signal_is_returned(
    text: str, status: int, launcher: ProcessLauncher, tmp_path: Path
):
    """While the user's module is imported."""
    worker = await launcher.launch(plan(text, tmp_path))
    assert (await finish(worker))[0] == status


async def test_a_module_that_cannot_be_imported_is_told_in_the_same_words(tmp_path: Path):
    """Traceback and error line, whichever way the worker was started."""
    ends = []
    for workers in ([], [plan("", tmp_path)]):
        with open_zygote(workers) as zygote:
            async with open_launcher(ENVIRONMENT, zygote) as launcher:
                ends.append(await finish(await launcher.launch(plan("1 / 0", tmp_path))))
    assert ends[0] == ends[1]
    assert ends[0][0] == 2
    assert json.loads(ends[0][1][-1])["error"].endswith("importing 'judge' failed: ZeroDivisionError: division by zero")


STARTS_A_CHILD = "import subprocess\nsubprocess.run(['sh', '-c', 'echo started; exec sleep 3600'])"


@pytest.mark.parametrize(("name", "status"), [("TERM", -15), ("KILL", -9)])
async def test_a_signal_reaches_what_the_worker_started(
    name: str, status: int, launcher: ProcessLauncher, tmp_path: Path
):
    """The end of its output tells that nobody of the group holds it any more."""
    worker = await launcher.launch(plan(STARTS_A_CHILD, tmp_path))
    source = worker.stderr_lines()
    assert await anext(source) == "started"
    worker.signal(name)  # type: ignore[arg-type]
    assert [line async for line in source] == []
    assert await worker.wait() == status
    worker.signal("KILL")  # to one that is gone: nothing


async def test_a_signal_right_after_the_start_arrives(launcher: ProcessLauncher, tmp_path: Path):
    """Whatever the worker has got to by then."""
    for _ in range(20):
        worker = await launcher.launch(plan("import signal; signal.pause()", tmp_path))
        worker.signal("TERM")
        assert await worker.wait() == -signal.SIGTERM


async def test_a_stopped_worker_can_be_terminated(launcher: ProcessLauncher, tmp_path: Path):
    """It is made to go on, or it could not act on the signal."""
    text = (
        "import os, signal\nsignal.signal(signal.SIGTERM, lambda *_: os._exit(7))\nprint('started')\n"
        "os.kill(os.getpid(), signal.SIGSTOP)\nwhile True: pass"
    )
    worker = await launcher.launch(plan(text, tmp_path))
    source = worker.stderr_lines()
    assert await anext(source) == "started"
    while (
        Path(f"/proc/{worker.pid}/stat").read_text().rpartition(") ")[2][0] != "T"
    ):  # else it could stop after its CONT
        await trio.lowlevel.checkpoint()
    worker.signal("TERM")
    assert [line async for line in source] == []
    assert await worker.wait() == 7


async def test_what_a_worker_left_behind_is_killed_when_it_is_reaped(launcher: ProcessLauncher, tmp_path: Path):
    """Its output comes to an end only then."""
    text = "import os, subprocess\nsubprocess.Popen(['sleep', '3600'])\nprint('started')\nos._exit(0)"
    worker = await launcher.launch(plan(text, tmp_path))
    assert await worker.wait() == 0
    assert [line async for line in worker.stderr_lines()] == ["started"]


async def test_after_20_launches_no_zombie_and_no_descriptor_is_left(launcher: ProcessLauncher, tmp_path: Path):
    """While the launcher is open."""

    def descriptors() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    await finish(await launcher.launch(plan("raise SystemExit(0)", tmp_path)))
    before = descriptors()
    for _ in range(20):
        worker = await launcher.launch(plan("raise SystemExit(0)", tmp_path))
        assert (await finish(worker))[0] == 0
        with pytest.raises(ProcessLookupError):
            os.kill(worker.pid or 0, 0)
    assert descriptors() == before


async def test_at_the_end_of_the_launcher_what_is_left_is_killed_and_reaped(
    zygote: ZygoteProcess | None, tmp_path: Path
):
    """Those that nobody has ended; also when the session is cancelled."""
    with trio.CancelScope() as scope:
        async with open_launcher(ENVIRONMENT, zygote) as launcher:
            worker = await launcher.launch(plan(STARTS_A_CHILD, tmp_path))
            source = worker.stderr_lines()
            assert await anext(source) == "started"
            scope.cancel()
            await trio.sleep_forever()
    with trio.fail_after(20):
        assert [line async for line in source] == []
        assert await worker.wait() == -signal.SIGKILL


# --- The zygote itself -----------------------------------------------------------------------------------------------


async def test_the_zygote_has_one_thread_no_variable_and_one_socket(forking: ZygoteProcess, tmp_path: Path):
    """After its first fork: it has imported by then."""
    async with open_launcher(ENVIRONMENT, forking) as launcher:
        worker = await launcher.launch(plan(STARTS_A_CHILD, tmp_path))
        process = Path(f"/proc/{forking.pid}")
        assert len(list((process / "task").iterdir())) == 1
        assert (process / "environ").read_bytes() == b""
        held = [os.readlink(descriptor) for descriptor in (process / "fd").iterdir()]
        assert sum(name.startswith("socket:") for name in held) == 1
        assert os.getsid(forking.pid) == forking.pid
        assert Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[1] == str(forking.pid)


async def test_with_the_zygote_die_its_workers_and_are_told_as_killed(forking: ZygoteProcess, tmp_path: Path):
    """And what they have started; the last line says why. Whoever is launched then is spawned."""
    async with open_launcher(ENVIRONMENT, forking) as launcher:
        worker = await launcher.launch(plan(STARTS_A_CHILD, tmp_path))
        source = worker.stderr_lines()
        assert await anext(source) == "started"
        os.kill(forking.pid, signal.SIGKILL)
        with trio.fail_after(20):
            assert [line async for line in source] == [
                "the process that forks workers ended with status -9; its workers with it"
            ]
            assert await worker.wait() == -signal.SIGKILL
            worker.signal("KILL")
            assert await said(launcher, "os.getppid()", tmp_path) == os.getpid()


async def test_who_waits_for_a_zygote_that_dies_is_spawned(forking: ZygoteProcess, tmp_path: Path):
    """Nothing of the worker was there yet, so nothing is lost but time."""
    os.kill(forking.pid, signal.SIGSTOP)
    found = []
    async with open_launcher(ENVIRONMENT, forking) as launcher, trio.open_nursery() as nursery:

        async def launch() -> None:
            found.append(await said(launcher, "os.getppid()", tmp_path))

        nursery.start_soon(launch)
        await trio.testing.wait_all_tasks_blocked()
        os.kill(forking.pid, signal.SIGKILL)
    assert found == [os.getpid()]


async def test_a_worker_whose_module_is_missing_fails_as_it_does_when_spawned(tmp_path: Path):
    """The zygote goes on."""
    missing = WorkerPlan(
        "judge", WorkerSpec("judge", "agent", STRING, STRING), (sys.executable, *MODULE, "no_such_module"), ours=True
    )
    with open_zygote([missing]) as zygote:
        assert zygote is not None
        async with open_launcher(ENVIRONMENT, zygote) as launcher:
            status, written = await finish(await launcher.launch(missing))
            assert status == 1
            assert written[-1] == "ModuleNotFoundError: No module named 'no_such_module'"
            assert await said(launcher, "1", tmp_path) == 1


async def test_what_the_host_does_with_signals_is_not_handed_down(tmp_path: Path):
    """One that ignores the ends of its children, and blocks signals: the zygote reaps, and its workers are fresh."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
    with ExitStack() as stack:
        try:
            zygote = stack.enter_context(open_zygote([plan("", tmp_path)]))
        finally:
            signal.signal(signal.SIGCHLD, before)
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        async with open_launcher(ENVIRONMENT, zygote) as launcher:
            with trio.fail_after(50):
                text = "import os\nos._exit(3)"
                assert await finish(await launcher.launch(plan(text, tmp_path, "first"))) == (3, [])
                expression = (
                    "(lambda s: [s.getsignal(s.SIGCHLD) == s.SIG_DFL, list(s.pthread_sigmask(s.SIG_BLOCK, []))])"
                )
                assert await said(launcher, f"{expression}(__import__('signal'))", tmp_path) == [True, []]


async def test_the_zygote_may_open_more_files_than_it_was_started_with_and_its_workers_may_not(tmp_path: Path):
    """It needs one for each of them, and theirs are for them to use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = max(map(int, os.listdir("/proc/self/fd"))) + 8  # what is needed to start it
    with ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
        try:
            zygote = stack.enter_context(open_zygote([plan("", tmp_path)]))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        async with open_launcher(ENVIRONMENT, zygote) as launcher:
            pausing = plan("import signal; signal.pause()", tmp_path, "pausing")
            workers = [await launcher.launch(pausing) for _ in range(few)]
            assert len({worker.pid for worker in workers}) == few
            limits = "list(__import__('resource').getrlimit(__import__('resource').RLIMIT_NOFILE))"
            assert await said(launcher, limits, tmp_path) == [few, hard]


@pytest.mark.parametrize("room", [0, 1, 2])
async def test_a_zygote_that_can_open_no_more_files_refuses_and_goes_on(
    room: int, forking: ZygoteProcess, tmp_path: Path
):
    """It needs three for a worker: two that come along, and one to wait by. The others live."""
    async with open_launcher(ENVIRONMENT, forking) as launcher:
        worker = await launcher.launch(plan("import signal; signal.pause()", tmp_path))
        await said(launcher, "0", tmp_path, name="earlier")  # by its end the zygote has let go of what came along
        before = resource.prlimit(forking.pid, resource.RLIMIT_NOFILE)
        held = [int(name) for name in os.listdir(f"/proc/{forking.pid}/fd")]
        limit = max(n for n in range(64) if n - sum(descriptor < n for descriptor in held) == room)
        resource.prlimit(forking.pid, resource.RLIMIT_NOFILE, (limit, before[1]))
        for _ in range(3):
            with pytest.raises(WorkerFailed, match="Too many open files"):
                await launcher.launch(plan("", tmp_path, "refused"))
        resource.prlimit(forking.pid, resource.RLIMIT_NOFILE, before)
        assert await said(launcher, "1", tmp_path, name="later") == 1
        worker.signal("TERM")
        assert await worker.wait() == -signal.SIGTERM


def test_only_our_own_python_workers_are_forked(tmp_path: Path):
    """By the interpreter that runs us; without such a worker no zygote is started."""
    ours = plan("", tmp_path)
    assert module_to_fork(ours) == "fabric.worker"
    for command, is_ours in [(ours.command, False), (("python", *MODULE, "fabric.worker"), True), (("cat",), True)]:
        assert module_to_fork(WorkerPlan("judge", ours.spec, command, ours=is_ours)) is None
    with open_zygote([WorkerPlan("judge", ours.spec, ("cat",))]) as zygote:
        assert zygote is None


COORDINATOR = """
import os, sys, trio
from fabric.launch.preload import open_zygote
from fabric.launch.process import open_launcher
from fabric.plan.make import MODULE
from fabric.plan.plan import WorkerPlan
from fabric.wire.payload import STRING
from fabric.wire.spec import WorkerSpec

spec = WorkerSpec("judge", "python", STRING, STRING, config={"call": "judge:f"}, directory=sys.argv[1])
plan = WorkerPlan("judge", spec, (sys.executable, *MODULE, "fabric.worker"), ours=True)

async def main(zygote):
    async with open_launcher(os.environ, zygote) as launcher:
        async for line in (await launcher.launch(plan)).stderr_lines():
            print(line, flush=True)

with open_zygote([plan]) as zygote:
    trio.run(main, zygote)
"""

HOLDS_STDERR = """
import os, subprocess, time
stderr = open(f"/proc/{os.getppid()}/fd/2", "wb")  # as long as one of us lives, the test can tell
print(os.getppid(), os.getpid(), subprocess.Popen(["sleep", "3600"], stdout=stderr).pid)
while True: time.sleep(3600)
"""


def test_a_killed_coordinator_takes_everything_along(tmp_path: Path):
    """Zygote, worker, and what the worker has started; it may be busy."""
    (tmp_path / "judge.py").write_text(HOLDS_STDERR)
    with subprocess.Popen(
        [sys.executable, "-P", "-c", COORDINATOR, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as coordinator:
        assert coordinator.stdout is not None
        pids = [int(word) for word in coordinator.stdout.readline().split()]
        assert len(pids) == 3
        coordinator.kill()
        try:
            assert coordinator.communicate(timeout=20) == (b"", b"")  # they held it, and are gone
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
