"""Files with what a run gave."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from fabric.pipelines.results import RunContext
from fabric.pipelines.runner import PipelineRunner

TEXT = """
models: {m: {provider: mock, model: mm, response: '{"a": 9}'}}
outputs: {dir: "{{ ctx.dir }}", final_as: last.yaml}
steps:
  - {name: a, model: m, prompt: p.j2, schema: {a: int}}
  - {name: b, type: transform, fn: "counted_items:refuse", inputs: {n: 4}, save: deep/b.json}
  - {name: c, type: transform, fn: "counted_items:refuse", inputs: {n: 5}, save: false}
  - {name: d, type: transform, fn: "counted_items:refuse", inputs: {n: 5}, condition: "False"}
  - {name: e, type: ensemble, prompt: p.j2, schema: {a: int}, members: [{model: m, name: one}], condition: "ctx.ask"}
"""


def run(path: Path, given: dict[str, Any], text: str = TEXT, **options: Any) -> RunContext:
    (path / "p.j2").write_text("hi")
    (path / "pipeline.yaml").write_text(text)
    return PipelineRunner(path / "pipeline.yaml").run({"dir": str(path / "out"), **given}, **options)


def files(path: Path) -> dict[str, Any]:
    root = path / "out"
    return {str(file.relative_to(root)): yaml.safe_load(file.read_text()) for file in root.rglob("*") if file.is_file()}


def test_each_step_with_a_value_has_a_file(tmp_path: Path) -> None:
    """By its name, or as it says; and the last value as the file says. Nothing else is left there."""
    run(tmp_path, {})
    assert files(tmp_path) == {"a.json": {"a": 9}, "deep/b.json": 4, "last.yaml": 5}
    assert json.loads((tmp_path / "out/a.json").read_text()) == {"a": 9}


def test_members_of_ensembles_have_files(tmp_path: Path) -> None:
    """Beside that of the ensemble."""
    run(tmp_path, {"ask": True})
    assert files(tmp_path).keys() == {"a.json", "deep/b.json", "e.json", "e.one.json", "last.yaml"}


def test_the_input_may_ask_for_yaml(tmp_path: Path) -> None:
    """For names that we give; those of the file say it by their ends."""
    run(tmp_path, {"_output_format": "yaml"})
    assert (tmp_path / "out/a.yaml").read_text() == "a: 9\n"
    assert (tmp_path / "out/deep/b.json").exists()


def test_no_files_of_a_dry_run_or_of_one_that_failed(tmp_path: Path) -> None:
    """Nor a directory."""
    run(tmp_path, {}, dry_run=True)
    run(tmp_path, {}, TEXT.replace("inputs: {n: 5}, save", "inputs: {n: 3}, save"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../evil.json", "/tmp/evil.json", "link/evil.json", ".", "x\0y"])
def test_files_stay_below_the_directory(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    """Whatever a name says, and wherever a link leads; the others are written."""
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out/link").symlink_to(tmp_path / "elsewhere")
    context = run(tmp_path, {}, TEXT.replace("deep/b.json", json.dumps(name)))
    assert not context.failed
    assert files(tmp_path) == {"a.json": {"a": 9}, "last.yaml": 5}
    assert not list((tmp_path / "elsewhere").iterdir())
    assert "of step 'b' was not written" in caplog.text


def test_a_directory_without_a_value_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The run has not failed."""
    assert not run(tmp_path, {"dir": None}).failed
    assert "no outputs were written: 'outputs.dir' has no value for this input" in caplog.text
    (tmp_path / "file").write_text("")
    assert not run(tmp_path, {"dir": str(tmp_path / "file")}).failed
    assert caplog.text.count("no outputs were written") == 2


def test_two_with_one_name_are_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The later one is there."""
    run(tmp_path, {}, TEXT.replace("deep/b.json", "a.json"))
    assert files(tmp_path) == {"a.json": 4, "last.yaml": 5}
    assert "of step 'b' replaces that of step 'a'" in caplog.text


def test_whatever_a_value_raises_is_a_warning(tmp_path: Path) -> None:
    """Values are of classes of the user's: the run has not failed, the other files are there, and a warning says it."""
    (tmp_path / "odd.py").write_text(
        "class Odd:\n"
        "    def __str__(self): raise RuntimeError('no text')\n"
        "    @property\n"
        "    def where(self): raise RuntimeError('no place')\n"
        "def odd(): return Odd()\n"
    )
    text = TEXT.replace('"counted_items:refuse", inputs: {n: 4}', '"odd:odd"')
    context = run(tmp_path, {}, text)
    assert not context.failed
    assert files(tmp_path) == {"a.json": {"a": 9}, "last.yaml": 5}
    (warning,) = context.summary().validation_warnings
    assert warning.startswith("output 'deep/b.json' of step 'b' was not written: ")
    assert warning.endswith("no text")
    context = run(tmp_path, {}, text.replace("ctx.dir", "steps.b.where"))
    (warning,) = context.summary().validation_warnings
    assert warning.startswith("no outputs were written: ")
    assert warning.endswith("no place")


@pytest.mark.parametrize(("value", "why"), [("../../evil", "would leave its directory"), (None, "has no value")])
def test_values_stay_in_the_directory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, value: object, why: str
) -> None:
    """What the file says in front of them is not left, and is not the directory itself."""
    text = TEXT.replace("{{ ctx.dir }}", "{{ ctx.dir }}/deep/{{ ctx.id }}")
    assert not run(tmp_path, {"id": value}, text).failed
    assert f"no outputs were written: 'outputs.dir' {why} for this input: " in caplog.text
    assert not (tmp_path / "out").exists()
    run(tmp_path, {"id": "one"}, text)
    assert (tmp_path / "out/deep/one/a.json").exists()
