"""``fabric diff`` as a user meets it."""

from __future__ import annotations

import json

import pytest
import typer

from fabric.cli.diff import diff
from fabric.errors import CheckError, ConfigError

DOUBLE = "let main : !int -> !int = map(value * 2)\n"
TRIPLE = "let main : !int -> !int = map(value * 3)\n"


@pytest.fixture
def pair(tmp_path):
    """Two files to be written."""
    return tmp_path / "a.plumb", tmp_path / "b.plumb"


def test_the_same_is_said_and_succeeds(pair, capsys):
    """Exit code 0."""
    pair[0].write_text(DOUBLE)
    pair[1].write_text("(* twice *)\n" + DOUBLE)
    diff(*pair)
    assert capsys.readouterr().out == "no differences in meaning\n"
    diff(*pair, output="json")
    assert json.loads(capsys.readouterr().out) == {"v": 1, "same": True, "changes": []}


def test_differences_are_listed_and_fail(pair, capsys):
    """Exit code 8, which `replay` and `fmt --check` have as well."""
    pair[0].write_text(DOUBLE)
    pair[1].write_text(TRIPLE)
    for output, expected in (
        ("text", "main: map(value * 2) -> map(value * 3)\n"),
        (
            "json",
            '{"v":1,"same":false,"changes":[{"kind":"expression_changed","subject":"main","text":"main: map(value * 2)'
            ' -> map(value * 3)","old":"map(value * 2)","new":"map(value * 3)"}]}\n',
        ),
    ):
        with pytest.raises(typer.Exit) as end:
            diff(*pair, output=output)
        assert end.value.exit_code == 8
        assert capsys.readouterr().out == expected


def test_a_program_that_does_not_check_is_not_compared(pair):
    """Its diagnostics are shown instead, with exit code 2."""
    pair[0].write_text(DOUBLE)
    pair[1].write_text("let main : !int -> !string = map(value)\n")
    with pytest.raises(CheckError) as caught:
        diff(*pair)
    assert [diagnostic.code for diagnostic in caught.value.diagnostics] == ["E0412"]
    with pytest.raises(ConfigError, match="--format yaml: expected text or json"):
        diff(*pair, output="yaml")
