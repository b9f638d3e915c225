"""A service that is left running, and the commands about it, as a user meets them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from services import alive, attach, listed, program, record_of, said, start, up, wait_gone, wait_until
from three_ways import FABRIC, environment, fabric

pytestmark = pytest.mark.processes


def test_a_service_comes_up_works_and_goes_down(project: Path):
    """Each step says what it did; the record and the logs stay."""
    done = fabric("up", "-d", program(project, "echo"), cwd=project)
    assert done.returncode == 0
    head, worker, ready = said(done).splitlines()
    assert head.startswith("fabric 0.1.0 · demo.plumb · 1 worker, 2 channels")
    assert worker.startswith(" ✔ work  functions:echo  ready")
    assert ready.startswith("ready · fabric send talks to it")
    assert done.stdout == b""
    assert fabric("send", "1", "2", cwd=project).stdout == b"1\n2\n"
    row = listed(project)
    assert (row["state"], row["answers"], row["inputs"], row["outputs"]) == ("ready", True, {"i": 2}, {"o": 2})
    (work,) = row["workers"]
    assert (work["state"], work["accepted"], work["answered"], work["waiting"]) == ("ready", 2, 2, 0)
    assert work["waits_on"] == ["i"]
    assert work["memory_bytes"] > 0
    down = fabric("down", cwd=project)
    assert down.returncode == 0
    assert "✔ drained" in said(down)
    assert "2 messages out" in said(down)
    assert not alive(row["pid"])
    assert not alive(work["pid"])


def test_it_holds_nothing_of_the_command_that_started_it(project: Path):
    """Own session, no descriptor of its caller's: not even one that the caller forgot."""
    read_fd, write_fd = os.pipe()
    done = subprocess.run(
        [*FABRIC, "up", "-d", program(project, "echo")],
        cwd=project,
        env=environment(),
        capture_output=True,
        pass_fds=[write_fd],
        timeout=60,
        check=False,
    )
    os.close(write_fd)
    assert done.returncode == 0
    pid = listed(project)["pid"]
    assert os.read(read_fd, 1) == b"", "somebody holds the other end"
    os.close(read_fd)
    assert os.getsid(pid) == pid
    assert [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)] == ["/dev/null"] * 3
    assert fabric("down", cwd=project).returncode == 0


@pytest.mark.parametrize(
    ("text", "code", "word"),
    [
        ("let main : !int -> !string = map(value)\n", 2, "E0412"),
        ('let main : !int -> !int = python { call: "functions:missing" }\n', 2, "missing"),
        ('let main : !int -> !int = worker { command: ["/no/such/program"] }\n', 4, "worker_not_started"),
    ],
)
def test_a_service_that_does_not_come_up_says_why(text: str, code: int, word: str, project: Path):
    """The exit code and the errors are those of the foreground."""
    path = project / "demo.plumb"
    path.write_text(text)
    detached, foreground = (fabric("up", *flags, path, cwd=project) for flags in (["-d"], []))
    assert detached.returncode == foreground.returncode == code
    assert word in said(detached)
    assert said(detached).splitlines()[-1] == said(foreground).splitlines()[-1]


def test_a_second_one_of_its_name_is_refused(project: Path):
    """Also from `up -d`, with the pid of the first."""
    pid = up(project)
    again = fabric("up", "-d", project / "demo.plumb", cwd=project)
    assert again.returncode == 2
    assert f"'demo' is running already, pid {pid}" in said(again)
    assert fabric("down", cwd=project).returncode == 0


def test_two_downs_at_once_both_end_well(project: Path):
    """So do those who wait, follow and are attached."""
    up(project)
    attached, _ = attach(project)
    others = [attached, *(start(project, *words) for words in (["wait"], ["logs", "-f"], ["down"], ["down"]))]
    assert [(other.communicate(timeout=60), other.returncode)[1] for other in others] == [0] * 5
    assert fabric("down", cwd=project).returncode == 0


def test_wait_exits_as_the_service_did(project: Path):
    """While it runs, and when it has ended already."""
    up(project, "fails", "--restarts", "0")
    waiting = start(project, "wait")
    assert fabric("send", "1", cwd=project).returncode == 1
    _, stderr = waiting.communicate(timeout=60)
    assert waiting.returncode == 1
    assert "'work' exited with status 3" in stderr.decode()
    again = fabric("wait", cwd=project)
    assert (again.returncode, said(again)) == (1, stderr.decode())
    ended = listed(project, "-a")
    assert (ended["state"], ended["exit_code"], ended["workers"][0]["state"]) == ("ended", 1, "failed")
    assert fabric("ps", cwd=project).returncode == 7


