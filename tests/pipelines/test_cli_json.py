"""The JSON of commands: what is odd is refused, and the output has nothing but results that all can read."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from click.testing import Result
from pipeline_folders import folder_of
from pydantic import BaseModel
from typer.testing import CliRunner

from fabric.errors import ConfigError
from fabric.pipelines.cli import make_app
from fabric.pipelines.commands.strict_json import DEPTH_MAX, as_data, read_object

FN = "steps:\n  - {name: x, type: transform, fn: 'steps:f', inputs: {item: '{{ ctx }}'}}\n"
ECHO = "def f(item):\n    return item\n"


def pipeline(*args: object, stdin: str | None = None) -> Result:
    """Run a command."""
    return CliRunner().invoke(make_app(), [*map(str, args)], input=stdin)


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    return folder_of(tmp_path, FN, {"steps.py": ECHO})


def nested(levels: int) -> str:
    return '{"id": 1, "deep": ' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


ODD = {
    "deep": (nested(100_000), "nested too deeply"),
    "a-level-too-deep": (nested(DEPTH_MAX + 1), "nested too deeply"),
    "nan": ('{"id": 1, "n": NaN}', "NaN is no number of JSON"),
    "infinity": ('{"id": 1, "n": [-Infinity]}', "-Infinity is no number of JSON"),
    "overflow": ('{"id": 1, "n": 1e999}', "1e999 is larger than any number"),
    "twice": ('{"id": 1, "a": {"b": 1, "b": 2}}', "'b' stands there more than once"),
    "list": ('["a"]', "not a JSON object"),
}


@pytest.mark.parametrize(("said", "why"), ODD.values(), ids=ODD)
def test_odd_input_is_refused(echo: Path, said: str, why: str):
    """In a line that says which, by both commands."""
    for command, place in (("run", "input"), ("batch", "line 2")):
        done = pipeline(command, echo, stdin=said if command == "run" else '{"id": 0}\n' + said + "\n")
        assert (done.exit_code, done.stdout) == (1, "")
        assert why in done.stderr
        assert place in done.stderr
        assert isinstance(done.exception, SystemExit)


def test_input_as_deep_as_it_may_be_is_carried_through(echo: Path):
    """Also by a journal."""
    said = nested(DEPTH_MAX)
    done = pipeline("run", echo, stdin=said)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["steps"]["x"] == json.loads(said)
    done = pipeline("batch", echo, "--journal", echo.parent / "journal", stdin=said)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["steps"]["x"] == json.loads(said)


@pytest.mark.parametrize("command", ["run", "batch"])
def test_an_empty_name_of_the_input_is_said_so(echo: Path, command: str):
    """It is what a variable of a shell gives that is not set."""
    done = pipeline(command, echo, "-i", "")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "empty" in done.stderr


GROW = """
def f(item):
    with open(item["path"], "ab") as file:
        file.write(bytes.fromhex(item["more"]))
    return 1
"""


@pytest.mark.parametrize(("more", "why"), [(b"no JSON\n", "invalid JSON on line 2"), (b"\xff\n", "not UTF-8")])
def test_what_is_added_to_the_input_meanwhile_is_checked_too(tmp_path: Path, more: bytes, why: str):
    """With the words of the start."""
    path = folder_of(tmp_path, FN, {"steps.py": GROW})
    lines = tmp_path / "in.jsonl"
    lines.write_text(json.dumps({"id": 1, "path": str(lines), "more": more.hex()}) + "\n")
    done = pipeline("batch", path, "-w", 1, "-i", lines)
    assert done.exit_code == 1
    assert json.loads(done.stdout)["ok"] is True
    assert why in done.stderr
    assert isinstance(done.exception, SystemExit)


PRINTS = """
import threading

print("imported")

def f(item):
    print("called")
    thread = threading.Thread(target=print, args=("in a thread",))
    thread.start()
    thread.join()
    return {"n": float("nan"), "m": [float("inf"), 1.5]}
"""


@pytest.mark.parametrize("command", ["run", "batch"])
def test_stdout_has_results_and_nothing_else(tmp_path: Path, command: str):
    """What functions print goes to stderr; numbers that JSON does not have are null, and that is said."""
    done = pipeline(command, folder_of(tmp_path, FN, {"steps.py": PRINTS}), stdin='{"id": 7}\n')
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout, parse_constant=pytest.fail)["steps"] == {"x": {"n": None, "m": [None, 1.5]}}
    for said in ("imported", "called", "in a thread", "nan is written as null"):
        assert said in done.stderr


def test_what_is_printed_at_import_is_no_part_of_the_answer(tmp_path: Path):
    """Of commands that run nothing."""
    path = folder_of(tmp_path, FN, {"steps.py": PRINTS, "a.json": '{"a": 1}'})
    done = pipeline("validate", path, "--format", "json")
    assert json.loads(done.stdout)["valid"] is True
    assert "imported" in done.stderr
    (tmp_path / "steps.py").write_text(PRINTS + "# changed, so it is imported again\n")
    assert "imported" not in pipeline("schema", "infer", path, "--sample", tmp_path / "a.json").stdout


def test_ids_that_are_said_twice_or_not_at_all_are_warned_of_once(echo: Path):
    """With their numbers."""
    lines = ['{"id": 1}', '{"id": 1}', '{"id": "1"}', "{}", "", "{}", '{"id": 1}']
    done = pipeline("batch", echo, stdin="\n".join(lines))
    assert done.exit_code == 0
    warnings = [line for line in done.stderr.splitlines() if line.startswith("WARNING")]
    assert warnings == [
        "WARNING: 2 of 6 items have no 'id': they are known by their places, from 0",
        "WARNING: 2 of 6 items have the 'id' of another one",
    ]


def test_what_is_logged_for_an_item_says_for_which(tmp_path: Path):
    """In text, and as data."""
    path = folder_of(tmp_path, FN, {"steps.py": "def f(item):\n    raise OSError(f'no {item[\"id\"]}')\n"})
    said = '{"id": "a"}\n{"id": "b"}\n'
    done = pipeline("batch", path, stdin=said)
    for name in "ab":
        assert any(f"item '{name}': " in line and f"no {name}" in line for line in done.stderr.splitlines())
    done = pipeline("batch", path, "--format", "json", stdin=said)
    logged = [json.loads(line) for line in done.stderr.splitlines()]
    assert {(each["item"], f"no {each['item']}" in each["message"]) for each in logged} == {("a", True), ("b", True)}


class Record(BaseModel):
    """A value of a step."""

    score: float


class Broken:
    """Fails to say what it is."""

    def __str__(self) -> str:
        raise RuntimeError


def test_every_value_is_shown_somehow(caplog: pytest.LogCaptureFixture):
    """And a warning says which was not shown as it is."""
    endless: list[object] = []
    endless.append(endless)
    assert as_data(Record(score=math.nan), "a") == {"score": None}
    assert as_data(Broken(), "b") == "<Broken>"
    assert as_data(endless, "c") == "<list>"
    assert as_data({1: (1, True, None)}, "d") == {"1": [1, True, None]}
    assert [record.getMessage()[0] for record in caplog.records] == ["a", "b", "c"]


def test_objects_are_read_as_json_reads_them():
    """If nothing is odd."""
    said = {"a": [1, 2.5, -0.0, None, True, "\ud800"], "b": {"a": {}}}
    assert read_object(json.dumps(said), "it", "invalid") == said
    with pytest.raises(ConfigError, match="invalid: "):
        read_object("{", "it", "invalid")
