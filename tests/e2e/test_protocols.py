"""Session wires between real processes, and the same programs in memory."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import functions
import pytest
import trio
from three_ways import FABRIC, RUNNERS, environment, fabric, input_lines, read_lines, run, simulated, up_and_send
from trio.testing import MockClock

from fabric.compiler import compile_file
from fabric.testing import Simulated, simulate

SHELF = Path(__file__).parents[2] / "compose" / "shelf" / "main.plumb"

pytestmark = pytest.mark.processes

ORDERS: list[Any] = [
    {"store": "tea", "what": {"grams": 50}},
    {"fetch": "tea"},
    {"fetch": "milk"},
    {"store": "tea", "what": None},
    {"close": True},
]
REPORTS = ["stored tea", 'tea: {"grams": 50}', "there is no milk", "replaced tea", "closed"]

DESK = """
protocol Ask = { ask: send string . recv int . loop, quit: end }
type Said = string | { label: string }
let desk : (!Said, !int) -> (!Said, !int) = plumb(go, heard, say, out) { go ; say   heard ; out }
let shelf : !Said -> !json = python { call: "CALL" }
let main : !Said -> !int = plumb(i, o) {
  i ; desk@go
  desk@out ; o
  desk@(say, heard) <-> shelf : Ask
}
"""

KEEPER = """
protocol Pause = send { pause: bool } . recv { kind: string } . send { resume: bool } . end
type Control = { pause: bool } | { resume: bool }
type Answer = { __step: int, payload: { kind: string } }
let doctor : (!string, !Control) -> !string = agent { provider: "eliza" }
let keeper : (!string, !Answer) -> (!Control, !Answer) = plumb(order, ctrl_out, ctrl_in, seen) {
  order ; map({ pause: true }) ; ctrl_in
  ctrl_out ; filter(__step = 1) ; map({ resume: true }) ; ctrl_in
  ctrl_out ; seen
}
let main : (!string, !string) -> (!string, !Answer) = plumb(patient, order, answer, seen) {
  patient ; doctor ; answer
  order ; keeper@order
  keeper@seen ; seen
  keeper <-> doctor : Pause
}
"""


def desk(folder: Path, call: str) -> Path:
    shutil.copy(functions.__file__, folder)
    path = folder / "program.plumb"
    path.write_text(DESK.replace("CALL", call))
    return path


def in_memory(program: Path, messages: list[tuple[str, Any]]) -> Simulated:
    plan, _ = compile_file(program, run_directory="memory")
    said = [(port, json.dumps(value).encode()) for port, value in messages]
    return trio.run(partial(simulate, plan, said, runners=RUNNERS), clock=MockClock(autojump_threshold=0))


def test_the_shelf_answers_every_order_and_the_clerk_quits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """However fast the orders come; the same in each of the three ways, and the session drains."""
    monkeypatch.syspath_prepend(SHELF.parent)
    importlib.import_module("library").things.clear()
    assert simulated(SHELF, ORDERS) == REPORTS
    assert run(SHELF, ORDERS) == REPORTS
    assert up_and_send(SHELF, ORDERS, tmp_path) == REPORTS


def test_a_check_counts_the_protocols():
    """Beside types and bindings."""
    done = fabric("check", SHELF)
    assert (done.returncode, done.stdout.decode()) == (0, f"{SHELF}: ok (2 types, 4 bindings, 1 protocol)\n")
    (report,) = json.loads(fabric("check", "--format", "json", SHELF).stdout)["files"]
    assert report["protocols"] == 1


def test_an_order_after_the_end_of_the_protocol_fails_the_session():
    """The clerk has quit; what was done before was told."""
    done = fabric("run", SHELF, stdin=input_lines([{"close": True}, {"fetch": "tea"}]))
    assert (done.returncode, read_lines(done.stdout)) == (1, ["closed"])
    assert json.loads(done.stderr.splitlines()[0]) == {
        "error": "protocol Shelf, step 1: expected nothing more, it has ended, got \"tea\" from 'desk'",
        "code": "protocol_violation",
    }


def test_a_second_question_before_the_answer_fails_the_session(tmp_path: Path):
    """Wrong order, however fast the lines are read: the shelf never answers."""
    program = desk(tmp_path, "functions:nothing")
    done = fabric("run", program, stdin=input_lines(["tea", "milk"]))
    assert (done.returncode, done.stdout) == (1, b"")
    assert json.loads(done.stderr.splitlines()[0]) == {
        "error": "protocol Ask, step 1: expected int from 'shelf' (recv), got \"milk\" from 'desk'",
        "code": "protocol_violation",
    }


def test_an_answer_of_the_wrong_type_fails_the_session(tmp_path: Path):
    """The worker's output is json, so only the protocol knows."""
    program = desk(tmp_path, "functions:text")
    done = fabric("run", program, stdin=input_lines(["tea"]))
    assert (done.returncode, done.stdout) == (1, b"")
    error = "protocol Ask, step 1: expected int from 'shelf' (recv), got \"<tea>\" from 'shelf'"
    assert json.loads(done.stderr.splitlines()[0]) == {"error": error, "code": "protocol_violation"}
    finish = in_memory(program, [("i", "tea")]).finish
    assert (finish.exit_code, finish.error) == (1, ("protocol_violation", error))


