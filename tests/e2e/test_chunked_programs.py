"""The programs of tests/programs that say what goes in and what comes out."""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
import trio
from programs import Run, canonical, chunks
from three_ways import environment
from trio.testing import MockClock

from fabric.compiler import compile_file
from fabric.errors import FabricError, sole
from fabric.launch.preload import open_zygote
from fabric.plan.plan import Plan
from fabric.runtime.directory import open_run_directory
from fabric.runtime.foreground import run_lines
from fabric.session.events import Finish, Note
from fabric.session.session import Settings
from fabric.testing import simulate
from fabric.wire.lines import DATA, read_line

RUNS = {name: (chunk, run) for name, chunk in chunks().items() if (run := chunk.run())}
WORKER = re.compile(r"\b(agent|worker|python) \{")
WITH_WORKERS = {
    name: (chunk, run)
    for name, (chunk, run) in RUNS.items()
    if any(map(WORKER.search, (chunk.source.text, *chunk.files.values())))
}


class Errors:
    """A report that keeps the errors."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []

    def error(self, message: str, code: str, fields: Mapping[str, object]) -> None:
        self.found.append((code, message))

    def noted(self, note: Note) -> None:
        pass

    def worker_wrote(self, worker: str, line: str) -> None:
        pass

    def say(self, text: str) -> None:
        pass


def by_port(messages: list[tuple[str, bytes]]) -> dict[str, list[str]]:
    found = defaultdict(list)
    for port, payload in messages:
        found[port].append(canonical(json.loads(payload)))
    return dict(found)


def in_memory(plan: Plan, run: Run) -> tuple[Finish, list[tuple[str, str]], dict[str, list[str]]]:
    """Simulate a program without workers."""
    inputs = [read_line(line.encode()) for line in run.lines if line]
    messages = [(next(iter(plan.inputs)) if port == DATA else port, payload) for port, payload in inputs]
    work = partial(simulate, plan, messages, runners={}, settings=Settings(refusal_ends=True))
    done = trio.run(work, clock=MockClock(autojump_threshold=0))
    outputs = [(DATA if len(plan.outputs) == 1 else port, payload) for port, payload in done.outputs]
    return done.finish, [(refusal.code, refusal.detail) for refusal in done.refusals], by_port(outputs)


def with_processes(plan: Plan, run: Run) -> tuple[Finish, list[tuple[str, str]], dict[str, list[str]]]:
    """Run a program as the command does, on files."""
    errors = Errors()
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout, open_zygote(plan.workers) as zygote:
        stdin.write("".join(f"{line}\n" for line in run.lines).encode())
        stdin.seek(0)
        work = partial(run_lines, zygote=zygote, stdin_fd=stdin.fileno(), stdout_fd=stdout.fileno())
        finish = trio.run(work, plan, Settings(refusal_ends=True), errors, environment())
        stdout.seek(0)
        outputs = by_port([read_line(line) for line in stdout.read().splitlines()])
    return finish, errors.found, outputs


def assert_as_marked(run: Run, finish: Finish, errors: list[tuple[str, str]], outputs: dict[str, list[str]]) -> None:
    if finish.error is not None:
        errors = [*errors, finish.error]
    if run.failure is None:
        assert (finish.exit_code, errors) == (0, [])
    else:
        exit_code, code, words = run.failure
        assert finish.exit_code == exit_code, (errors, outputs)
        assert any(found == code and words in message for found, message in errors), errors
    expected = {
        port: (list if wanted.ordered else sorted)(wanted.values)
        for port, wanted in run.outputs.items()
        if wanted.values
    }
    got = {
        port: values if port not in run.outputs or run.outputs[port].ordered else sorted(values)
        for port, values in outputs.items()
    }
    assert got == expected


@pytest.fixture(scope="module")
def sockets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short name: the path of a socket has 107 bytes at most."""
    return tmp_path_factory.mktemp("rt")


@pytest.mark.parametrize("name", [name for name in RUNS if name not in WITH_WORKERS])
def test_a_program_of_morphisms_gives_what_it_says(name: str, tmp_path: Path) -> None:
    """In memory; one that is to fail on stdin and stdout, for the reading stops at the line."""
    chunk, run = RUNS[name]
    plan, _ = compile_file(chunk.write(tmp_path), run_directory="memory")
    assert plan.workers == ()
    assert_as_marked(run, *(in_memory if run.failure is None else with_processes)(plan, run))


@pytest.mark.processes
@pytest.mark.parametrize("name", WITH_WORKERS)
def test_a_program_with_workers_gives_what_it_says(name: str, tmp_path: Path, sockets: Path) -> None:
    """Each worker is a process."""
    chunk, run = RUNS[name]
    with open_run_directory({"XDG_RUNTIME_DIR": str(sockets)}) as directory:
        try:
            plan, _ = compile_file(chunk.write(tmp_path), run_directory=directory)
            done = with_processes(plan, run)
        except BaseException as raised:
            error = sole(raised)
            if not isinstance(error, FabricError) or run.failure is None:
                raise
            assert (error.exit_code, error.code) == run.failure[:2], error
            assert run.failure[2] in str(error)
        else:
            assert_as_marked(run, *done)


def test_enough_programs_are_run() -> None:
    """Most without workers, some with."""
    assert sum(run.failure is None for _, run in RUNS.values()) >= 75
    assert sum(run.failure is None for _, run in WITH_WORKERS.values()) >= 15
