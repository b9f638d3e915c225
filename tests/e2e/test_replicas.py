"""Replicas as a user meets them: real processes, one of them killed under load, and the same output to the byte."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from services import listed, record_of, said, start, wait_for, wait_until
from three_ways import fabric, input_lines

pytestmark = pytest.mark.processes

MESSAGES = 400

FUNCTIONS = """
import os, time

def work(value):
    time.sleep(value % 7 / 2000)  # those that come later are often faster
    if value == 100:
        open("under_way", "w").close()
    for number in range(value % 3):
        yield value * 10 + number

def hangs(value):
    if value == 1:
        open("under_way", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.01)
    return value
"""

TEXT = """
let work : !int -> !int = python {{ call: "shared:{0}" }}
let main : !int -> !int = plumb(i, o) {{ i ; work ; o }}
"""


def folder(at: Path, call: str, replicas: int) -> Path:
    """Make a project."""
    at.mkdir()
    (at / "shared.py").write_text(FUNCTIONS)
    (at / "demo.plumb").write_text(TEXT.format(call))
    (at / "fabric.toml").write_text(f"[workers.work]\nreplicas = {replicas}\n")
    return at


def run(at: Path) -> bytes:
    done = fabric("run", "demo.plumb", stdin=input_lines(list(range(MESSAGES))), cwd=at)
    assert done.returncode == 0, said(done)
    return done.stdout


def serve(at: Path) -> Any:
    done = fabric("up", "-d", "demo.plumb", cwd=at)
    assert done.returncode == 0, said(done)
    return record_of(at / ".fabric" / "run" / "demo.json")


def test_the_output_is_the_same_to_the_byte_with_one_worker_and_with_four(tmp_path: Path):
    """Whichever of them is faster."""
    one, four = (run(folder(tmp_path / str(replicas), "work", replicas)) for replicas in (1, 4))
    assert one == four
    assert one.count(b"\n") == sum(value % 3 for value in range(MESSAGES))


def test_nothing_is_lost_doubled_or_reordered_when_a_replica_is_killed_under_load(tmp_path: Path):
    """The others go on; the killed one comes back."""
    at = folder(tmp_path / "p", "work", 3)
    serve(at)
    sender = start(at, "send", stdin=subprocess.PIPE)
    assert sender.stdin is not None
    sender.stdin.write(input_lines(list(range(MESSAGES))))
    sender.stdin.close()
    sender.stdin = None
    wait_for(at / "under_way")
    pid = next(worker["pid"] for worker in listed(at)["workers"] if worker["worker"] == "work#2")
    os.kill(pid, signal.SIGKILL)
    out, err = sender.communicate(timeout=60)
    assert (sender.returncode, err) == (0, b"")
    assert out == b"".join(b"%d\n" % (10 * value + n) for value in range(MESSAGES) for n in range(value % 3))
    row = wait_until(at, lambda row: all(worker["state"] == "ready" for worker in row["workers"]))
    restarts = {worker["worker"]: worker["restarts"] for worker in row["workers"]}
    answered = [worker["answered"] for worker in row["workers"]]
    assert restarts == {"work#1": 0, "work#2": 1, "work#3": 0}
    assert (sum(answered), min(answered) > 0) == (MESSAGES, True)
    assert fabric("down", cwd=at).returncode == 0


def test_a_replica_is_meant_by_its_name_and_all_by_that_of_the_worker(tmp_path: Path):
    """Of ctl, stop, start, restart and logs; ps says for whom the others wait."""
    at = folder(tmp_path / "p", "hangs", 2)
    serve(at)
    sender = start(at, "send", "1", "2", "3")
    wait_for(at / "under_way")
    (queue,) = wait_until(at, lambda row: row["queues"][0]["ahead"] >= 1)["queues"]  # 2 if the other was quick
    assert (queue["worker"], queue["waits_for"]) == ("work", "work#1")
    table = fabric("ps", cwd=at).stdout.decode()
    assert "queue of 'work' (2 replicas): " in table
    assert " answered ahead of their turn, which wait for work#1" in table
    (at / "go").touch()
    assert sender.communicate(timeout=60)[0] == b"1\n2\n3\n"
    stopped = fabric("stop", "work#2", cwd=at)
    assert (stopped.returncode, "worker 'work#2' is stopped" in said(stopped)) == (0, True)
    told = fabric("ctl", "work", '{"pause": true}', cwd=at)
    assert (told.returncode, "'work#2' is stopped; fabric start work#2; done by work#1" in said(told)) == (1, True)
    assert fabric("ctl", "work#1", "resume", cwd=at).returncode == 0
    started = fabric("start", "work", cwd=at)
    assert (started.returncode, said(started)) == (0, "all of 'work' are ready: work#1, work#2\n")
    unknown = fabric("restart", "work#3", cwd=at)
    assert (unknown.returncode, "the workers are: work, work#1, work#2" in said(unknown)) == (7, True)
    lines = [json.loads(line) for line in fabric("logs", "--format", "json", "work", cwd=at).stdout.splitlines()]
    assert {line["worker"] for line in lines} == {"work#1", "work#2"}
    (one,) = {
        json.loads(line)["worker"] for line in fabric("logs", "--format", "json", "work#2", cwd=at).stdout.splitlines()
    }
    assert one == "work#2"
    assert fabric("down", cwd=at).returncode == 0


def test_an_agent_that_remembers_has_no_replicas(tmp_path: Path):
    """The command says why, and names the line."""
    at = folder(tmp_path / "p", "work", 2)
    (at / "demo.plumb").write_text(
        'let work : !string -> !string = agent { provider: "eliza" }\n'
        "let main : !string -> !string = plumb(i, o) { i ; work ; o }\n"
    )
    refused = fabric("run", "demo.plumb", cwd=at)
    assert refused.returncode == 2
    assert "fabric.toml:1: agent 'work' remembers what it was told: each replica would remember a part" in said(refused)
