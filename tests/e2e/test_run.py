"""``fabric run`` as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conversation_1966 import PRINTED
from three_ways import FABRIC, environment, fabric, input_lines, read_lines, run, up_and_send

HELLO = Path(__file__).parents[2] / "compose" / "hello" / "main.plumb"

pytestmark = pytest.mark.processes


def program(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "program.plumb"
    path.write_text(text)
    return path


INCREMENT = "let main : !int -> !int = map(value + 1)\n"


def test_hello_prints_two_answers_of_the_doctor():
    """The main job."""
    assert run(HELLO, ["I feel sad today", "My mother hates me"]) == [
        "TELL ME MORE ABOUT SUCH FEELINGS",
        "TELL ME MORE ABOUT YOUR FAMILY",
    ]


def test_the_conversation_of_1966_comes_out_word_for_word(tmp_path: Path):
    """Through a worker process, through a service, and by the agent alone."""
    said, answers = [said for said, _ in PRINTED], [answer for _, answer in PRINTED]
    assert run(HELLO, said) == answers
    assert up_and_send(HELLO, said, tmp_path) == answers
    agent = program(tmp_path, 'let doctor : !string -> !string = agent { provider: "eliza" model: "doctor" }\n')
    alone = subprocess.run(
        [sys.executable, "-m", "plumb_agent", agent],
        input=input_lines(said),
        capture_output=True,
        env=environment(),
        check=True,
        timeout=60,
    )
    assert read_lines(alone.stdout) == answers


def test_a_bad_line_ends_the_reading_and_what_came_before_is_delivered(tmp_path: Path):
    """The error names the line; exit code 1."""
    done = fabric("run", program(tmp_path, INCREMENT), stdin=b'1\n\n2\n"x"\n4\n')
    assert done.returncode == 1
    assert read_lines(done.stdout) == [2, 3]
    assert json.loads(done.stderr) == {
        "error": 'expected int, got string "x"',
        "code": "input_type_mismatch",
        "port": "input",
        "line": 4,
    }


def test_a_line_that_is_no_json_is_a_bad_line(tmp_path: Path):
    """Not a crash, not a skip."""
    done = fabric("run", program(tmp_path, INCREMENT), stdin=b"1\nnope\n")
    assert (done.returncode, read_lines(done.stdout)) == (1, [2])
    assert json.loads(done.stderr)["line"] == 2


def test_a_last_line_without_an_end_counts(tmp_path: Path):
    """As every tool has it."""
    done = fabric("run", program(tmp_path, INCREMENT), stdin=b"1\n2")
    assert (done.returncode, read_lines(done.stdout)) == (0, [2, 3])


def test_no_input_gives_no_output(tmp_path: Path):
    """And ends."""
    done = fabric("run", program(tmp_path, INCREMENT))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_an_expression_without_a_value_is_an_error(tmp_path: Path):
    """Division by zero names the node and the line."""
    done = fabric("run", program(tmp_path, "let main : !int -> !number = map(1 / value)\n"), stdin=b"1\n0\n2\n")
    assert (done.returncode, read_lines(done.stdout)) == (1, [1.0])
    assert json.loads(done.stderr.splitlines()[0]) == {
        "error": "division by zero",
        "code": "expr_eval",
        "node": "main",
        "line": 2,
    }


def test_several_ports_are_told_apart_by_envelopes(tmp_path: Path):
    """Each line says its port; so does each output."""
    path = program(
        tmp_path,
        "let main : (!int, !string) -> (!int, !string) = plumb(n, s, m, t) {\n"
        '  n ; map(value + 1) ; m\n  s ; filter(value != "no") ; t\n}\n',
    )
    lines = [{"__port": "n", "msg": 1}, {"__port": "s", "msg": "no"}, {"__port": "s", "msg": "yes"}]
    assert run(path, lines) == [{"__port": "m", "msg": 2}, {"__port": "t", "msg": "yes"}]
    done = fabric("run", path, stdin=b"1\n")
    assert done.returncode == 1
    assert json.loads(done.stderr)["error"] == (
        'expected a line {"__port": NAME, "msg": VALUE} with an input of n, s; got none'
    )


def test_unpaired_messages_are_reported(tmp_path: Path):
    """A barrier's leftovers are no loss, but they are said; exit code 0."""
    path = program(
        tmp_path,
        "let main : !int -> !(int, int) = plumb(i, o) {\n  i ; (map(value) * filter(value > 1)) ; barrier ; o\n}\n",
    )
    done = fabric("run", path, stdin=b"1\n2\n3\n")
    assert (done.returncode, read_lines(done.stdout)) == (0, [[1, 2], [2, 3]])
    assert json.loads(done.stderr) == {"lost": 0, "dead_lettered": 0, "unpaired": 1}