def test_one_question_is_answered_and_the_session_drains(tmp_path: Path):
    """The protocol is back at its start: nothing to warn of."""
    program = desk(tmp_path, "builtins:len")
    assert run(program, ["tea"]) == [3]
    assert simulated(program, ["tea"]) == [3]


def test_an_answer_that_never_comes_is_told_at_the_end(tmp_path: Path):
    """The session drains all the same."""
    done = fabric("run", "--log-level", "warning", desk(tmp_path, "functions:nothing"), stdin=input_lines(["tea"]))
    assert (done.returncode, done.stdout) == (0, b"")
    noted, report = map(json.loads, done.stderr.splitlines())
    waits = "protocol Ask, step 1: expected int from 'shelf' (recv)"
    assert noted == {"log": "warning", "event": "protocol.unfinished", "node": "Ask@9", "detail": waits}
    assert report == {"lost": 0, "dead_lettered": 0, "unpaired": 0, "unfinished": [waits]}


def test_a_worker_that_dies_in_the_middle_of_a_protocol_is_told_with_what_it_owed(tmp_path: Path):
    """The message that killed it first; the loss report has protocol, step and what was expected."""
    done = fabric("run", desk(tmp_path, "functions:dies"), stdin=input_lines(["tea"]))
    letter, report = map(json.loads, done.stderr.splitlines())
    assert (done.returncode, letter["event"], letter["reason"]) == (5, "message.dead_lettered", "poison")
    assert letter["detail"] == "worker 'shelf' was killed by signal 9 with 1 message unanswered"
    assert report["unfinished"] == ["protocol Ask, step 1: expected int from 'shelf' (recv)"]


@pytest.mark.parametrize(
    ("hears", "gives", "error"),
    [
        (
            "json",
            "json",
            "protocol Ask, step 1: 'shelf' (recv) sent what 'desk' does not take: expected int, got string \"tea\"",
        ),
        (
            "int",
            "int",
            "protocol Ask, step 1: expected int from 'shelf' (recv), got what 'shelf' may not send:"
            ' expected int, got string "tea"',
        ),
    ],
    ids=["by its reader", "by the port it was sent on"],
)
def test_a_refusal_on_a_wire_fails_the_session(hears: str, gives: str, error: str, tmp_path: Path):
    """Who waits for that message would wait for ever, for more input may come."""
    path = tmp_path / "program.plumb"
    text = DESK.replace("recv int", f"recv {hears}")
    path.write_text(
        text.replace('!json = python { call: "CALL" }', f'!{gives} = worker {{ command: ["cat"], transport: "stdio" }}')
    )
    with subprocess.Popen(
        [*FABRIC, "run", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as running:
        assert running.stdin is not None
        assert running.stderr is not None
        running.stdin.write(b'"tea"\n')
        running.stdin.flush()  # and not closed: the session has to end by itself
        told = json.loads(running.stderr.readline())
        assert (told, running.wait(30)) == ({"error": error, "code": "protocol_violation"}, 1)


def test_a_wire_of_a_body_that_is_used_twice_is_two_conversations(tmp_path: Path):
    """Each with its own step; a violation names the body."""
    program = desk(tmp_path, "builtins:len")
    text = program.read_text().replace("let main", "let office")
    text += "let a : !Said -> !int = office\nlet b : !Said -> !int = office\n"
    program.write_text(text + "let main : (!Said, !Said) -> !int = plumb(i, j, o) { i ; a ; o   j ; b ; o }\n")
    lines = [{"__port": "i", "msg": "tea"}, {"__port": "j", "msg": "milk"}]
    assert sorted(run(program, lines)) == [3, 4]
    done = fabric("run", program, stdin=input_lines([lines[1], lines[1]]))
    assert json.loads(done.stderr.splitlines()[0])["error"] == (
        "protocol Ask, step 1: expected int from 'b.office.shelf' (recv), got \"milk\" from 'b.office.desk'"
    )


def test_a_supervisor_talks_to_the_control_of_an_agent(tmp_path: Path):
    """The acknowledgement comes with its step; the one after the end is swallowed; no input overtakes the end."""
    program = tmp_path / "program.plumb"
    program.write_text(KEEPER)
    messages = [("patient", "I feel sad today"), ("order", "now")]
    expected = [
        ("answer", "TELL ME MORE ABOUT SUCH FEELINGS"),
        ("seen", {"__step": 1, "payload": {"kind": "pause_ack"}}),
    ]
    done = in_memory(program, messages)
    assert (done.finish.exit_code, done.finish.error, done.refusals) == (0, None, ())
    assert sorted((port, json.loads(payload)) for port, payload in done.outputs) == expected
    lines = [{"__port": port, "msg": message} for port, message in messages]
    printed = run(program, lines)
    assert sorted((line["__port"], line["msg"]) for line in printed) == expected