def test_a_killed_coordinator_is_told_and_cleared_away(project: Path):
    """`ps`, `logs`, `wait` and `attach` say so; `down` removes the record and the sockets, and knows nothing then."""
    pid = up(project)
    assert fabric("send", "7", cwd=project).returncode == 0
    worker = listed(project)["workers"][0]["pid"]
    attached, _ = attach(project)
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)
    wait_gone(worker)
    assert (attached.communicate(timeout=60), attached.returncode)[1] == 1
    shown = fabric("ps", "-a", cwd=project)
    assert shown.returncode == 0
    assert f"'demo': its coordinator (pid {pid}) was killed; none of its workers is left" in said(shown)
    row = listed(project, "-a")
    assert (row["state"], row["exit_code"], row["workers"][0]["state"]) == ("killed", None, "gone")
    hidden = fabric("ps", cwd=project)
    assert hidden.returncode == 7
    assert "was killed" in said(hidden)
    waited = fabric("wait", cwd=project)
    assert (waited.returncode, json.loads(said(waited))["code"]) == (1, "coordinator_killed")
    assert b"work   | got 7\n" in fabric("logs", cwd=project).stdout
    down = fabric("down", cwd=project)
    assert (down.returncode, said(down).splitlines()[-1]) == (0, "cleared away")
    for verb in ("down", "wait", "ps"):
        assert fabric(verb, cwd=project).returncode == 7
    assert b"work   | got 7\n" in fabric("logs", cwd=project).stdout


def test_down_ends_a_worker_that_outlived_its_coordinator(project: Path):
    """One whose pid and start time are those of the record; not one that only has its pid."""
    pid = up(project)
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)
    file = project / ".fabric" / "run" / "demo.json"
    ours, others = (subprocess.Popen(["sleep", "3600"], start_new_session=True) for _ in range(2))
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    born = [Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[19] for process in (ours, others)]
    record = record_of(file)
    (worker,) = record["workers"]
    record["workers"] = [
        worker | {"name": "ours", "process": {"pid": ours.pid, "born": f"{born[0]}@{boot}"}},
        worker | {"name": "others", "process": {"pid": others.pid, "born": f"{int(born[1]) - 1}@{boot}"}},
    ]
    file.write_text(json.dumps(record))
    shown = {worker["worker"]: worker["state"] for worker in listed(project, "-a")["workers"]}
    assert shown == {"ours": "orphaned", "others": "gone"}
    again = fabric("up", "-d", project / "demo.plumb", cwd=project)
    assert again.returncode == 2
    assert f"'demo' was killed, and left ours (pid {ours.pid}) alive" in said(again)
    down = fabric("down", "-t", "5", cwd=project)
    assert down.returncode == 0, said(down)
    assert f"worker 'ours' (pid {ours.pid}) lives on" in said(down)
    assert ours.wait(timeout=60) == -signal.SIGTERM
    assert others.poll() is None
    others.kill()
    others.wait()


def test_a_stopped_coordinator_does_not_answer_and_that_is_said(project: Path):
    """`ps` shows what it knows, exit code 1; `down` gives up, and what it asked for is done when it goes on."""
    pid = up(project)
    os.kill(pid, signal.SIGSTOP)
    try:
        shown = fabric("ps", cwd=project)
        assert shown.returncode == 1
        assert f"(pid {pid}) runs, and does not answer" in said(shown)
        assert shown.stdout.splitlines()[1].startswith(b"work    python functions:echo  ready")
        down = fabric("down", cwd=project)
        assert (down.returncode, json.loads(said(down).splitlines()[-1])["code"]) == (1, "no_answer")
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_gone(pid)
    assert fabric("wait", cwd=project).returncode == 0


def test_ctrl_c_during_down_insists(project: Path):
    """The worker that hangs is ended, what it had is lost, and every command exits with the service's code."""
    up(project, "hangs")
    assert fabric("send", "--no-wait", "1", cwd=project).returncode == 0
    busy = wait_until(project, lambda row: row["workers"][0]["unacknowledged"] == 1)
    assert busy["workers"][0]["state"] == "busy"
    down = start(project, "down")
    assert down.stderr is not None
    assert down.stderr.readline().startswith(b"draining 'demo'")
    wait_until(project, lambda row: row["state"] == "draining")
    down.send_signal(signal.SIGINT)
    _, stderr = down.communicate(timeout=60)
    assert down.returncode == 130
    assert '{"lost":1,"dead_lettered":0,"unpaired":0}' in stderr.decode()
    assert fabric("wait", cwd=project).returncode == 130


