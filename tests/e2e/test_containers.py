"""Programs whose workers are containers, as users run them, with a real Docker Engine."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine import IMAGE, Engine, open_engine
from services import listed, record_of, said, start, wait_for, wait_gone, wait_until
from three_ways import fabric

pytestmark = pytest.mark.processes

PROGRAM = """
let ask : !string -> !string = agent { provider: "eliza" }
let work : !string -> !int = python { call: "functions:work" }
let main : !string -> !int = plumb(i, o) { i ; ask ; work ; o }
"""

ALONE = """
let work : !string -> !int = python { call: "functions:work" }
let main : !string -> !int = plumb(i, o) { i ; work ; o }
"""

FUNCTIONS = """
import os, sys, time
def work(text):
    print("got", len(text), file=sys.stderr)
    if "mother" in text:  # it grows until its container is out of memory
        memory = []
        while True:
            memory.append(bytearray(1_000_000))
    return len(text)
"""

TOML = f"""
[run]
runner = "container"
image = "{IMAGE}"
[workers.work]
limits = {{memory = "64m"}}
"""


@pytest.fixture
def project(tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project that containers may read; behind it none of them is left."""
    yield from made(tmp_path, engine, monkeypatch)


def made(tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    folder = tmp_path / "demo"
    folder.mkdir(mode=0o755)
    write(folder)
    yield folder
    with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
        fabric("down", "-t", "1", cwd=folder)
    assert [found["Name"] for found in engine.containers() if folder.parent.name in json.dumps(found["Mounts"])] == []


def write(folder: Path, name: str = "demo") -> None:
    (folder / f"{name}.plumb").write_text(PROGRAM)
    (folder / "functions.py").write_text(FUNCTIONS)
    (folder / "fabric.toml").write_text(TOML)


def coordinator(folder: Path) -> int:
    return record_of(folder / ".fabric" / "run" / "demo.json")["process"]["pid"]


def containers(engine: Engine, project: str = "demo") -> dict[str, Any]:
    """Return the containers of a service, by worker."""
    found = engine.containers(f"label=plumb-fabric.project={project}")
    return {each["Config"]["Labels"]["plumb-fabric.worker"]: each for each in found}


def test_a_program_runs_in_containers_to_its_end(project: Path, engine: Engine) -> None:
    """What comes out is what comes out of processes; nothing is left of them, and nothing was lost."""
    done = fabric("run", "demo.plumb", cwd=project, stdin=b'"hello"\n"I am sad"\n')
    assert (done.returncode, done.stdout) == (0, b"40\n30\n"), said(done)
    assert containers(engine) == {}


def test_a_message_that_costs_its_container_the_memory_is_poison(project: Path) -> None:
    """It is given to three processes, named with what ended them, and the others come through: exit code 5."""
    (project / "demo.plumb").write_text(ALONE)
    done = fabric("run", "demo.plumb", cwd=project, stdin=b'"hello"\n"my mother"\n"sad"\n')
    assert (done.returncode, done.stdout) == (5, b"5\n3\n"), said(done)
    assert said(done).count("its container ran out of memory (limit 64 MiB)\n") == 3
    assert '"dead_lettered":1' in said(done)


def test_a_service_in_containers(project: Path, engine: Engine) -> None:
    """It comes up, answers, has its container killed and answers again, and drains: nothing is lost or left."""
    assert fabric("up", "-d", cwd=project).returncode == 0
    before = containers(engine)
    assert sorted(before) == ["ask", "work"]
    assert fabric("send", '"hello"', cwd=project).stdout == b"40\n"
    engine.docker("kill", before["work"]["Id"])
    assert fabric("send", '"I am sad"', cwd=project).stdout == b"30\n"
    after = containers(engine)
    assert (before["ask"]["Id"] == after["ask"]["Id"], before["work"]["Id"] == after["work"]["Id"]) == (True, False)
    assert [worker["restarts"] for worker in listed(project)["workers"] if worker["worker"] == "work"] == [1]
    ended = fabric("down", cwd=project)
    assert (ended.returncode, containers(engine)) == (0, {}), said(ended)
    assert "got 30" in fabric("logs", "work", cwd=project).stdout.decode()


def test_a_killed_coordinators_containers_are_taken_over(project: Path, engine: Engine) -> None:
    """The next finds them, and needs no new ones; the doctor names them meanwhile."""
    assert fabric("up", "-d", cwd=project).returncode == 0
    assert fabric("send", '"hello"', cwd=project).stdout == b"40\n"
    before = containers(engine)
    os.kill(coordinator(project), signal.SIGKILL)
    wait_gone(coordinator(project))
    ill = fabric("doctor", cwd=project)
    assert ill.returncode == 1
    assert f"container {before['ask']['Name'].strip('/')} (running" in ill.stdout.decode()
    done = fabric("up", "-d", cwd=project)
    assert done.returncode == 0, said(done)
    after = containers(engine)
    assert {name: found["Id"] for name, found in after.items()} == {name: found["Id"] for name, found in before.items()}
    assert fabric("send", '"I am sad"', cwd=project).stdout == b"30\n"
    assert fabric("down", cwd=project).returncode == 0
    assert containers(engine) == {}


def test_a_killed_coordinators_containers_are_replaced_if_they_should_be_others(project: Path, engine: Engine) -> None:
    """The one whose limit has changed is made anew, the other is taken over."""
    assert fabric("up", "-d", cwd=project).returncode == 0
    before = containers(engine)
    os.kill(coordinator(project), signal.SIGKILL)
    wait_gone(coordinator(project))
    (project / "fabric.toml").write_text(TOML.replace("64m", "65m"))
    done = fabric("up", "-d", cwd=project)
    assert done.returncode == 0, said(done)
    after = containers(engine)
    assert (before["ask"]["Id"] == after["ask"]["Id"], before["work"]["Id"] == after["work"]["Id"]) == (True, False)
    assert fabric("send", '"I am sad"', cwd=project).stdout == b"30\n"


def test_down_ends_the_containers_of_a_killed_coordinator(project: Path, engine: Engine) -> None:
    """It names them, and removes them."""
    assert fabric("up", "-d", cwd=project).returncode == 0
    os.kill(coordinator(project), signal.SIGKILL)
    wait_gone(coordinator(project))
    done = fabric("down", "-t", "5", cwd=project)
    assert done.returncode == 0
    assert said(done).count("is left, and is ended and removed") == 2
    assert containers(engine) == {}


def test_two_programs_side_by_side(project: Path, engine: Engine, tmp_path: Path) -> None:
    """Each has ports and containers of its own; so have runs beside a service of the same program."""
    other = tmp_path / "other"
    other.mkdir(mode=0o755)
    write(other, "other")
    assert fabric("up", "-d", cwd=project).returncode == 0
    done = fabric("up", "-d", cwd=other)
    assert done.returncode == 0, said(done)
    run = fabric("run", "demo.plumb", cwd=project, stdin=b'"I am sad"\n')
    assert (run.returncode, run.stdout) == (0, b"30\n"), said(run)
    assert fabric("send", '"hello"', cwd=project).stdout == b"40\n"
    assert fabric("send", '"hello"', cwd=other).stdout == b"40\n"
    assert fabric("down", cwd=project).returncode == 0
    assert fabric("send", '"hello"', cwd=other).stdout == b"40\n"
    assert fabric("down", cwd=other).returncode == 0


def test_what_is_not_there_is_said_before_anything_starts(project: Path, engine: Engine) -> None:
    """An image: 2, with what makes it; an engine: 4, with how to start it."""
    (project / "fabric.toml").write_text(TOML.replace(IMAGE, "nobody/has:it"))
    done = fabric("run", "demo.plumb", cwd=project, stdin=b"")
    assert (done.returncode, "make it with: fabric image -t nobody/has:it" in said(done)) == (2, True)
    done = fabric("run", "demo.plumb", cwd=project, stdin=b"", env={"DOCKER_HOST": "unix:///nowhere"})
    assert (done.returncode, "there is no Docker Engine at unix:///nowhere: start it" in said(done)) == (4, True)
    assert containers(engine) == {}


@pytest.fixture
def own_engine() -> Iterator[Engine]:
    """An engine that a test may kill."""
    with open_engine() as own:
        own.image()
        yield own


def test_an_engine_that_is_gone_ends_the_session_and_one_that_is_back_does_not(
    tmp_path: Path, own_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started anew it has ended its containers, and gets others. Gone, it takes the session along, and what may be left
    is said.
    """
    for folder in made(tmp_path, own_engine, monkeypatch):
        running = start(folder, "up")
        wait_until_there(folder)
        assert fabric("send", '"hello"', cwd=folder).stdout == b"40\n"
        before = containers(own_engine)
        own_engine.stop(signal.SIGKILL)
        own_engine.start()
        wait_until(folder, lambda row: [worker["restarts"] for worker in row["workers"]] == [1, 1])
        assert fabric("send", '"I am sad"', cwd=folder).stdout == b"30\n"
        assert {found["Id"] for found in before.values()}.isdisjoint(f["Id"] for f in containers(own_engine).values())
        own_engine.stop(signal.SIGKILL)
        _, errors = running.communicate(timeout=120)
        text = errors.decode()
        assert (running.returncode, "is lost: there is no Docker Engine at" in text) == (1, True), text
        assert text.count("| (its engine was away; lines may be missing here)") == 4  # of each worker, each time
        assert "containers of 'demo' may be left" in text
        own_engine.start()
        left = sum(found["State"]["Status"] != "removing" for found in containers(own_engine).values())
        assert said(fabric("down", cwd=folder)).count("is left, and is ended and removed") == left
        assert containers(own_engine) == {}


def wait_until_there(folder: Path) -> None:
    """Wait until a service that comes up is ready. The limit is for a hang."""
    wait_for(folder / ".fabric" / "run" / "demo.json")
    wait_until(folder, lambda row: row["state"] == "ready")
