"""Keys: made by a command, asked for at the start, shown to nobody."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import msgspec
import pytest
from ports import free_port
from strangers import planned
from three_ways import FABRIC, environment, fabric

from fabric.launch.keys import worker_file
from fabric.plan.endpoints import endpoint_variables

pytestmark = pytest.mark.processes

PROGRAM = """
let up : !string -> !string = python { call: "functions:up" }
let main : !string -> !string = up
"""

FUNCTIONS = """
import os, sys

def up(text):
    print(sorted(name for name in os.environ if name.startswith(("FABRIC_KEY", "FABRIC_SPEC"))), file=sys.stderr)
    return text.upper()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A worker that somebody else starts, at ports of its own."""
    (tmp_path / "main.plumb").write_text(PROGRAM)
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    first = free_port() // 8 * 8
    (tmp_path / "fabric.toml").write_text(
        f'[hosts.here]\naddress = "127.0.0.1"\nports = "{first}-{first + 7}"\n[workers.up]\nrunner = "external"\n'
    )
    return tmp_path


def start_worker(project: Path, **more: str) -> subprocess.Popen[bytes]:
    (worker,) = planned(project).workers
    (project / "spec").write_bytes(msgspec.json.encode(worker.spec))
    given = endpoint_variables(worker.endpoints) | {"FABRIC_SPEC_FILE": str(project / "spec")} | more
    return subprocess.Popen(worker.command, cwd=project, env=environment() | given, stderr=subprocess.PIPE)


def test_a_worker_that_somebody_else_starts_is_let_in_with_its_key(project: Path):
    """Its function does not learn where the key and the spec are."""
    assert fabric("keys", cwd=project).returncode == 0
    worker = start_worker(project, FABRIC_KEY_FILE=str(worker_file(project / ".fabric" / "keys", "up")))
    try:
        done = fabric("run", stdin=b'"a"\n"b"\n', cwd=project)
        assert (done.returncode, done.stdout) == (0, b'"A"\n"B"\n')
        _, said = worker.communicate(timeout=30)
        assert (worker.returncode, said) == (0, b"[]\n[]\n")
    finally:
        worker.kill()
        worker.wait()


def test_without_keys_nothing_is_started_and_the_command_that_makes_them_is_named(project: Path):
    """Exit code 2; for `run` as for `up`."""
    for command in ("run", "up"):
        done = fabric(command, cwd=project)
        assert done.returncode == 2
        assert b"make what is missing with: fabric keys" in done.stderr


def test_with_the_key_of_another_fabric_a_worker_is_not_let_in_and_that_is_told(project: Path):
    """On both sides; no message reaches it."""
    fabric("keys", cwd=project)
    fabric("keys", "-o", "others", cwd=project)
    worker = start_worker(project, FABRIC_KEY_FILE=str(worker_file(project / "others", "up")))
    try:
        service = subprocess.Popen(
            [*FABRIC, "run", "--log-level", "warning"],
            cwd=project,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert service.stdin is not None
        assert service.stderr is not None
        service.stdin.write(b'"a"\n')
        service.stdin.flush()
        told = json.loads(next(line for line in service.stderr if b"peer.refused" in line))
        assert (told["worker"], worker.poll()) == ("up", None)
        service.kill()
        service.stdin.close()
        assert service.stdout is not None
        assert service.stdout.read() == b""
        service.stdout.close()
        service.stderr.close()
        service.wait()
    finally:
        worker.kill()
        _, said = worker.communicate()
    assert re.search(rb"somebody is not who he should be: .*the key is that of .*others/workers/up.json; perhaps", said)


def test_what_is_not_secured_says_so_wherever_it_is_looked_at(project: Path):
    """The plan, the header of `up`, `ps`; the plan says it of each worker."""
    said = b"INSECURE: no keys; whoever reaches their ports may read and write the messages of up"
    shown = fabric("plan", "--insecure", cwd=project)
    assert said in shown.stdout
    assert b"runner   external on here, no keys: INSECURE" in shown.stdout
    assert b"runner   external on here, with keys" in fabric("plan", cwd=project).stdout
    worker = start_worker(project)
    service = subprocess.Popen(
        [*FABRIC, "up", "--insecure"], cwd=project, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert service.stderr is not None
        lines = []
        for line in service.stderr:
            lines.append(line)
            if line.startswith(b"ready"):
                break
        assert any(said in line for line in lines), b"".join(lines)
        assert fabric("send", '"a"', cwd=project).stdout == b'"A"\n'
        assert said in fabric("ps", cwd=project).stdout
        (row,) = json.loads(fabric("ps", "--format", "json", cwd=project).stdout)["services"]
        assert row["insecure"] == ["up"]
        assert fabric("down", cwd=project).returncode == 0
    finally:
        service.kill()
        service.communicate()
        worker.kill()
        worker.communicate()


@pytest.mark.parametrize("worker", ["up"])
def test_keys_are_replaced_when_it_is_said(worker: str, project: Path):
    """Of one worker, of all; nothing secret is printed."""
    first = fabric("keys", cwd=project)
    keys = project / ".fabric" / "keys"
    before = worker_file(keys, worker).read_bytes()
    one = fabric("keys", "--rotate", worker, cwd=project)
    after = worker_file(keys, worker).read_bytes()
    assert (one.returncode, before == after) == (0, False)
    whole = fabric("keys", "--rotate", cwd=project)
    assert b"rotated .fabric/keys/coordinator.json" in whole.stdout
    unknown = fabric("keys", "--rotate", "main.plumb", "upp", cwd=project)
    assert (unknown.returncode, b"did you mean 'up'?" in unknown.stderr) == (2, True)
    for key in (before, after, (keys / "coordinator.json").read_bytes()):
        secret = json.loads(key)["secret"].encode()
        assert not any(secret in done.stdout + done.stderr for done in (first, one, whole))


def test_where_nothing_is_reached_over_tcp_there_is_nothing_to_make(project: Path):
    """Unless it is asked for."""
    (project / "fabric.toml").unlink()
    nothing = fabric("keys", cwd=project)
    assert (nothing.returncode, nothing.stdout) == (0, b"")
    assert b"nothing needs keys" in nothing.stderr
    assert not (project / ".fabric").exists()
    assert b"workers/up.json" in fabric("keys", "--all", cwd=project).stdout
