"""Python functions and programs of others as workers: real processes, real sockets."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import functions
import pytest
from three_ways import fabric, input_lines, read_lines, run, simulated, up_and_send

pytestmark = pytest.mark.processes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(functions.__file__, tmp_path)
    return tmp_path


def program(
    folder: Path, worker: str, signature: str = "!int -> !int", inputs: str = "int", outputs: str = "int"
) -> Path:
    path = folder / "program.plumb"
    path.write_text(
        f"let f : {signature} = {worker}\nlet main : !{inputs} -> !{outputs} = plumb(i, o) {{ i ; f ; o }}\n"
    )
    return path


def python(name: str) -> str:
    return f'python {{ call: "functions:{name}" }}'


def command(*words: str, more: str = 'transport: "stdio"') -> str:
    return f"worker {{ command: {json.dumps(list(words))} {more} }}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("increment", [1, 2, 3]),
        ("count", [0, 0, 1]),
        ("double", [0, 2, 4]),
        ("twice", [0, 0, 1, 1, 2, 2]),
        ("even", [0, 2]),
        ("nothing", []),
    ],
)
def test_a_function_returns_one_value_none_or_yields_any_number(name: str, expected: list[int], folder: Path):
    """Plain and async functions, generators of both kinds; the same in each of the three ways."""
    path = program(folder, python(name))
    assert simulated(path, [0, 1, 2]) == expected
    assert run(path, [0, 1, 2]) == expected
    assert up_and_send(path, [0, 1, 2], folder) == expected


def test_a_unit_output_takes_none(folder: Path):
    """``None`` is a value there."""
    path = program(folder, python("nothing"), "!int -> !unit", "int", "unit")
    assert run(path, [1, 2]) == [None, None]


def test_a_loop_through_a_worker_ends(folder: Path):
    """Quiescence counts what the worker has."""
    path = folder / "program.plumb"
    path.write_text(
        f"let up : !int -> !int = {python('increment')}\n"
        "let main : !int -> !int = plumb(i, o) {\n"
        "  i ; up\n  up ; filter(value < 10) ; up\n  up ; filter(value >= 10) ; o\n}\n"
    )
    values = [*range(12)] * 50
    expected = sorted(max(value + 1, 10) for value in values)
    assert sorted(simulated(path, values)) == expected
    assert sorted(run(path, values)) == expected
    assert sorted(up_and_send(path, values, folder)) == expected


def test_a_loop_with_a_barrier_and_two_workers_ends(folder: Path):
    """Two workers whose answers are paired, and fed back until they are large enough."""
    path = folder / "program.plumb"
    path.write_text(
        f"let a : !int -> !int = {python('increment')}\nlet b : !int -> !int = {python('double')}\n"
        "let join : !(int, int) -> !int = map(value[0] + value[1])\n"
        "let main : !int -> !int = plumb(i, o) {\n"
        "  i ; (a * b) ; barrier ; join\n  join ; filter(value < 100) ; (a * b)\n  join ; filter(value >= 100) ; o\n}\n"
    )

    def direct(value: int) -> int:
        while True:
            value = value * 3 + 1
            if value >= 100:
                return value

    values = [*range(20)] * 10
    # Which messages a barrier pairs depends on their order; with one message at a time it is each with itself.
    for value in (0, 7, 19):
        assert simulated(path, [value]) == [direct(value)]
    assert len(run(path, values)) == len(values)


def test_a_program_on_lines_answers_each_line_with_one(folder: Path):
    """``cat`` is a worker."""
    path = program(folder, command("cat"))
    assert run(path, [1, 2, 3]) == [1, 2, 3]
    assert up_and_send(path, [1, 2, 3], folder) == [1, 2, 3]


def test_a_program_that_echoes_markers_may_answer_any_number(folder: Path):
    """It tells by the marker when it is done with a line."""
    (folder / "many.py").write_text(
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    message = json.loads(line)\n"
        "    if isinstance(message, dict):\n"
        "        print(json.dumps(message), flush=True)\n"
        "    else:\n"
        "        for i in range(message): print(i, flush=True)\n"
    )
    path = program(folder, command(sys.executable, "many.py", more='transport: "stdio" markers: true'))
    assert run(path, [0, 1, 3]) == [0, 0, 1, 2]


def test_a_program_gets_its_endpoints_and_speaks_the_wire(folder: Path):
    """A worker in any language: here plain pyzmq, without a line of ours."""
    (folder / "plain.py").write_text(PLAIN_WORKER)
    path = program(folder, command(sys.executable, "plain.py", more=""))
    assert run(path, [1, 2, 3]) == [10, 20, 30]
    assert up_and_send(path, [*range(500)], folder) == [value * 10 for value in range(500)]


PLAIN_WORKER = """
import os, json, struct, zmq

