"""Containers of a real Docker Engine: started, limited, seen from inside, ended, taken over, removed."""

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
from engine import IMAGE, Engine
from http_bytes import answer, scripted_server

from fabric.errors import ConfigError, EngineFailed, WorkerFailed
from fabric.launch.container import LINES_MAX, ContainerLauncher, end_containers, open_containers
from fabric.launch.container_spec import FOLDER, user_of, want
from fabric.launch.engine import open_engine
from fabric.launch.launcher import Worker
from fabric.launch.owner import Owner
from fabric.plan.plan import Resources, WorkerPlan
from fabric.wire.payload import STRING
from fabric.wire.spec import WorkerKey, WorkerSpec

pytestmark = pytest.mark.processes

SLEEP = "import signal; print('up', flush=True); signal.pause()"
SPEC = WorkerSpec("w", "agent", STRING, STRING, key=WorkerKey("p" * 40, "s" * 40, "f" * 40))
HANG_S = 60.0
"""For a hang, not a measurement."""


def plan_of(at: Engine, script: str, name: str = "w", **fields: object) -> WorkerPlan:
    """Return the plan of a container that runs a Python script."""
    spec = msgspec.structs.replace(SPEC, name=name)
    plan = WorkerPlan(name, spec, ("python", "-P", "-c", script), runner="container", engine=at.host, image=IMAGE)
    return msgspec.structs.replace(plan, **fields)


def owner(key: str, coordinator: str = "1", **fields: object) -> Owner:
    return msgspec.structs.replace(Owner("tests", key, coordinator), **fields)


@asynccontextmanager
async def opened(
    owner: Owner, *plans: WorkerPlan, environment: dict[str, str] | None = None
) -> AsyncIterator[tuple[ContainerLauncher, list[str]]]:
    """Give a launcher, and what it complains of."""
    complaints: list[str] = []
    with trio.fail_after(HANG_S):
        async with open_containers(plans, environment or {}, owner, complaints.append) as launcher:
            yield launcher, complaints


async def ended(worker: Worker) -> tuple[int, list[str]]:
    """Wait for its end; return its status and all that it wrote."""
    lines = [line async for line in worker.stderr_lines()]
    return await worker.wait(), lines


async def up(worker: Worker) -> None:
    """Wait until it has written a line."""
    async with aclosing(worker.stderr_lines()) as lines:
        await anext(lines)


def left(engine: Engine, key: str) -> list[str]:
    return [found["Name"] for found in engine.containers(f"label=plumb-fabric.key={key}")]


INSIDE = """
import json, os, pathlib, socket
def tried(path):
    try:
        pathlib.Path(path).write_text("x")
    except OSError as error:
        return error.strerror
    return "written"
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
folder = os.environ["FABRIC_SPEC_FILE"].rpartition("/")[0]
limit = pathlib.Path("/sys/fs/cgroup/pids/pids.max")
seen = {
    "user": [os.getuid(), os.getgid()],
    "groups": os.getgroups(),
    "caps": [status["CapEff"], status["CapPrm"], status["CapBnd"]],
    "no_new_privileges": status["NoNewPrivs"],
    "root": tried("/x"),
    "app": tried("/app/x"),
    "tmp": tried("/tmp/x"),
    "own": tried(folder + "/x"),
    "first": open("/proc/1/comm").read().strip(),
    "modes": {name: oct(os.stat(f"{folder}/{name}").st_mode) for name in os.listdir(folder)},
    "key": open(os.environ["OPENAI_API_KEY_FILE"]).read(),
    "spec": json.load(open(os.environ["FABRIC_SPEC_FILE"]))["name"],
    "host": socket.gethostname(),
    "pids": limit.read_text().strip() if limit.exists() else None,
}
print(json.dumps(seen))
"""


async def test_what_a_container_sees_and_may(engine: Engine) -> None:
    """Not root, no capability and none to be had, nothing to write but /tmp, its files for itself alone, a limit."""
    plan = plan_of(engine, INSIDE, limits=Resources(pids=17), pass_on=("OPENAI_API_KEY",))
    async with opened(owner("inside"), plan, environment={"OPENAI_API_KEY": "sk-secret"}) as (launcher, _):
        status, lines = await ended(await launcher.launch(plan))
    assert status == 0, lines
    seen = json.loads(lines[0])
    none = "0000000000000000"
    assert seen.pop("pids") in ("17", None)  # None: another version of cgroups
    assert seen == {
        "user": [65532, 65532],
        "groups": [65532],
        "caps": [none, none, none],
        "no_new_privileges": "1",
        "root": "Read-only file system",
        "app": "Read-only file system",
        "tmp": "written",
        "own": "Permission denied",
        "first": "docker-init",
        "modes": {"spec.json": "0o100400", "key.json": "0o100400", "OPENAI_API_KEY": "0o100400"},
        "key": "sk-secret",
        "spec": "w",
        "host": Path("/proc/sys/kernel/hostname").read_text().strip(),
    }
    assert left(engine, "inside") == []


