"""What callers ask for, and what it comes to. No process is started."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pydantic
import pytest

import fabric
from fabric.client.preparing import Asked, as_json, asked, prepare, read_input
from fabric.errors import ConfigError
from fabric.lang.diagnostic import Diagnostic
from fabric.wire.payload import JSON, decode_json

PARTS = "let more : !int -> !int = id\n"

MAIN = """
use parts
use "beside.plumb"
let said : !string -> !string = agent { provider: "eliza", model: "doctor", prompts: ["shared.md"], tools: [Fs.read] }
let main : !int -> !int = plumb(input, output) { input ; Parts.more ; Beside.more ; output }
use fs
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that this process works in, with a program in a folder below it."""
    project = tmp_path / "project"
    for name in ("below", "modules", "papers", "documents"):
        (project / name).mkdir(parents=True)
    (project / "below" / "main.plumb").write_text(MAIN)
    (project / "below" / "beside.plumb").write_text(PARTS)
    (project / "modules" / "parts.plumb").write_text(PARTS)
    (project / "papers" / "shared.md").write_text("Be kind.")
    monkeypatch.chdir(project)
    return project


def ask(spec: str = "below/main.plumb", folders: tuple[str, ...] = (), **env: str) -> Asked:
    return asked(spec, auto_approve=False, search_path=folders, env=env, approves=False)


def ignore(diagnostic: Diagnostic) -> None:
    """What is remarked does not matter here."""


@pytest.mark.parametrize(("folders", "path"), [(("modules",), ""), ((), "modules")])
def test_paths_are_relative_to_where_the_caller_was_when_he_asked(
    folders: tuple[str, ...], path: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of the program, of what it uses, of its prompts, of the file tools: the process may be elsewhere by now."""
    wanted = ask(folders=folders, PLUMB_PATH=path, PLUMB_RESOURCES="papers", FABRIC_DOCROOT="documents")
    monkeypatch.chdir(tmp_path)
    program = prepare(wanted, ignore)
    assert program.compiled.module.source.path == "below/main.plumb"
    plan, _ = program.plan(wanted, str(tmp_path))
    assert plan.path == str(project / "below" / "main.plumb")


def test_what_is_wrong_is_shown_by_the_name_that_was_written(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Not by that of another folder."""
    wanted, nowhere = ask(), ask("nowhere.plumb")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(fabric.CheckError) as caught:
        prepare(wanted, ignore)
    assert "below/main.plumb:2:1" in str(caught.value)
    assert str(project) not in str(caught.value)
    with pytest.raises(ConfigError, match=r"cannot read nowhere\.plumb"):
        prepare(nowhere, ignore)


class Model(pydantic.BaseModel):
    number: int = pydantic.Field(serialization_alias="no")


@dataclasses.dataclass
class Held:
    inner: Any


class Kept(msgspec.Struct):
    inner: Any


def read(value: Any) -> Any:
    """Return a message as a program gets it."""
    name, payload = read_input({"input": JSON}, value, None)
    assert (name, as_json("input", value)) == ("input", payload)
    return decode_json(payload)


@pytest.mark.parametrize("wrap", [lambda inner: inner, Held, Kept, lambda inner: [{"inner": Held((inner,))}]])
def test_a_message_may_be_made_of_models_dataclasses_and_structs(wrap: Callable[[Any], Any]):
    """Whichever is in whichever."""
    assert read(wrap(Model(number=1))) == decode_json(msgspec.json.encode(wrap({"no": 1})))


def cycle() -> list[Any]:
    value: list[Any] = []
    value.append({"again": value})
    return value


def mutual() -> Held:
    held = Held(None)
    held.inner = Kept([held])
    return held


@pytest.mark.parametrize("value", [cycle(), mutual(), Held(cycle())], ids=["list", "objects", "both"])
def test_a_value_that_contains_itself_is_no_message(value: Any):
    """It is told so, with or without a type."""
    for say in (lambda: read_input({"input": JSON}, value, None), lambda: as_json("input", value)):
        with pytest.raises(fabric.PipelineError, match="nested too deeply, or contains itself") as caught:
            say()
        assert caught.value.code == "input_type_mismatch"


@pytest.mark.parametrize("wrap", [lambda inner: [inner], Held, Kept, lambda inner: Held({"x": Kept(inner)})])
def test_what_is_no_number_is_no_message_wherever_it_is(wrap: Callable[[Any], Any]):
    """JSON has no word for it, and ``null`` is another value."""
    with pytest.raises(fabric.PipelineError, match="NaN and infinity are no numbers"):
        read(wrap(float("nan")))
    assert read(wrap(None)) == decode_json(msgspec.json.encode(wrap(None)))