context = zmq.Context()
def port(name, kind, open_):
    socket = context.socket(kind)
    getattr(socket, open_)(os.environ["PLUMB_ENDPOINT_" + name])
    return socket
data_in, ctrl_in = port("INPUT", zmq.PULL, "connect"), port("CTRL_IN", zmq.PULL, "connect")
data_out, ctrl_out = port("OUTPUT", zmq.PUSH, "bind"), port("CTRL_OUT", zmq.PUSH, "bind")
topic = struct.pack(">I", 5) + b"plain"
ctrl_out.send(topic + b'{"status":"ready"}')
while True:
    frame = data_in.recv()
    payload = frame[4 + struct.unpack(">I", frame[:4])[0]:]
    if not payload:
        break
    if payload[0] == 1:
        data_out.send(topic + payload)
        continue
    if payload[0] == 2:
        payload = payload[35 + 8 * payload[34]:]
    data_out.send(topic + json.dumps(json.loads(payload) * 10).encode())
data_out.send(topic)
while len(ctrl_in.recv()) > 10:
    pass
ctrl_out.send(topic)
context.destroy(linger=-1)
"""


# --- what goes wrong ----------------------------------------------------------------------------------------------


def ended(folder: Path, worker: str, values: list[Any], *options: str) -> tuple[int, list[Any], list[dict[str, Any]]]:
    """Return exit code, outputs, and the error and loss objects on stderr."""
    done = fabric("run", *options, program(folder, worker), stdin=input_lines(values), cwd=folder)
    lines = done.stderr.decode().splitlines()
    objects = [json.loads(line) for line in lines if line.startswith("{")]
    return done.returncode, read_lines(done.stdout), objects


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("nowhere:f", "worker 'f': there is no module 'nowhere' for call: \"nowhere:f\"; looked beside the program in"),
        ("functions:nowhere", "worker 'f': module 'functions' has no 'nowhere'"),
        ("functions:not_callable", "worker 'f': 'functions:not_callable' is a int, not a function"),
    ],
)
def test_a_missing_function_is_a_configuration_error(call: str, message: str, folder: Path):
    """Exit code 2, and nothing is delivered."""
    code, outputs, objects = ended(folder, f'python {{ call: "{call}" }}', [1])
    assert (code, outputs) == (2, [])
    assert objects[-1]["error"].startswith(message)
    assert objects[-1]["code"] == "bad_config"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "fails",
            "worker 'f' exited with status 1 with 2 messages unanswered: functions:fails raised ValueError: boom",
        ),
        (
            "text",
            "worker 'f' exited with status 1 with 2 messages unanswered: functions:text returned: expected int",
        ),
        ("infinity", "worker 'f' exited with status 1 with 2 messages unanswered: functions:infinity returned"),
    ],
)
def test_a_function_that_fails_ends_the_session(name: str, message: str, folder: Path):
    """Exit code 1; what was not answered is counted."""
    code, outputs, objects = ended(folder, python(name), [1, 2])
    assert (code, outputs) == (1, [])
    assert objects[-2]["error"].startswith(message)
    assert objects[-1] == {"lost": 2, "dead_lettered": 0, "unpaired": 0}


@pytest.mark.parametrize("more", ["", 'transport: "stdio"'])
@pytest.mark.parametrize("status", [0, 1, 3])
def test_a_worker_that_exits_before_it_is_ready_could_not_be_started(status: int, more: str, folder: Path):
    """Exit code 4, whatever its own status; 2 it keeps for a wrong configuration."""
    code, outputs, objects = ended(folder, command("sh", "-c", f"echo oh no >&2; exit {status}", more=more), [1])
    assert (code, outputs) == (4, [])
    assert objects[0]["code"] == "worker_not_started"
    assert objects[0]["error"].startswith(("worker 'f' exited with status", "worker 'f' ended before"))


def test_a_program_that_is_not_there_could_not_be_started(folder: Path):
    """The system's words are told."""
    code, _, objects = ended(folder, command("no-such-program-here"), [1])
    assert code == 4
    assert objects[0]["error"] == "worker 'f' could not be started: 'no-such-program-here': No such file or directory"


