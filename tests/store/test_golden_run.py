"""A log of a run as version 1 wrote it. It is never written again: every later version has to bring it back."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from fabric.compiler import compile_file
from fabric.plan.digest import digest_of, parts_of
from fabric.plan.plan import Plan
from fabric.runtime.keeping import read_history
from fabric.session.history import Finished, History
from fabric.session.reliving import Relived
from fabric.session.session import Session, Settings
from fabric.store.bucket import Bucket
from fabric.store.log import Log
from fabric.store.opening import open_store
from fabric.wire.lines import write_line

GOLDEN = Path(__file__).parent / "golden" / "v1" / "run"


@pytest.fixture
def log(tmp_path: Path) -> Log:
    shutil.copytree(GOLDEN / "bucket", tmp_path / "bucket")
    return Bucket(open_store(f"file://{tmp_path}/bucket")).open("golden")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compile_file(GOLDEN / "main.plumb", run_directory="memory")[0]


def relive(plan: Plan, history: list[History]) -> Relived:
    return Session(plan, Settings(), random.Random(1), durable="golden").relive(history)


def lines(relived: Relived) -> bytes:
    return b"".join(write_line(output.port, output.payload) for output in relived.outputs)


def test_a_golden_run_is_brought_back(log: Log, plan: Plan):
    """Its outputs are what they were, byte by byte."""
    history = read_history(log)
    relived = relive(plan, history)
    assert lines(relived) == (GOLDEN / "outputs.jsonl").read_bytes()
    assert (relived.finished, relived.standing, len(relived.inputs)) == (True, 0, 7)
    assert sum(isinstance(entry, Finished) for entry in history) == 2


def test_its_program_is_known_again(log: Log, plan: Plan):
    """A later version that finds another digest would refuse to go on with it."""
    parts = parts_of(plan)
    assert log.manifest.metadata["parts"] == parts
    assert log.manifest.program == digest_of(parts)


def test_whatever_it_had_recorded_when_it_was_killed_can_be_brought_back(log: Log, plan: Plan):
    """Every prefix of it is valid, and its outputs are the first of all."""
    history, everything = read_history(log), (GOLDEN / "outputs.jsonl").read_bytes()
    for count in range(len(history) + 1):
        assert everything.startswith(lines(relive(plan, history[:count])))
