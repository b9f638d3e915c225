"""What the README shows is what happens."""

from __future__ import annotations

from pathlib import Path

from fabric.lang.check import check_source
from fabric.lang.diagnostic import render_all
from fabric.lang.source import Source

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return [part.split("```")[0] for part in README.split(f"```{language}\n")[1:]]


def test_the_program_is_the_one_of_the_example():
    """Comments aside."""
    text = (ROOT / "compose/hello/main.plumb").read_text()
    assert blocks("plumb") == [text.split("*)\n\n")[1]]


def test_the_broken_program_gives_the_diagnostic():
    """To the letter."""
    path = "compose/hello/main.plumb"
    broken = (ROOT / path).read_text().replace("!string -> !string = agent", "!string -> !int = agent")
    module, diagnostics = check_source(Source(path, broken))
    assert module is None
    assert render_all(diagnostics) == blocks("text")[0].strip()


def test_each_of_the_two_commands_stands_on_one_line():
    """The checks take them from here."""
    commands = [line for line in README.splitlines() if line.startswith("python3 -m venv ")]
    assert ["fabric run" in commands[0], "pytest" in commands[1], len(commands)] == [True, True, 2]