def test_a_worker_that_never_gets_ready_is_given_up(folder: Path):
    """After the time that the user sets; it is killed."""
    code, _, objects = ended(folder, command("sleep", "3600", more=""), [1], "--ready-timeout", "0.5")
    assert code == 4
    assert objects[0] == {"error": "worker 'f' did not say that it is ready within 0.5 s", "code": "ready_timeout"}


def test_a_program_that_prints_garbage_is_refused(folder: Path):
    """The line is no JSON: the outputs before it are delivered, exit code 1."""
    code, outputs, objects = ended(folder, command("sed", "-u", "s/3/three/"), [1, 2, 3, 4])
    assert code == 1
    assert outputs[:2] == [1, 2]
    assert objects[0]["code"] == "output_type_mismatch"
    assert objects[0]["error"].startswith("expected JSON, got malformed text")


def test_a_program_that_answers_with_the_wrong_type_is_refused(folder: Path):
    """Validation happens at every channel."""
    code, _, objects = ended(folder, command("sed", "-u", 's/.*/"text"/'), [1])
    assert code == 1
    assert objects[0] == {
        "error": 'expected int, got string "text"',
        "code": "output_type_mismatch",
        "node": "f",
        "line": 1,
    }


def test_a_program_that_stops_reading_leaves_dead_letters(folder: Path):
    """It answered one line and left: the rest is counted, exit code 5."""
    code, outputs, objects = ended(folder, command("head", "-n", "1"), [1, 2, 3])
    assert (code, outputs) == (5, [1])
    left, losses = objects
    assert (left["event"], left["worker"], left["messages_left"]) == ("worker.left", "f", 2)
    assert losses == {"lost": 0, "dead_lettered": 2, "unpaired": 0}


def test_a_worker_whose_frame_is_too_large_is_ended_and_named(folder: Path):
    """The library cuts its connection for good; the message that it comes of is a dead letter, the others are none."""
    (folder / "large.py").write_text(
        PLAIN_WORKER.replace('b"plain"\n', 'b"plain"\nLARGE = b"x" * 20_000_000\n').replace(
            "    data_out.send(topic + json",
            "    if payload == b'2': data_out.send(topic + LARGE)\n    data_out.send(topic + json",
        )
    )
    code, outputs, objects = ended(folder, command(sys.executable, "large.py", more=""), [1, 2, 3])
    assert (code, outputs) == (5, [10, 30])
    assert "its data_out broke off: it sent a frame of more than 16777216 bytes" in objects[0]["detail"]


def test_a_function_that_exits_is_told_as_what_it_is(folder: Path):
    """SystemExit is no exception to the rule."""
    (folder / "exits.py").write_text("import sys\ndef f(value):\n    sys.exit(0)\n")
    code, _, objects = ended(folder, 'python { call: "exits:f" }', [1])
    assert code == 1
    assert objects[-2]["error"].endswith("exits:f raised SystemExit: 0")


def test_files_of_the_user_with_names_of_the_library_break_nothing(folder: Path):
    """A ``json.py`` or a folder ``fabric`` beside the program, and in the working directory."""
    (folder / "types.py").write_text("raise RuntimeError('not this one')\n")
    (folder / "fabric").mkdir()
    (folder / "fabric" / "__init__.py").write_text("")
    assert run(program(folder, 'agent { provider: "eliza" }', "!string -> !string", "string", "string"), ["hello"]) == [
        "HOW DO YOU DO. PLEASE STATE YOUR PROBLEM"
    ]


def test_a_program_is_looked_for_beside_the_file_that_names_it(folder: Path):
    """From whichever directory the command is given."""
    (folder / "upper.sh").write_text("#!/bin/sh\nexec cat\n")
    (folder / "upper.sh").chmod(0o755)
    path = program(folder, command("./upper.sh"))
    assert fabric("run", path, stdin=b"1\n", cwd=Path("/")).stdout == b"1\n"
