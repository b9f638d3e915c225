"""What an operator sees and does when something goes wrong: dead letters, control by hand, the doctor."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from services import listed, program, record_of, said, up, wait_gone, wait_until
from three_ways import fabric, read_lines

pytestmark = pytest.mark.processes

PICKY = """
import os

def picky(value):
    if value < 0 and not os.path.exists("mended"):
        raise ValueError(f"cannot do {value}")
    return value
"""


@pytest.fixture
def picky(project: Path) -> Path:
    """A folder with a service that cannot do what is below zero, until there is a file ``mended``."""
    (project / "picky.py").write_text(PICKY)
    path = project / "demo.plumb"
    path.write_text(
        'let work : !int -> !int = python { call: "picky:picky" }\n'
        "let main : !int -> !int = plumb(i, o) { i ; work ; o }\n"
    )
    done = fabric("up", "-d", path, cwd=project)
    assert done.returncode == 0, said(done)
    return project


def letters(folder: Path) -> list[Any]:
    done = fabric("dead", "list", "--format", "jsonl", cwd=folder)
    assert done.returncode == 0, said(done)
    return read_lines(done.stdout)


def bury(folder: Path, *values: int) -> None:
    """Send what the worker cannot do, until it is in the list."""
    for value in values:
        assert fabric("send", "--", str(value), cwd=folder).returncode == 1
    wait_until(folder, lambda row: row["dead_letters"] >= len(values))


def last_error(done: Any) -> Any:
    return json.loads(said(done).splitlines()[-1])


def test_a_dead_letter_is_kept_shown_retried_and_leaves(picky: Path):
    """Again a dead letter it keeps its number; once it is done it is gone, also from the disk; the end is clean."""
    bury(picky, -5)
    (letter,) = letters(picky)
    assert (letter["v"], letter["id"], letter["worker"], letter["cause"]) == (1, 1, "work", "poison")
    assert "cannot do -5" in letter["detail"]
    shown = json.loads(fabric("dead", "show", "1", "--format", "json", cwd=picky).stdout)
    assert (shown["payload"], shown["project"]) == (-5, "demo")
    assert any("ValueError" in line for line in shown["stderr"])
    (work,) = listed(picky)["workers"]
    assert work["dead_letters"] == 1
    ps = fabric("ps", cwd=picky)
    assert "'demo' has 1 dead letter: fabric dead list -p demo" in said(ps)
    again = fabric("dead", "retry", "1", cwd=picky)
    assert (again.returncode, again.stdout) == (1, b"")
    assert said(again).splitlines()[-1] == "dead letter 1: it is one again; fabric dead show 1 tells why"
    assert [one["id"] for one in letters(picky)] == [1]
    (picky / "mended").touch()
    done = fabric("dead", "retry", "--all", cwd=picky)
    assert (done.returncode, done.stdout, said(done)) == (
        0,
        b"-5\n",
        "dead letter 1: done, 1 output; it is none any more\n",
    )
    assert letters(picky) == []
    files = [path for path in (picky / ".fabric" / "dead").rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert not any(b"-5" in path.read_bytes() for path in files)
    down = fabric("down", cwd=picky)
    assert (down.returncode, "0 dead letters" in said(down)) == (0, True)


def test_dead_letters_outlive_their_service_and_are_dropped(picky: Path):
    """List, show and drop need no service; retry does. Nobody is asked where nobody could answer."""
    bury(picky, -5, -6)
    down = fabric("down", cwd=picky)
    assert (down.returncode, "2 dead letters (fabric dead list)" in said(down)) == (5, True)
    table = fabric("dead", "list", cwd=picky).stdout.decode().splitlines()
    assert [line.split()[0] for line in table] == ["ID", "1", "2"]
    retried = fabric("dead", "retry", "--all", cwd=picky)
    assert (retried.returncode, last_error(retried)["code"]) == (7, "not_running")
    refused = fabric("dead", "drop", "1", cwd=picky)
    assert (refused.returncode, "say --yes" in last_error(refused)["error"]) == (2, True)
    dry = fabric("dead", "drop", "--all", "--dry-run", cwd=picky)
    assert (dry.returncode, said(dry)) == (0, "would drop 2 dead letters of 'demo': 1, 2\n")
    assert len(letters(picky)) == 2
    dropped = fabric("dead", "drop", "1", "-y", cwd=picky)
    assert (dropped.returncode, said(dropped)) == (0, "dropped 1 dead letter of 'demo'\n")
    gone = fabric("dead", "show", "1", cwd=picky)
    assert (gone.returncode, last_error(gone)["error"]) == (7, "there is no dead letter 1; 'demo' has only 2")
    assert fabric("up", "-d", picky / "demo.plumb", cwd=picky).returncode == 0
    bury(picky, -7)
    assert [letter["id"] for letter in letters(picky)] == [2, 3]
    (picky / "mended").touch()
    both = fabric("dead", "retry", "3", "2", cwd=picky)
    assert (both.returncode, sorted(read_lines(both.stdout))) == (0, [-7, -6])
    assert fabric("down", cwd=picky).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["dead", "retry"], 2, "which letters? Name them, or say --all"),
        (["dead", "drop", "--all", "1"], 2, "name letters or say --all, not both"),
        (["dead", "show", "one"], 2, "'one' is no number of a dead letter"),
        (["dead", "retry", "9"], 7, "there is no dead letter 9; 'demo' has none"),
        (["dead", "list", "--format", "xml"], 2, "--format xml: expected table, json or jsonl"),
        (["dead", "list", "-p", "other"], 7, "nothing is known of a service 'other'"),
        (["ctl", "work"], 2, "expected a worker and a message: pause"),
        (["ctl", "work", "paws"], 2, "expected pause, resume, memory"),
        (["ctl", "wrok", "pause"], 7, "there is no worker 'wrok'; the workers are: work"),
        (["ctl", "work", "set_memory", "nowhere"], 2, "cannot read nowhere"),
        (["doctor", "--stuck", "-p", "other"], 7, "no service 'other' runs"),
        (["doctor", "--format", "xml"], 2, "--format xml: expected text or json"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(arguments: list[str], code: int, words: str, running: Path):
    """In one line, and nothing on stdout."""
    done = fabric(*arguments, cwd=running)
    assert (done.returncode, done.stdout) == (code, b"")
    assert last_error(done)["error"].startswith(words)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory):
    """A folder with a service that echoes, for those who only ask."""
    folder = tmp_path_factory.mktemp("asked")
    (folder / "functions.py").write_text("def echo(value):\n    return value\n")
    up(folder)
    yield folder
    assert fabric("down", cwd=folder).returncode == 0


def test_an_agent_is_paused_asked_and_told_by_hand(project: Path):
    """Replies are on stdout; a conversation that was read can be given back."""
    path = project / "demo.plumb"
    path.write_text('let main : !string -> !string = agent { provider: "eliza", model: "doctor" }\n')
    assert fabric("up", "-d", path, cwd=project).returncode == 0
    assert fabric("send", '"I feel sad"', cwd=project).returncode == 0
    memory = fabric("ctl", "main", "memory", cwd=project)
    assert (memory.returncode, said(memory)) == (0, "")
    found = json.loads(memory.stdout)
    assert (found["kind"], len(found["messages"])) == ("memory", 2)
    (project / "m.json").write_bytes(memory.stdout)
    assert json.loads(fabric("ctl", "main", "pause", cwd=project).stdout) == {"kind": "pause_ack"}
    told = fabric("ctl", path, "main", "set_memory", "m.json", cwd=project)
    assert json.loads(told.stdout) == {"kind": "memory_set", "old_messages": 2, "new_messages": 2}
    assert fabric("ctl", "main", "resume", cwd=project).stdout == b'{"kind":"resume_ack"}\n'
    silent = fabric("ctl", "main", '{"set_temp": 0.2}', cwd=project)
    assert (silent.returncode, silent.stdout) == (0, b"")
    assert said(silent) == "worker 'main' was told; it replies nothing to that\n"
    assert fabric("down", cwd=project).returncode == 0


def test_a_reply_that_does_not_come_is_not_waited_for_for_ever(project: Path):
    """The worker is at a message."""
    up(project, "late_end")
    assert fabric("send", "--no-wait", "1", cwd=project).returncode == 0
    wait_until(project, lambda row: row["workers"][0]["unacknowledged"] == 1)
    pid = listed(project)["workers"][0]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        late = fabric("ctl", "--wait-timeout", "0.2", "work", "pause", cwd=project)
        assert (late.returncode, last_error(late)["code"]) == (1, "timeout")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert fabric("ctl", "work", "resume", cwd=project).returncode == 0
    (project / "go").touch()
    assert fabric("down", cwd=project).returncode == 0


JOINED = """
let critic : !int -> !int = python { call: "functions:quiet" }
let judge : !int -> !int = python { call: "functions:late_end" }
let main : (!int, !int) -> !(int, int) = plumb(a, b, answer) {
  (a ; critic * b ; judge) ; barrier ; answer
}
"""


def explain(folder: Path) -> tuple[int, list[Any]]:
    done = fabric("doctor", "--stuck", "--format", "json", cwd=folder)
    found = json.loads(done.stdout)
    assert (found["v"], found["project"], found["stuck"]) == (1, "demo", done.returncode == 1)
    return done.returncode, [chain for chain in found["chains"] if chain["stuck"]]


def test_a_standstill_is_explained_from_the_output_to_the_first_cause(project: Path):
    """A process that was stopped, a worker that was paused, one that was stopped by hand."""
    path = project / "demo.plumb"
    path.write_text(JOINED)
    (project / "go").touch()
    assert fabric("up", "-d", path, cwd=project).returncode == 0
    assert explain(project) == (0, [])
    judge = next(worker["pid"] for worker in listed(project)["workers"] if worker["worker"] == "judge")
    (project / "go").unlink()
    assert fabric("send", "--no-wait", "a", "1", "2", "3", cwd=project).returncode == 0
    assert fabric("send", "--no-wait", "b", "1", cwd=project).returncode == 0
    wait_until(project, lambda row: sum(worker["unacknowledged"] for worker in row["workers"]) == 1)
    os.kill(judge, signal.SIGSTOP)
    try:
        code, (chain,) = explain(project)
        assert (code, [link["kind"] for link in chain["links"]]) == (1, ["output", "barrier", "worker", "process"])
        assert chain["links"][-1]["help"] == f"kill -CONT {judge} lets it go on"
        lines = fabric("doctor", "--stuck", "demo.plumb", cwd=project).stdout.decode().splitlines()
        assert lines[0].startswith("✘ nothing came to output 'answer' for ")
        assert lines[1].endswith("has 3 from 'critic.output', waits on 'judge.output'")
        assert f"its process {judge} (python functions:late_end) is stopped: state T" in lines[3]
    finally:
        os.kill(judge, signal.SIGCONT)
    (project / "go").touch()
    wait_until(project, lambda row: row["outputs"] == {"answer": 1})
    for verb, cause, undone in (("pause", "paused", ["ctl", "judge", "resume"]), ("", "stopped", ["start", "judge"])):
        asked = ["ctl", "judge", verb] if verb else ["stop", "judge"]
        assert fabric(*asked, cwd=project).returncode == 0
        assert fabric("send", "--no-wait", "b", "1", cwd=project).returncode == 0
        wait_until(project, lambda row: row["inputs"]["b"] == 2 if verb else row["inputs"]["b"] == 3)  # noqa: B023
        code, (chain,) = explain(project)
        root = chain["links"][-1]
        assert (code, root["cause"], root["help"]) == (1, cause, "fabric " + " ".join(undone))
        assert fabric(*undone, cwd=project).returncode == 0
    wait_until(project, lambda row: row["outputs"] == {"answer": 3})
    assert fabric("down", cwd=project).returncode == 0


def test_a_client_that_does_not_read_is_found(project: Path):
    """Its outputs have left the graph, and lie before it."""
    path = project / "demo.plumb"
    path.write_text('let main : !string -> !string = python { call: "functions:quiet" }\n')
    assert fabric("up", "-d", path, cwd=project).returncode == 0
    large = json.dumps({"id": 1, "msg": "x" * 1_000_000}).encode() + b"\n"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(record_of(project / ".fabric" / "run" / "demo.json")["socket"])
        client.sendall(large * 3)
        wait_until(project, lambda row: row["outputs"] == {"output": 3})
        found = json.loads(fabric("doctor", "--stuck", "--format", "json", cwd=project).stdout)
        (chain,) = found["chains"]
        assert [link["cause"] for link in chain["links"]] == ["unread"]
        assert chain["links"][0]["text"].startswith("a client has not read its 3 outputs (300")
    assert fabric("down", cwd=project).returncode == 0


def test_the_doctor_finds_this_host_well_and_a_killed_service_ill(project: Path):
    """Exit code 1, with what clears it away; and nothing of a key but its name."""
    key = {"ANTHROPIC_API_KEY": "s3cret-value"}
    well = fabric("doctor", cwd=project, env=key)
    assert (well.returncode, well.stderr) == (0, b"")
    assert "s3cret" not in well.stdout.decode()
    names = [line.split()[1] for line in well.stdout.decode().splitlines()]
    assert names == ["python", "libraries", "libzmq", "package", "sockets", "state", "open", "forking", "services",
                     "containers", "engine", "node", "npm", "keys", "sessions"]  # fmt: skip
    pid = up(project)
    with_program = fabric("doctor", "demo.plumb", cwd=project)
    assert (with_program.returncode, b"the program has 1" in with_program.stdout) == (0, True)
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)
    ill = fabric("doctor", "--format", "json", cwd=project)
    assert ill.returncode == 1
    (check,) = [check for check in json.loads(ill.stdout)["checks"] if check["ok"] is False]
    assert (check["name"], check["help"]) == ("services", "fabric down -p demo")
    assert fabric("down", cwd=project).returncode == 0
    assert fabric("doctor", program(project, "echo", "wrong"), cwd=project).returncode == 0
