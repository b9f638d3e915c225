"""Workers that users write with ``fabric.worker``: one file, in each of the ways in which a program can have it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from three_ways import fabric, input_lines, read_lines, run, service, simulated, up_and_send

from fabric.compiler import compile_file

pytestmark = pytest.mark.processes

MINE = '''
"""Orders, totalled."""
from dataclasses import dataclass
from fabric.worker import fail, log, message, serve, telemetry

@dataclass
class Line:
    sku: str
    count: int

@dataclass
class Order:
    id: int
    lines: list[Line]
    note: str | None = None

@dataclass
class Total:
    id: int
    total: int

def total(order: Order) -> Total:
    """The sum of the counts."""
    telemetry("order", id=order.id)
    if order.note == "fail":
        fail("no such order")
    return Total(order.id, sum(line.count for line in order.lines))

def wrong(order: Order) -> str:
    return "never"

def nothing(order: Order) -> None:
    pass

if __name__ == "__main__":
    import sys
    serve(globals()[sys.argv[1]])
'''
TYPES = """
type Line = { sku: string, count: int }
type Order = { id: int, lines: [Line], note?: string }
type Total = { id: int, total: int }
"""
ORDERS = [
    {"id": 1, "lines": [{"sku": "a", "count": 2}, {"sku": "b", "count": 3}]},
    {"id": 2, "lines": [], "note": "x"},
]
TOTALS = [{"id": 1, "total": 5}, {"id": 2, "total": 0}]


def ways(name: str) -> dict[str, str]:
    command = json.dumps([sys.executable, "mine.py", name])
    return {
        "python": f'python {{ call: "mine:{name}" }}',
        "sockets": f"worker {{ command: {command} }}",
        "bare": f'worker {{ command: {command} frames: "bare" }}',
        "lines": f'worker {{ command: {command} transport: "stdio" }}',
        "marked lines": f'worker {{ command: {command} transport: "stdio" markers: true }}',
    }


def program(folder: Path, implementation: str, output: str = "Total") -> Path:
    (folder / "mine.py").write_text(MINE)
    path = folder / "program.plumb"
    path.write_text(f"{TYPES}let f : !Order -> !{output} = {implementation}\nlet main : !Order -> !{output} = f\n")
    return path


def objects(stderr: bytes) -> list[Any]:
    return [json.loads(line) for line in stderr.splitlines() if line.startswith(b"{")]


@pytest.mark.parametrize("way", ways(""))
def test_one_file_is_a_worker_in_every_way(way: str, tmp_path: Path):
    """Its arguments are instances of its classes, and what it returns is JSON of the declared type."""
    path = program(tmp_path, ways("total")[way])
    assert run(path, ORDERS * 300) == TOTALS * 300
    if way == "python":
        assert simulated(path, ORDERS) == TOTALS
        assert up_and_send(path, ORDERS, tmp_path) == TOTALS


@pytest.mark.parametrize("way", ["python", "sockets", "lines"])
def test_annotations_of_another_type_are_found_before_the_first_message(way: str, tmp_path: Path):
    """Exit code 2, in the language's words; it is not started again."""
    done = fabric("run", program(tmp_path, ways("wrong")[way]), stdin=input_lines(ORDERS), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    said = next(found for found in objects(done.stderr) if "error" in found)
    assert said["code"] == "bad_config"
    assert said["error"].endswith(
        ":wrong: its result: expected Total, as the program declares, got string, as it is annotated"
    )


@pytest.mark.parametrize("way", ["python", "sockets", "lines"])
def test_none_is_the_value_of_a_unit(way: str, tmp_path: Path):
    """A worker is told which types its program declares, so that it knows."""
    assert run(program(tmp_path, ways("nothing")[way], "unit"), ORDERS) == [None, None]


@pytest.mark.parametrize("way", ["python", "sockets", "marked lines"])
def test_none_is_no_message_elsewhere(way: str, tmp_path: Path):
    """As in a filter."""
    assert run(program(tmp_path, ways("nothing")[way]), ORDERS) == []


def test_on_lines_without_markers_no_answer_is_a_mistake_that_is_told(tmp_path: Path):
    """The line would be waited for."""
    done = fabric("run", program(tmp_path, ways("nothing")["lines"]), stdin=input_lines(ORDERS), cwd=tmp_path)
    assert done.returncode == 4  # it has answered nothing yet
    assert "a line was given no answer, and without markers it is one for each" in objects(done.stderr)[0]["error"]


@pytest.mark.parametrize("way", ["python", "sockets"])
def test_a_message_that_is_given_up_is_a_dead_letter(way: str, tmp_path: Path):
    """A service goes on behind it; its sender is told why."""
    path = program(tmp_path, ways("total")[way])
    with service(path, tmp_path, exit_code=5):
        failed = fabric("send", json.dumps(ORDERS[0] | {"note": "fail"}), cwd=tmp_path)
        assert (failed.returncode, failed.stdout) == (1, b"")
        assert "no such order" in failed.stderr.decode()
        assert fabric("send", json.dumps(ORDERS[0]), cwd=tmp_path).stdout == b'{"id":1,"total":5}\n'
        (letter,) = read_lines(fabric("dead", "list", "--format", "jsonl", cwd=tmp_path).stdout)
        assert "no such order" in json.dumps(letter)


@pytest.mark.parametrize("way", ["python", "sockets", "lines", "marked lines"])
def test_what_it_tells_comes_out_of_its_port(way: str, tmp_path: Path):
    """In the order of its messages, each before the worker is done with it."""
    path = program(tmp_path, ways("total")[way])
    path.write_text(
        path.read_text()
        .replace("-> !Total = python", "-> (!Total, !json) = python")  # the others have that port anyway
        .replace("-> !Total = f", "-> (!Total, !json) = plumb(i, o, told) {\n  i ; f ; o\n  f@telemetry ; told\n}")
    )
    done = fabric("run", path, stdin=input_lines(ORDERS * 50), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = read_lines(done.stdout)
    told = [line["msg"] for line in lines if line["__port"] == "told"]
    assert told == [{"kind": "order", "id": number} for number in (1, 2)] * 50
    assert len(lines) == 200


@pytest.mark.parametrize("kind", ["python", "worker"])
def test_a_loop_through_its_telemetry_ends(kind: str, tmp_path: Path):
    """Its markers come behind what it told, on that port too: nothing is left when the loop is ended."""
    (tmp_path / "up.py").write_text(
        "from fabric.worker import serve, telemetry\n"
        "def up(value: int) -> int:\n"
        "    telemetry('up', value=value + 1)\n"
        "    return value + 1\n"
        "if __name__ == '__main__':\n"
        "    serve(up)\n"
    )
    ways = {"python": 'python { call: "up:up" }', "worker": f'worker {{ command: ["{sys.executable}", "up.py"] }}'}
    path = tmp_path / "program.plumb"
    path.write_text(
        f"let up : !int -> (!int, !json) = {ways[kind]}\n"
        "let told : !json -> !int = map(value.value)\n"
        "let main : !int -> !int = plumb(i, o) {\n"
        "  i ; up\n  up@telemetry ; told ; filter(value < 20) ; up\n  up ; filter(value >= 20) ; o\n}\n"
    )
    values = [*range(30)] * 10
    expected = sorted(max(value + 1, 20) for value in values)
    assert sorted(run(path, values)) == expected
    if kind == "python":
        assert sorted(simulated(path, values)) == expected


def test_a_function_without_that_port_has_no_socket_for_it(tmp_path: Path):
    """Most tell nothing."""
    plain, told = program(tmp_path, ways("total")["python"]), tmp_path / "told.plumb"
    told.write_text(plain.read_text().replace("-> !Total = python", "-> (!Total, !json) = python"))
    for path, ports in ((plain, 4), (told, 5)):
        (worker,) = compile_file(path, run_directory="memory")[0].workers
        assert len(worker.endpoints) == ports