def test_down_may_shorten_the_grace_of_up(project: Path):
    """A worker that is silent so long is ended: exit code 5."""
    up(project, "hangs", "-t", "3000")
    assert fabric("send", "--no-wait", "1", cwd=project).returncode == 0
    wait_until(project, lambda row: row["workers"][0]["unacknowledged"] == 1)
    down = fabric("down", "-t", "0.2", cwd=project)
    assert down.returncode == 5
    assert "gave no sign of life for 0.2 s" in said(down)


def test_logs_are_read_while_it_runs_and_after(project: Path):
    """Text for people, objects for programs; one worker, the last lines, a time; an unknown worker is an error."""
    up(project)
    follower = start(project, "logs", "-f", "work")
    assert fabric("send", "1", "2", cwd=project).returncode == 0
    assert follower.stdout is not None
    followed = []
    while not followed or followed[-1] != "work   | warning: echo.worked value=2":
        followed.append(follower.stdout.readline().decode().rstrip("\n"))
        assert followed[-1], "it ended before"
    assert fabric("down", cwd=project).returncode == 0
    follower.communicate(timeout=60)
    assert follower.returncode == 0
    lines = fabric("logs", "--no-log-prefix", "work", cwd=project).stdout.decode().splitlines()
    assert [line for line in lines if not line.startswith("worker.")] == [
        "got 1",
        "warning: echo.worked value=1",
        "got 2",
        "warning: echo.worked value=2",
    ]
    objects = [json.loads(line) for line in fabric("logs", "--format", "json", cwd=project).stdout.splitlines()]
    assert [entry["ts"] for entry in objects] == sorted(entry["ts"] for entry in objects)
    assert [entry["line"] for entry in objects if "line" in entry][:1] == ["got 1"]
    events = [entry["event"] for entry in objects if "event" in entry]
    assert events == [
        "fabric.starting", "worker.spawned", "worker.ready", "fabric.ready", "fabric.draining", "worker.exited",
        "fabric.stopped",
    ]  # fmt: skip
    assert fabric("logs", "-n", "1", "work", cwd=project).stdout.decode().splitlines()[-1].startswith("work   | ")
    assert fabric("logs", "--until", "1h", cwd=project).stdout == b""
    assert fabric("logs", "--since", "yesterday", cwd=project).returncode == 2
    unknown = fabric("logs", "wrok", cwd=project)
    assert (unknown.returncode, json.loads(said(unknown))["error"]) == (
        7, "there is no worker 'wrok'; the workers are: fabric, work",
    )  # fmt: skip


def test_attach_prints_from_now_on_and_ctrl_c_leaves_it_running(project: Path):
    """What was said before is not repeated."""
    up(project)
    assert fabric("send", "1", cwd=project).returncode == 0
    attached, line = attach(project, "--no-log-prefix")
    assert int(line.split()[1]) > 100
    attached.send_signal(signal.SIGINT)
    _, stderr = attached.communicate(timeout=60)
    assert attached.returncode == 0
    assert stderr.decode().startswith("detached; 'demo'")
    assert listed(project)["state"] == "ready"
    assert fabric("down", cwd=project).returncode == 0


def test_a_worker_that_fails_shows_its_last_lines_once(project: Path):
    """Twenty of them, if they were not printed as they came; then how it ended, and why."""
    path = program(project, "fails")
    process = start(project, "up", "--no-attach", "work", "--restarts", "0", str(path))
    assert process.stderr is not None
    while not process.stderr.readline().startswith(b"ready"):
        pass
    assert fabric("send", "1", cwd=project).returncode == 1
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    lines = stderr.decode().splitlines()
    first = lines.index("last lines of work:")
    assert lines[first + 1 : first + 21] == [f"work   | line {number}" for number in range(10, 30)]
    assert lines[first + 21].startswith(" ✘ ended with exit code 1")
    assert json.loads(lines[first + 22])["code"] == "child_died"


