"""What the runbook says exists: commands, flags, alerts, settings; and units that systemd takes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from fabric.cli.app import make_app

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "deploy/RUNBOOK.md").read_text()
UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))


def said(program: str) -> list[list[str]]:
    """Return the commands that stand in the runbook, as words."""
    found = re.findall(rf"`([^`]*\b{program} [a-z][^`]*)`", RUNBOOK.replace("\n", " "))
    return [part.split()[1:] for text in found for part in re.findall(rf"\b{program} [^`;,]*", text)]


def test_every_command_of_ours_exists_with_its_flags():
    """Whoever reads it at night copies it."""
    commands = said("fabric")
    assert len(commands) > 20
    app: Any = typer.main.get_command(make_app(None))
    for words in commands:
        found = app
        rest = list(words)
        while hasattr(found, "commands"):
            name = rest.pop(0)
            assert name in found.commands, words
            found = found.commands[name]
        flags = {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in rest if word.startswith("-") and word != "--"} <= flags, words


def test_each_alert_has_its_line():
    """The rules say that the runbook tells what to do."""
    rules = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    assert re.findall(r"^\| (Fabric\w+) \|", RUNBOOK, re.MULTILINE) == alerts


def test_what_it_refers_to_is_there():
    """Sections in quotes, and files."""
    sections = re.findall(r"^## (.*)$", RUNBOOK, re.MULTILINE)
    assert set(re.findall(r'"([A-Z][a-z ]+)"', RUNBOOK)) <= set(sections)
    for path in re.findall(r"`(deploy/[^`]+)`", RUNBOOK):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_takes_the_units(unit: Path, tmp_path: Path):
    """Every key is known. That the programs are not installed here is no mistake of the unit's."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze (apt-get install systemd)")
    name = unit.name.replace("@", "@one")
    (tmp_path / name).write_text(unit.read_text())
    done = subprocess.run(["systemd-analyze", "verify", tmp_path / name], capture_output=True, text=True, timeout=60)
    ours = [line for line in done.stderr.splitlines() if name in line and "is not executable" not in line]
    assert ours == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_units_are_hardened(unit: Path):
    """As the containers are."""
    lines = set(unit.read_text().splitlines())
    assert {
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=",
        "Restart=on-failure",
        "PrivateTmp=yes",
    } <= lines
    assert len(UNITS) == 2