def test_nobody_reading_the_output_ends_the_session(tmp_path: Path):
    """``| head -1`` does not leave it running."""
    path = program(tmp_path, INCREMENT)
    process = subprocess.Popen(
        [*FABRIC, "run", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"1\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"2\n"
    process.stdout.close()
    process.stdin.write(b"2\n")
    process.stdin.flush()
    assert process.wait(timeout=60) == 1
    assert json.loads(process.stderr.read().splitlines()[0])["code"] == "output_closed"
    process.stdin.close()
    process.stderr.close()


def test_an_endless_loop_can_be_interrupted(tmp_path: Path):
    """The first signal waits for it to drain, which it never does; the second ends it with 130."""
    path = program(
        tmp_path,
        "let spin : !int -> !int = id\n"
        "let main : !int -> !int = plumb(i, o) {\n"
        "  i ; spin\n  spin ; filter(value > 0) ; spin\n  spin ; filter(false) ; o\n}\n",
    )
    process = subprocess.Popen(
        [*FABRIC, "run", "--log-level", "info", path], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    assert process.stdin is not None
    process.stdin.write(b"1\n")
    process.stdin.close()
    process.stdin = None
    os.kill(process.pid, signal.SIGINT)
    while process.poll() is None:
        os.kill(process.pid, signal.SIGINT)
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
    process.stderr.close()
    assert process.returncode in (130, -signal.SIGINT)


def test_an_amplifying_loop_is_named(tmp_path: Path):
    """It makes two of each: that is noticed before the memory is full."""
    path = program(
        tmp_path,
        "let spin : !int -> !int = id\n"
        "let main : !int -> !int = plumb(i, o) {\n"
        "  i ; spin\n  spin ; (map(value) * map(value)) ; filter(value > 0) ; spin\n"
        "  spin ; filter(value < 0) ; o\n}\n",
    )
    done = fabric("run", path, stdin=b"1\n")
    assert done.returncode == 1
    assert json.loads(done.stderr.splitlines()[0])["code"] == "amplifying_loop"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "nowhere.plumb"), "cannot read nowhere.plumb: No such file or directory"),
        (("check", "nowhere.plumb"), "cannot read nowhere.plumb: No such file or directory"),
        (("run",), "no program was named, and there is no *.plumb file here"),
        (("send", "1"), "no service runs from"),
    ],
)
def test_what_is_not_there_is_said(arguments: tuple[str, ...], message: str, tmp_path: Path):
    """One line, and the documented exit code."""
    done = fabric(*arguments, cwd=tmp_path)
    assert json.loads(done.stderr)["error"].startswith(message)
    assert done.returncode == (7 if arguments[0] == "send" else 2)


def test_an_agent_without_a_provider_is_told_what_to_do(tmp_path: Path):
    """Before anything starts; exit code 2."""
    path = program(tmp_path, "let main : !string -> !string = agent { }\n")
    done = fabric("run", path, stdin=b'"x"\n')
    assert done.returncode == 2
    assert "agent 'main' has no provider" in done.stderr.decode()
    assert fabric("run", "--provider", "eliza", path, stdin=b'"x"\n').returncode == 0
    assert fabric("run", path, stdin=b'"x"\n', env={"PLUMB_PROVIDER": "eliza"}).returncode == 0


def test_an_unknown_provider_is_a_mistake_in_the_program(tmp_path: Path):
    """With a hint; exit code 2."""
    path = program(tmp_path, 'let main : !string -> !string = agent { provider: "elisa" }\n')
    done = fabric("run", path, stdin=b'"x"\n')
    assert done.returncode == 2
    assert "eliza" in done.stderr.decode()


