"""A worker that is stopped and started while its service works, and what is seen of that, as a user meets it."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from services import alive, listed, program, record_of, said, start, up, wait_until
from three_ways import fabric, input_lines, read_lines

pytestmark = pytest.mark.processes


def work(folder: Path) -> Any:
    (worker,) = listed(folder)["workers"]
    return worker


def last_error(done: subprocess.CompletedProcess[bytes]) -> Any:
    return json.loads(said(done).splitlines()[-1])


def test_a_worker_is_stopped_started_and_restarted(project: Path):
    """What comes meanwhile waits for it; every step says the process, and `ps` counts."""
    up(project)
    first = work(project)["pid"]
    stopped = fabric("stop", "work", cwd=project)
    assert (stopped.returncode, stopped.stdout) == (0, b"")
    assert said(stopped) == f"worker 'work' is stopped (its pid was {first}); fabric start starts it again\n"
    assert not alive(first)
    assert (work(project)["state"], work(project)["pid"]) == ("stopped", None)
    assert fabric("stop", "work", cwd=project).returncode == 0
    sender = start(project, "send", "1", "2")
    wait_until(project, lambda row: row["workers"][0]["waiting"] == 2)
    started = fabric("start", "work", cwd=project)
    second = work(project)["pid"]
    assert (started.returncode, said(started)) == (0, f"worker 'work' is ready (pid {second})\n")
    assert sender.communicate(timeout=60)[0] == b"1\n2\n"
    again = fabric("restart", project / "demo.plumb", "work", cwd=project)
    third = work(project)["pid"]
    assert (again.returncode, said(again)) == (0, f"worker 'work' is ready (pid {third}, before {second})\n")
    assert (work(project)["restarts"], work(project)["exit_status"], len({first, second, third})) == (2, None, 3)
    assert fabric("send", "3", cwd=project).stdout == b"3\n"
    assert fabric("down", cwd=project).returncode == 0


def test_two_restarts_at_once_make_one_new_process(project: Path):
    """Both succeed, and name it."""
    up(project, "late_end")
    assert fabric("send", "--no-wait", "1", cwd=project).returncode == 0
    asking = [connect(project) for _ in range(2)]
    for client in asking:
        client.write(b'{"id": 1, "do": "restart", "worker": "work"}\n')
        client.flush()
        assert json.loads(client.readline()) == {"id": 1, "accepted": True}
    (project / "go").touch()
    first, second = (json.loads(client.readline()) for client in asking)
    for client in asking:
        client.close()
    assert first == second == {"id": 1, "worker": "work", "activity": "ready", "pid": work(project)["pid"]}
    assert work(project)["restarts"] == 1
    assert fabric("down", cwd=project).returncode == 0


def connect(folder: Path) -> Any:
    """Return a stream to the service, for requests by hand."""
    with socket.socket(socket.AF_UNIX) as connected:
        connected.connect(record_of(folder / ".fabric" / "run" / "demo.json")["socket"])
        return connected.makefile("rwb")


def test_what_is_no_control_message_is_refused(project: Path):
    """Whatever its bytes are: the service and the worker go on."""
    up(project)
    with connect(project) as client:
        for got in ['"' + "é" * 30 + '"', "7", b'{"pause": "\xff"}']:
            raw = got if isinstance(got, bytes) else got.encode()
            client.write(b'{"id": 1, "do": "tell", "worker": "work", "msg": ' + raw + b"}\n")
            client.flush()
            answers = json.loads(client.readline()), json.loads(client.readline())
            assert (answers[0].get("accepted"), answers[1].get("code")) == (True, "bad_request")
    assert work(project)["restarts"] == 0
    assert fabric("send", "--wait", "5", cwd=project).stdout == b"5\n"
    assert fabric("down", cwd=project).returncode == 0


def test_no_message_is_lost_over_restarts(project: Path):
    """All that were sent while the worker was restarted again and again come out, each once, in their order."""
    up(project)
    values = list(range(20_000))
    sender = start(project, "send", stdin=subprocess.PIPE)
    assert sender.stdin is not None
    restarts = 0
    for chunk in range(0, len(values), 4_000):
        sender.stdin.write(input_lines(values[chunk : chunk + 4_000]))
        sender.stdin.flush()
        restarts += 1
        assert fabric("restart", "work", cwd=project).returncode == 0
    output, stderr = sender.communicate(timeout=120)
    assert (sender.returncode, stderr) == (0, b"")
    assert read_lines(output) == values
    assert work(project)["restarts"] == restarts
    assert fabric("down", cwd=project).returncode == 0


def test_three_clients_at_once(project: Path):
    """One sends, one restarts, one looks: each gets its own."""
    up(project)
    tail = start(project, "tail", "-n", "40", "work->o", "--format", "json")
    looked = wait_for_tail(project, tail)
    sender = start(project, "send", *map(str, range(39)))
    restarted = fabric("restart", "work", cwd=project)
    assert restarted.returncode == 0
    assert read_lines(sender.communicate(timeout=60)[0]) == list(range(39))
    seen = [looked, *read_lines(tail.communicate(timeout=60)[0])]
    assert [one["msg"] for one in seen[-39:]] == list(range(39))
    assert {one["channel"] for one in seen} == {"work.output→o"}
    assert tail.returncode == 0
    assert fabric("down", cwd=project).returncode == 0


def wait_for_tail(folder: Path, tail: subprocess.Popen[bytes]) -> Any:
    """Send until ``tail`` prints, and return what it printed: then it looks."""
    assert tail.stdout is not None
    value = 1000
    while not select.select([tail.stdout], [], [], 0.5)[0]:
        value += 1
        assert fabric("send", str(value), cwd=folder).returncode == 0
    return json.loads(tail.stdout.readline())


def test_a_worker_that_was_started_by_hand_fails_like_any_other(project: Path):
    """Killed from outside, it ends a service that may not start it again by itself."""
    up(project, "echo", "--restarts", "0")
    for verb in ("stop", "start"):
        assert fabric(verb, "work", cwd=project).returncode == 0
    pid = work(project)["pid"]
    os.kill(pid, signal.SIGKILL)
    waited = fabric("wait", cwd=project)
    assert waited.returncode == 1
    assert "worker 'work' was killed by signal 9" in said(waited)


def test_a_worker_that_does_not_come_back_stays_stopped(project: Path):
    """Exit code 1 with its words; the service goes on, and may try again."""
    functions = (project / "functions.py").read_text()
    up(project, "echo", "-t", "5")
    (project / "functions.py").write_text("raise SystemExit('no such luck')\n")
    failed = fabric("restart", "work", cwd=project)
    assert (failed.returncode, last_error(failed)["code"], last_error(failed)["worker"]) == (1, "not_done", "work")
    assert "no such luck" in last_error(failed)["error"]
    assert work(project)["state"] == "stopped"
    assert fabric("send", "--no-wait", "1", cwd=project).returncode == 0
    (project / "functions.py").write_text(functions)
    assert fabric("start", "work", cwd=project).returncode == 0
    assert fabric("send", "2", cwd=project).stdout == b"2\n"
    assert fabric("down", cwd=project).returncode == 0


def test_a_program_on_json_lines_is_restarted(project: Path):
    """One of others, which says nothing when it is ready."""
    path = project / "demo.plumb"
    path.write_text('let main : !int -> !int = worker { command: ["cat"] transport: "stdio" }\n')
    assert fabric("up", "-d", path, cwd=project).returncode == 0
    assert fabric("restart", "main", cwd=project).returncode == 0
    assert fabric("send", "1", cwd=project).stdout == b"1\n"
    assert work(project)["restarts"] == 1
    assert fabric("down", cwd=project).returncode == 0


def test_a_service_that_ends_tells_what_waited_for_a_stopped_worker(project: Path):
    """Dead letters, exit code 5."""
    up(project)
    assert fabric("stop", "work", cwd=project).returncode == 0
    assert fabric("send", "--no-wait", "1", "2", cwd=project).returncode == 0
    down = fabric("down", cwd=project)
    assert down.returncode == 5
    assert '{"lost":0,"dead_lettered":2,"unpaired":0}' in said(down)


def test_who_does_not_wait_leaves_the_rest_to_the_service(project: Path):
    """Ctrl-C and a time limit end the command alone."""
    up(project, "late_end")
    assert fabric("send", "--no-wait", "1", cwd=project).returncode == 0
    waiting = start(project, "stop", "work")
    wait_until(project, lambda row: row["workers"][0]["state"] == "stopping")
    waiting.send_signal(signal.SIGINT)
    _, stderr = waiting.communicate(timeout=60)
    assert waiting.returncode == 130
    assert b"not waited for; the stop goes on" in stderr
    late = fabric("stop", "--wait-timeout", "0.2", "work", cwd=project)
    assert (late.returncode, last_error(late)["code"]) == (1, "timeout")
    (project / "go").touch()
    wait_until(project, lambda row: row["workers"][0]["state"] == "stopped")
    assert fabric("start", "work", cwd=project).returncode == 0
    assert fabric("down", cwd=project).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["stop", "wrok"], 7, "there is no worker 'wrok'; the workers are: work"),
        (["restart"], 2, "which worker? Those of 'demo' are: work"),
        (["tail"], 2, "which channel? Those of 'demo', with their messages so far: "),
        (["tail", "wrok"], 7, "there is no channel 'wrok'; the channels are: "),
        (["tail", "work", "--format", "xml"], 2, "--format xml: expected text or json"),
        (["top", "--format", "xml"], 2, "--format xml: expected table or json"),
        (["graph", "--live", "--format", "ascii"], 2, "--live colors a picture: expected --format svg, got ascii"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(arguments: list[str], code: int, words: str, project: Path):
    """In one line."""
    up(project)
    done = fabric(*arguments, cwd=project)
    assert done.returncode == code
    assert last_error(done)["error"].startswith(words)
    assert fabric("down", cwd=project).returncode == 0


def test_a_kill_of_the_coordinator_is_told_to_who_looks(project: Path):
    """And to who waits for a restart: exit code 1."""
    pid = up(project, "hangs")
    tail = start(project, "tail", "--all")
    assert tail.stdout is not None
    while not select.select([tail.stdout], [], [], 0.5)[0]:
        assert fabric("send", "--no-wait", "1", cwd=project).returncode == 0
    restart = start(project, "restart", "work")
    wait_until(project, lambda row: row["workers"][0]["state"] == "stopping")
    os.kill(pid, signal.SIGKILL)
    for command, code in ((tail, "coordinator_killed"), (restart, "service_ended")):
        _, stderr = command.communicate(timeout=60)
        assert (command.returncode, json.loads(stderr)["code"]) == (1, code)
    assert fabric("down", cwd=project).returncode == 0


def test_the_screen_tells_of_a_restart(project: Path):
    """At any log level."""
    process = start(project, "up", "--log-level", "error", str(program(project, "echo")))
    assert process.stderr is not None
    while not process.stderr.readline().startswith(b"ready"):
        pass
    assert fabric("restart", "work", cwd=project).returncode == 0
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0
    assert stderr.decode().splitlines()[:2] == ["work   | worker.stopped reason=restart", "work   | worker.ready"]


def test_top_shows_one_second_where_there_is_no_terminal(project: Path):
    """A table, or an object."""
    up(project)
    assert fabric("send", "1", cwd=project).returncode == 0
    shown = fabric("top", cwd=project)
    assert shown.returncode == 0
    head, columns, row, _, channels, *rest = shown.stdout.decode().splitlines()
    assert head == "demo · ready"
    assert columns.split()[:3] == ["WORKER", "STATE", "PID"]
    assert row.split()[:3] == ["work", "ready", str(work(project)["pid"])]
    assert channels.split() == ["CHANNEL", "MESSAGES", "/s"]
    assert sorted(line.split()[0] for line in rest) == ["i→work.input", "work.output→o"]
    found = json.loads(fabric("top", "--format", "json", cwd=project).stdout)
    assert [channel["messages"] for channel in found["channels"]] == [1, 1]
    assert found["workers"][0]["memory_bytes"] > 0
    assert found["workers"][0]["cpu_percent"] >= 0
    assert fabric("down", cwd=project).returncode == 0


def test_a_live_picture_shows_what_moves(project: Path):
    """In figures; of a program that was changed meanwhile there is none."""
    up(project, "hangs")
    assert fabric("send", "--no-wait", "1", cwd=project).returncode == 0
    wait_until(project, lambda row: row["workers"][0]["unacknowledged"] == 1)
    drawn = fabric("graph", "--live", "demo.plumb", cwd=project)
    assert drawn.returncode == 0
    assert b"0/s" in drawn.stdout
    assert b"1 waiting" in drawn.stdout
    (project / "demo.plumb").write_text("let main : !int -> !int = map(value)\n")
    changed = fabric("graph", "--live", "demo.plumb", cwd=project)
    assert (changed.returncode, "has been changed" in said(changed)) == (2, True)
    assert fabric("down", "-t", "0.2", cwd=project).returncode == 5


def test_who_looks_and_does_not_read_delays_nobody(project: Path):
    """What is left out for it is counted, and another one sees all."""
    path = project / "demo.plumb"
    path.write_text('let main : !string -> !string = python { call: "functions:quiet" }\n')
    assert fabric("up", "-d", path, cwd=project).returncode == 0
    slow = start(project, "tail", "--format", "json", "main->output")
    wait_for_looker(project, slow)
    values = [f"{number:05}" * 800 for number in range(4_000)]
    done = fabric("send", stdin=input_lines(values), cwd=project)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, len(values))
    assert slow.stdout is not None
    seen = []
    while not any("left_out" in one for one in seen):
        seen.append(json.loads(slow.stdout.readline()))
    other = start(project, "tail", "-n", "1", "--format", "json", "main->output")
    wait_for_looker(project, other)
    assert fabric("down", cwd=project).returncode == 0
    assert (other.communicate(timeout=60)[1], other.returncode) == (b"", 0)
    seen += read_lines(slow.communicate(timeout=60)[0])
    assert slow.returncode == 0
    shown = [one["msg"] for one in seen if "msg" in one and one["msg"] != "look"]
    assert shown == values[: len(shown)]
    assert len(shown) + sum(one.get("left_out", 0) for one in seen) == len(values)


def wait_for_looker(folder: Path, tail: subprocess.Popen[bytes]) -> None:
    """Send until ``tail`` prints: then it looks."""
    assert tail.stdout is not None
    while not select.select([tail.stdout], [], [], 0.5)[0]:
        assert fabric("send", '"look"', cwd=folder).returncode == 0


@pytest.mark.parametrize("command", [["tail", "work"], ["tail", "--all", "--format", "json"]])
def test_ctrl_c_ends_a_tail_well(command: list[str], project: Path):
    """Exit code 0; so does the end of the service."""
    up(project)
    tails = [start(project, *command) for _ in range(2)]
    for tail in tails:
        assert tail.stdout is not None
        while not select.select([tail.stdout], [], [], 0.5)[0]:
            assert fabric("send", "1", cwd=project).returncode == 0
    tails[0].send_signal(signal.SIGINT)
    assert (tails[0].communicate(timeout=60)[1], tails[0].returncode) == (b"", 0)
    assert fabric("down", cwd=project).returncode == 0
    assert (tails[1].communicate(timeout=60)[1], tails[1].returncode) == (b"'demo' has ended\n", 0)