async def test_nothing_secret_is_shown(engine: Engine) -> None:
    """Whoever may list and inspect containers sees neither the worker's key nor its provider's."""
    plan = plan_of(engine, SLEEP, pass_on=("OPENAI_API_KEY",))
    async with opened(owner("secrets"), plan, environment={"OPENAI_API_KEY": "sk-secret"}) as (launcher, _):
        await up(await launcher.launch(plan))
        (shown,) = engine.containers("label=plumb-fabric.key=secrets")
        assert shown["State"]["Running"]
        text = json.dumps(shown)
        assert "sk-secret" not in text
        assert "s" * 40 not in text
        labels = {name: value for name, value in shown["Config"]["Labels"].items() if name != "plumb-fabric.digest"}
        assert labels == {
            "plumb-fabric.key": "secrets",
            "plumb-fabric.project": "tests",
            "plumb-fabric.worker": "w",
            "plumb-fabric.coordinator": "1",
        }
    assert left(engine, "secrets") == []
    assert engine.docker("volume", "ls", "-q") == ""


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("print('out'); raise SystemExit(3)", (3, ["out"])),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", (-9, [])),
        ("import sys; sys.stderr.write('no end')", (0, ["no end"])),
    ],
)
async def test_its_end_is_that_of_its_program(engine: Engine, script: str, expected: tuple[int, list[str]]) -> None:
    """A status, or the signal; and all that it wrote, on stdout or stderr."""
    plan = plan_of(engine, script)
    async with opened(owner("ends"), plan) as (launcher, _):
        assert await ended(await launcher.launch(plan)) == expected


async def test_lines_that_nobody_reads_hold_nothing_up(engine: Engine) -> None:
    """A container that has ended is followed for a moment longer; then what was not read is said to be lost."""
    many = LINES_MAX + 100
    plan = plan_of(engine, f"for number in range({many}): print(number)")
    async with opened(owner("unread"), plan) as (launcher, complaints):
        worker = await launcher.launch(plan)
        assert await worker.wait() == 0
        while engine.docker("ps", "-aq", "--filter", "label=plumb-fabric.key=unread"):
            await trio.testing.wait_all_tasks_blocked(0.01)
        _, lines = await ended(worker)
    assert lines[:-1] == [str(number) for number in range(LINES_MAX)]
    assert lines[-1] == "(its lines were not read within 2 s of its end; the rest is lost)"
    assert complaints == []


async def test_one_that_runs_out_of_memory_says_so(engine: Engine) -> None:
    """It was killed, and the last line says by which limit."""
    plan = plan_of(engine, "x = bytearray(10**9)", limits=Resources(64 * 1024**2))
    async with opened(owner("oom"), plan) as (launcher, _):
        status, lines = await ended(await launcher.launch(plan))
    assert (status, lines[-1]) == (-9, "its container ran out of memory (limit 64 MiB)")


async def test_it_is_asked_to_end_and_then_made_to(engine: Engine) -> None:
    """TERM reaches the program, which may take it as it likes; KILL ends it. One that is gone is not signalled."""
    deaf = "import signal; signal.signal(signal.SIGTERM, lambda *_: print('no', flush=True))\n"
    plan = plan_of(engine, deaf + "print('up', flush=True)\nwhile True: signal.pause()")
    async with opened(owner("signals"), plan) as (launcher, _):
        worker = await launcher.launch(plan)
        lines = worker.stderr_lines()  # to its end
        assert await anext(lines) == "up"
        worker.signal("TERM")
        assert await anext(lines) == "no"
        worker.signal("KILL")
        assert await worker.wait() == -signal.SIGKILL
        worker.signal("KILL")
        assert [line async for line in lines] == []


async def test_the_entry_point_of_an_image_is_left_aside(engine: Engine) -> None:
    """What is run is what the plan says."""
    engine.docker("build", "-q", "-t", "entry", "-", stdin=f'FROM {IMAGE}\nENTRYPOINT ["/nothing"]\n'.encode())
    plan = plan_of(engine, "print(1)", image="entry")
    async with opened(owner("entry"), plan) as (launcher, _):
        assert await ended(await launcher.launch(plan)) == (0, ["1"])


# --- what is left ---