def test_in_json_every_line_is_one_object(project: Path):
    """Start, notes, what workers write, the summary, the losses; also the checker's errors."""
    path = program(project, "echo")
    process = start(project, "up", "--log-format", "json", "--log-level", "info", str(path))
    assert process.stderr is not None
    seen = []
    while "fabric.ready" not in [entry.get("event") for entry in seen]:
        seen.append(json.loads(process.stderr.readline()))
    assert fabric("send", "1", cwd=project).returncode == 0
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    seen += [json.loads(line) for line in stderr.splitlines()]
    assert process.returncode == 0
    assert "got 1" in [entry.get("line") for entry in seen]
    assert {"log": "warning", "event": "echo.worked", "value": 1} in seen
    assert seen[-1]["event"] == "fabric.stopped"
    path.write_text("let main : !int -> !string = map(value)\n")
    wrong = fabric("up", "--log-format", "json", path, cwd=project)
    assert [json.loads(line)["code"] for line in said(wrong).splitlines()] == ["E0412"]


def test_a_start_that_takes_too_long_is_told_and_goes_on(project: Path):
    """Exit code 4 after ``--wait-timeout``; ``down`` ends it."""
    (project / "late.py").write_text(
        "import os, time\nwhile not os.path.exists('go'):\n    time.sleep(0.01)\ndef echo(value):\n    return value\n"
    )
    path = project / "demo.plumb"
    path.write_text('let main : !int -> !int = python { call: "late:echo" }\n')
    done = fabric("up", "-d", "--wait-timeout", "0.5", path, cwd=project)
    assert (done.returncode, json.loads(said(done).splitlines()[-1])["code"]) == (4, "ready_timeout")
    assert listed(project)["state"] == "starting"
    down = start(project, "down")
    assert down.stderr is not None
    assert down.stderr.readline().startswith(b"draining")
    (project / "go").touch()
    down.communicate(timeout=60)
    assert down.returncode == 0


def test_ctrl_c_while_it_starts_ends_it(project: Path):
    """`up -d` exits with 130 when it has ended, and nothing is left."""
    (project / "late.py").write_text(
        "import os, time\nwhile not os.path.exists('go'):\n    time.sleep(0.01)\ndef echo(value):\n    return value\n"
    )
    path = project / "demo.plumb"
    path.write_text('let main : !int -> !int = python { call: "late:echo" }\n')
    starting = start(project, "up", "-d", "--progress", "json", str(path))
    assert starting.stderr is not None
    while json.loads(starting.stderr.readline())["event"] != "worker.spawned":
        pass
    starting.send_signal(signal.SIGINT)
    assert json.loads(starting.stderr.readline())["event"] == "fabric.draining"
    (project / "go").touch()
    _, stderr = starting.communicate(timeout=60)
    assert starting.returncode == 130
    assert "fabric.ready" not in stderr.decode()
    assert listed(project, "-a")["state"] == "ended"


@pytest.mark.parametrize("verb", ["ps", "logs", "attach", "wait", "down"])
def test_where_nothing_ever_ran_each_command_says_so(verb: str, tmp_path: Path):
    """Exit code 7, in words."""
    done = fabric(verb, cwd=tmp_path, env={"FABRIC_STATE_DIR": str(tmp_path / "state")})
    assert done.returncode == 7
    assert json.loads(said(done).splitlines()[-1])["code"] == "not_running"
    assert done.stdout == b""


def test_a_state_directory_may_be_named(project: Path):
    """All commands look there, from wherever."""
    state = {"FABRIC_STATE_DIR": str(project / "elsewhere")}
    assert fabric("up", "-d", program(project, "echo"), cwd=project, env=state).returncode == 0
    assert fabric("ps", cwd=Path("/"), env=state).returncode == 0
    assert fabric("ps", cwd=project).returncode == 7
    assert fabric("down", cwd=Path("/"), env=state).returncode == 0
    assert not (project / ".fabric").exists()


def test_a_service_whose_socket_was_removed_is_told_apart(project: Path):
    """A cleaner of temporary files may do that: it cannot be asked, but it can be sent a signal."""
    pid = up(project)
    Path(record_of(project / ".fabric" / "run" / "demo.json")["socket"]).unlink()
    down = fabric("down", cwd=project)
    assert down.returncode == 1
    assert f"is gone: kill -TERM {pid} drains it" in said(down)
    os.kill(pid, signal.SIGTERM)
    wait_gone(pid)
    assert fabric("wait", cwd=project).returncode == 0