def test_three_mistakes_give_three_diagnostics_and_nothing_starts(tmp_path: Path):
    """Each at its place; exit code 2."""
    path = program(
        tmp_path,
        "type Verdict = { ok: bool }\n"
        "let judge : !string -> !Verdict = agent { }\n"
        "let echo : !string -> !string = agent { }\n"
        "let main : !string -> !string = plumb(i, o) {\n"
        "  i ; judge ; echo\n"
        '  judge ; filter(okay = true) ; map("x") ; o\n'
        "  i ; ekho\n"
        "}\n",
    )
    done = fabric("check", "--format", "json", path)
    found = json.loads(done.stdout)["files"][0]["diagnostics"]
    assert done.returncode == 2
    assert [(d["line"], d["column"]) for d in found if d["severity"] == "error"] == [(5, 7), (6, 18), (7, 7)]
    text = fabric("run", path, stdin=input_lines(["x"]))
    assert (text.returncode, text.stdout) == (2, b"")
    assert text.stderr.decode().count("error[E") == 3
    assert "nothing was started" in text.stderr.decode()


def test_a_stderr_that_cannot_be_written_is_no_reason_to_hang(tmp_path: Path):
    """The run ends as it would have, with its own code; only the words are missing."""
    path = program(tmp_path, INCREMENT)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*FABRIC, "run", path], input=b'1\n"x"\n', stdout=subprocess.PIPE, stderr=full, timeout=60, check=False
        )
    assert (done.returncode, done.stdout) == (1, b"2\n")


def test_an_output_that_cannot_be_written_is_said(tmp_path: Path):
    """A full disk is no bug of ours."""
    path = program(tmp_path, INCREMENT)
    for arguments in (["check", path], ["graph", path], ["call", path, "1"]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([*FABRIC, *arguments], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
        assert done.returncode == 1
        assert json.loads(done.stderr)["code"] == "output_closed"


def test_extra_writes_what_workers_say_beside_their_answers(tmp_path: Path):
    """To a file, apart from stdout, complete when the command ends."""
    file = tmp_path / "t.log"
    done = fabric("run", "--extra", f"telemetry={file}", HELLO, stdin=b'"I feel sad today"\n')
    assert (done.returncode, done.stderr) == (0, b"")
    assert read_lines(done.stdout) == ["TELL ME MORE ABOUT SUCH FEELINGS"]
    heard = [line.split("\t", 1) for line in file.read_text().splitlines()]
    assert {topic for topic, _ in heard} == {"doctor"}
    assert [json.loads(text)["kind"] for _, text in heard] == ["config", "usage", "output"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["telemetry=/no/where"], "--extra telemetry=/no/where: cannot write it: No such file or directory"),
        (["telemetri=t"], "--extra telemetri=t: expected NAME=FILE, with NAME one of telemetry, ctrl_out"),
        (["telemetry"], "--extra telemetry: expected NAME=FILE, with NAME one of telemetry, ctrl_out"),
        (["telemetry=a", "telemetry=b"], "--extra telemetry=b: 'telemetry' is given twice"),
        (["telemetry=a", "ctrl_out=a"], "--extra ctrl_out=a: the file a is given twice"),
        (["ctrl_out=-"], "--extra ctrl_out: no worker of the program has a port 'ctrl_out' that nobody reads"),
    ],
)
def test_an_extra_that_cannot_be_is_said_before_anything_starts(extra: list[str], message: str, tmp_path: Path):
    """With exit code 2."""
    flags = [word for one in extra for word in ("--extra", one)]
    done = fabric("run", *flags, HELLO, stdin=b'"I feel sad today"\n', cwd=tmp_path)
    assert (done.returncode, done.stdout, json.loads(done.stderr)["error"]) == (2, b"", message)
    assert list(tmp_path.iterdir()) == []


def test_a_pause_that_nobody_can_end_any_more_ends_with_the_input(tmp_path: Path):
    """What told the agent has ended, and a run has no operator."""
    (tmp_path / "main.plumb").write_text(
        'let a : (!string, !{ pause: bool }) -> !string = agent { provider: "eliza" }\n'
        "let main : (!string, !{ pause: bool }) -> !string = plumb(i, c, o) {\n  i ; a ; o\n  c ; a@ctrl_in\n}\n"
    )
    said = b'{"__port":"c","msg":{"pause":true}}\n{"__port":"i","msg":"hello"}\n{"__port":"i","msg":"again"}\n'
    done = fabric("run", tmp_path / "main.plumb", stdin=said)
    assert (done.returncode, done.stdout.count(b"\n")) == (0, 2), done.stderr
