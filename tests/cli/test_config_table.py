"""Every setting, its value and its origin."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.main import get_command

import fabric
from fabric.cli.app import make_app
from fabric.cli.config_table import SETTINGS, Row, Sources, render_rows, settle
from fabric.settings import ProjectSettings, Variable, locate_keys, read_settings
from fabric.wire.payload import encode_json

NOTHING = Sources({}, {}, ProjectSettings(), {}, {})
README = (Path(fabric.__file__).parents[1] / "README.md").read_text()


def row(name: str, sources: Sources) -> Row:
    (found,) = [row for row in settle(sources) if row.name == name]
    return found


def variables_of(command: Any) -> set[str]:
    own = {option.envvar for option in command.params if option.envvar}
    return own.union(*(variables_of(inner) for inner in getattr(command, "commands", {}).values()))


def test_every_variable_of_a_flag_is_a_setting():
    """Of all commands."""
    found = variables_of(get_command(make_app(None)))
    assert len(found) >= 17
    assert found <= {setting.variable for setting in SETTINGS}


def test_every_key_of_a_file_is_a_setting(tmp_path: Path):
    """The README's example has them all."""
    path = tmp_path / "fabric.toml"
    example = re.search(r"## fabric\.toml\n.*?```toml\n(.*?)```", README, re.DOTALL)
    assert example is not None
    path.write_text(example[1])
    keys = locate_keys(path)
    rows = {row.name: row for row in settle(Sources({}, {}, read_settings(tmp_path), keys, {}))}
    assert {name for name, row in rows.items() if row.source == "project"} == set(keys)
    assert {row.place for row in rows.values() if row.source == "project"} == set(keys.values())


@pytest.mark.parametrize("level", range(5))
def test_what_is_said_higher_wins(level: int):
    """A variable of the environment, one of .env, the project, the user, the default."""
    settings = ProjectSettings(grace_s=3.0) if level <= 3 else ProjectSettings()
    project, user = {"run.grace": "fabric.toml:2"}, {"run.grace": "config.toml:1"}
    sources = Sources(
        {"FABRIC_GRACE": "5"} if level <= 1 else {},
        {"FABRIC_GRACE": Variable("5", ".env:1")} if level == 1 else {},
        settings,
        project if level <= 2 else {},
        user if level <= 3 else {},
    )
    expected = [
        Row("run.grace", 5.0, "environment", "FABRIC_GRACE"),
        Row("run.grace", 5.0, "dotenv", "FABRIC_GRACE, .env:1"),
        Row("run.grace", 3.0, "project", "fabric.toml:2"),
        Row("run.grace", 3.0, "user", "config.toml:1"),
        Row("run.grace", 10.0, "default"),
    ]
    assert row("run.grace", sources) == expected[level]


def test_an_empty_variable_counts_as_none():
    """As for the flags."""
    assert row("run.grace", NOTHING._replace(environment={"FABRIC_GRACE": ""})).source == "default"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("FABRIC_GRACE", "soon"), ("FABRIC_GRACE", "-1"), ("FABRIC_GRACE", "nan"), ("FABRIC_RESTARTS", "1.5"),
        ("FABRIC_BUDGET_USD", "0"), ("FABRIC_BUDGET_TOKENS", "0"), ("FABRIC_MAX_TIME", "soon"),
        ("FABRIC_COLOR", "red"), ("FABRIC_AUTO_APPROVE", "perhaps"),
    ],
)  # fmt: skip
def test_what_a_variable_cannot_mean_is_told(name: str, text: str):
    """Beside the text that it has."""
    (setting,) = [setting for setting in SETTINGS if setting.variable == name]
    found = row(setting.name, NOTHING._replace(environment={name: text}))
    assert (found.value, bool(found.error)) == (text, True)
    assert f"✘ {found.error}" in render_rows([found], "/", origin=False)[0]


def test_no_secret_is_shown():
    """Neither a key nor the password of a server."""
    environment = dict.fromkeys(("ANTHROPIC_API_KEY", "OPENAI_API_KEY"), "hunter2")
    environment["PLUMB_ENDPOINT"] = "https://me:hunt@er2@host:1/v1"
    dotenv = {"OPENAI_API_KEY": Variable("hunter2", ".env:1")}
    rows = list(settle(NOTHING._replace(environment=environment, dotenv=dotenv)))
    shown = "\n".join(render_rows(rows, "/", origin=True))
    assert "er2" not in shown + msgspec.json.encode(rows).decode()
    assert [line.split() for line in shown.splitlines() if "API_KEY " in line] == [
        ["ANTHROPIC_API_KEY", "set", "ANTHROPIC_API_KEY"],
        ["OPENAI_API_KEY", "set", "OPENAI_API_KEY,", ".env:1"],
    ]
    assert row("PLUMB_ENDPOINT", NOTHING._replace(environment=environment)).value == "https://[password]@host:1/v1"


def test_the_projects_model_is_not_taken_with_another_provider():
    """Whoever names a provider in the environment gets its own."""
    settings = ProjectSettings(provider="eliza", model="doctor")
    keys = {"defaults.provider": "f:1", "defaults.model": "f:2"}
    sources = NOTHING._replace(settings=settings, project=keys)
    assert row("defaults.model", sources).value == "doctor"
    assert row("defaults.model", sources._replace(environment={"PLUMB_PROVIDER": "openai"})).value is None


def test_a_line_for_each_setting():
    """What nobody says is a dash; files in the folder are named as seen from there."""
    rows = [
        Row("run.grace", 10.0, "default"),
        Row("limits.usd", None, "default"),
        Row("spec", "a.plumb", "project", "/here/fabric.toml:1"),
        Row("FABRIC_AUTO_APPROVE", True, "environment", "FABRIC_AUTO_APPROVE"),
        Row("PLUMB_PATH", "a\x1b[1m", "environment", "PLUMB_PATH"),
    ]
    assert render_rows(rows, "/here", origin=True) == [
        "run.grace            10       default",
        "limits.usd           -",
        "spec                 a.plumb  fabric.toml:1",
        "FABRIC_AUTO_APPROVE  yes      FABRIC_AUTO_APPROVE",
        "PLUMB_PATH           a?[1m    PLUMB_PATH",
    ]
    assert render_rows(rows[:1], "/here", origin=False) == ["run.grace  10"]


def test_every_setting_of_a_file_can_be_said_in_json(tmp_path: Path):
    """Durations and prices are numbers there."""
    text = re.findall(r"## fabric\.toml\n.*?```toml\n(.*?)```", README, re.DOTALL)[0]
    (tmp_path / "fabric.toml").write_text(text)
    keys = locate_keys(tmp_path / "fabric.toml")
    rows = list(settle(NOTHING._replace(settings=read_settings(tmp_path), project=keys)))
    said = {row["name"]: row.get("value") for row in msgspec.json.decode(encode_json(rows))}
    assert (said["prices.my-model.input"], said["run.stall"], said["limits.wall"]) == (1.0, 60.0, 1200.0)