async def test_a_session_that_is_broken_off_leaves_nothing(engine: Engine) -> None:
    """Whatever is raised in it; and one that is cancelled, also while containers come to be."""
    plans = [plan_of(engine, SLEEP, name) for name in ("a", "b", "c")]
    with pytest.RaisesGroup(pytest.RaisesExc(ZeroDivisionError)):
        async with opened(owner("broken"), *plans) as (launcher, _):
            await up(await launcher.launch(plans[0]))
            raise ZeroDivisionError
    assert left(engine, "broken") == []
    for steps in (1, 3, 10, 30):
        with trio.CancelScope() as scope:
            async with opened(owner("cancelled"), *plans) as (launcher, _), trio.open_nursery() as nursery:
                for plan in plans:
                    nursery.start_soon(launcher.launch, plan)
                for _ in range(steps):  # so many turns, some of them in the middle of a request
                    await trio.testing.wait_all_tasks_blocked(0.001)
                scope.cancel()
        assert left(engine, "cancelled") == []
    assert engine.docker("volume", "ls", "-q") == ""


async def test_a_container_that_cannot_start_is_told_and_removed(engine: Engine) -> None:
    """In the engine's words; or, of a program that is not there, in those of what starts it."""
    plan = plan_of(engine, "", limits=Resources(1024**2))
    async with opened(owner("fails"), plan) as (launcher, _):
        with pytest.raises(WorkerFailed, match=r"worker 'w': the Docker Engine at .*inimum memory limit"):
            await launcher.launch(plan)
    missing = plan_of(engine, "", command=("no-such-program",))
    async with opened(owner("fails"), missing) as (launcher, _):
        status, lines = await ended(await launcher.launch(missing))
    assert (status, "no-such-program" in lines[-1]) == (127, True)
    assert left(engine, "fails") == []


async def test_the_next_of_a_worker_takes_the_place_of_the_one_before(engine: Engine) -> None:
    """There is never more than one container of a worker, also if the first was not removed yet."""
    plan = plan_of(engine, SLEEP)
    async with opened(owner("again"), plan) as (launcher, _):
        first = await launcher.launch(plan)
        await up(first)
        second = await launcher.launch(plan)
        await up(second)
        assert await first.wait() == -signal.SIGKILL
        assert len(left(engine, "again")) == 1


async def test_one_that_is_being_removed_keeps_its_name_for_a_while(tmp_path: Path) -> None:
    """The next of its worker waits until it is gone."""
    plan = WorkerPlan("w", SPEC, ("x",), runner="container", engine=f"unix://{tmp_path}/e.sock", image="i")
    name = want(plan, "i", owner("going"), {}, "1:1", local=True).name
    going = answer(msgspec.json.encode([{"Id": "1", "Names": [f"/{name}"], "Labels": {}, "State": "removing"}]))
    nothing, conflict = answer(b"[]"), answer(b'{"message":"removal is already in progress"}', "409 Conflict")
    looked = [answer(b'{"ApiVersion":"1.41"}'), answer(b'{"Id":"i"}'), nothing]
    started = [answer(b'{"Id":"2"}', "201 Created"), answer(b""), answer(b"")]
    answers = [*looked, conflict, going, conflict, going, conflict, nothing, *started]
    async with scripted_server(tmp_path / "e.sock", answers) as server, opened(owner("going"), plan) as (launcher, _):
        await launcher.launch(plan)
        assert server.answers == []
        while len(server.asked) < 14:  # it is waited for, and its lines are
            await trio.testing.wait_all_tasks_blocked(0.001)
        server.answers.append(nothing)


async def test_what_somebody_removes_is_gone(engine: Engine) -> None:
    """The worker counts as killed."""
    plan = plan_of(engine, SLEEP)
    async with opened(owner("removed"), plan) as (launcher, complaints):
        worker = await launcher.launch(plan)
        await up(worker)
        engine.docker("rm", "-f", *engine.docker("ps", "-q", "-f", "label=plumb-fabric.key=removed").split())
        assert await worker.wait() == -signal.SIGKILL
    assert complaints == []


# --- before anything is started ---


async def test_an_image_that_is_not_there_is_said_before_anything_starts(engine: Engine) -> None:
    """With the commands that make it or get it."""
    plans = plan_of(engine, SLEEP), plan_of(engine, SLEEP, "v", image="nobody/has:it")
    with pytest.raises(ConfigError, match=r"worker 'v': .* has no image 'nobody/has:it'; make it with: .*fabric image"):
        async with opened(owner("image"), *plans):
            pytest.fail("it is not there")
    assert left(engine, "image") == []


async def test_an_engine_that_is_not_there_is_said_before_anything_starts(engine: Engine) -> None:
    """A worker of it could not be started: the exit code says that."""
    plans = plan_of(engine, SLEEP), plan_of(engine, SLEEP, "v", engine="unix:///nowhere")
    with pytest.raises(EngineFailed, match="there is no Docker Engine at unix:///nowhere"):
        async with opened(owner("no-engine"), *plans):
            pytest.fail("it is not there")
    assert left(engine, "no-engine") == []


async def test_keys_are_not_sent_to_an_engine_elsewhere_in_the_clear(tmp_path: Path) -> None:
    """It is not even asked. Who says that there are no keys is taken at his word."""
    async with scripted_server(tmp_path / "e.sock", [answer(b"no")]) as server:
        there, here = (
            WorkerPlan("w", SPEC, ("x",), runner="container", engine=where)
            for where in ("tcp://192.0.2.1:9", f"unix://{tmp_path}/e.sock")
        )
        for secured, raised in ((True, "in the clear"), (False, "is no Docker Engine")):
            plans = [msgspec.structs.replace(plan, secured=secured) for plan in (here, there)]
            with pytest.raises((ConfigError, EngineFailed), match=raised):
                async with opened(owner("tcp"), *plans):
                    pytest.fail("it is none")
            assert len(server.asked) == (not secured)


# --- what an earlier coordinator has left ---


async def abandoned(engine: Engine, key: str, *plans: WorkerPlan) -> list[str]:
    """Start containers as a coordinator does that is killed then; return their ids."""
    ids = []
    with trio.fail_after(HANG_S):
        async with open_engine(engine.host, {}) as api:
            image = await api.image(IMAGE)
            for plan in plans:
                user = user_of(os.getuid(), os.getgid())
                wanted = want(plan, image.id, owner(key, "killed"), {}, user, local=True)
                ids.append(await api.create(wanted.name, wanted.container))
                await api.put_files(ids[-1], FOLDER, wanted.archive())
                await api.start(ids[-1])
    return ids


async def test_one_that_would_be_started_just_so_is_taken_over(engine: Engine) -> None:
    """The same container, its last lines once more; the end of this session removes it."""
    plan = plan_of(engine, SLEEP)
    (before,) = await abandoned(engine, "taken", plan)
    async with opened(owner("taken", "2", adopts=True), plan) as (launcher, _):
        worker = await launcher.launch(plan)
        await up(worker)
        assert [found["Id"] for found in engine.containers("label=plumb-fabric.key=taken")] == [before]
        worker.signal("TERM")
        assert await worker.wait() in (-signal.SIGTERM, 143)
    assert left(engine, "taken") == []


async def test_one_that_goes_before_it_is_taken_over_is_started_anew(engine: Engine) -> None:
    """It was there when the session looked, and is gone when its worker is wanted."""
    plan = plan_of(engine, SLEEP)
    (before,) = await abandoned(engine, "went", plan)
    async with opened(owner("went", "2", adopts=True), plan) as (launcher, _):
        engine.docker("rm", "-f", before)
        await up(await launcher.launch(plan))
        assert before not in [found["Id"] for found in engine.containers("label=plumb-fabric.key=went")]
    assert left(engine, "went") == []


async def test_others_are_removed_before_anything_starts(engine: Engine) -> None:
    """One that was started otherwise, one that has ended, one of a worker that is not there any more; all of a run."""
    plan, other = plan_of(engine, SLEEP), plan_of(engine, SLEEP, "gone")
    changed = msgspec.structs.replace(plan, limits=Resources(pids=9))
    for now, adopts in ((changed, True), (plan, False)):
        await abandoned(engine, "others", plan, other)
        async with opened(owner("others", "2", adopts=adopts), now) as (launcher, _):
            assert left(engine, "others") == []
            await up(await launcher.launch(now))
    await abandoned(engine, "others", plan_of(engine, "pass"))
    async with opened(owner("others", "2", adopts=True), plan_of(engine, "pass")):
        pass
    assert left(engine, "others") == []


async def test_those_of_a_coordinator_that_lives_are_not_touched(engine: Engine) -> None:
    """Two sessions cannot have the same containers: the second says who has them."""
    plan = plan_of(engine, SLEEP)
    async with opened(owner("lives", "41:a"), plan) as (launcher, _):
        await up(await launcher.launch(plan))
        with pytest.RaisesGroup(pytest.RaisesExc(ConfigError, match="belongs to a session that runs, pid 41")):
            async with opened(owner("lives", "42:b", adopts=True, lives="41:a".__eq__), plan):
                pytest.fail("they are somebody's")
        assert len(left(engine, "lives")) == 1


async def test_what_a_killed_coordinator_left_can_be_ended_without_one(engine: Engine) -> None:
    """As fabric down does: asked first, then removed."""
    await abandoned(engine, "ended", plan_of(engine, SLEEP), plan_of(engine, "pass", "v"))
    async with open_engine(engine.host, {}) as api:
        await end_containers(api, "ended", HANG_S)
    assert left(engine, "ended") == []
