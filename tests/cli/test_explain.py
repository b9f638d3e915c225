"""``fabric explain`` as a user meets it."""

from __future__ import annotations

import json
from textwrap import dedent

import pytest

from fabric.cli.explain import explain, explanations, render
from fabric.errors import ConfigError
from fabric.lang.diagnostic import CODES


def test_an_explanation_has_both_programs(capsys):
    """Indented, each with what it gives, between the sentences."""
    explain("w110")
    assert capsys.readouterr().out == dedent("""\
        W0110 legacy_form: A binding without 'let'

        Older programs leave the word out. It means the same.

        this gives W0110:

            main : !string -> !string = agent { }

        Write `let`.

        this passes:

            let main : !string -> !string = agent { }
        """)


def test_without_a_code_all_are_listed(capsys):
    """A line each: code, word, title."""
    explain()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(CODES)
    assert lines[0] == "E0101  syntax_error           Something else was expected here"


def test_a_word_lists_its_codes(capsys):
    """If there are several; else it is explained."""
    explain("unknown_module")
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["E0204", "E0207"]
    explain("type_mismatch")
    assert capsys.readouterr().out.startswith("E0412 type_mismatch: ")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("E0431", "there is no code 'E0431'; did you mean 'E0415'?"),
        ("typ_mismatch", "there is no code 'typ_mismatch'; did you mean 'type_mismatch'?"),
        ("what", "there is no code 'what'; fabric explain lists them all"),
    ],
)
def test_what_is_no_code_is_said(code, message):
    """With the nearest one."""
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")) as caught:
        explain(code)
    assert caught.value.exit_code == 2


def test_json_has_the_parts(capsys):
    """For editors: the text as Markdown, the programs by themselves."""
    explain("E0412", "json")
    said = json.loads(capsys.readouterr().out)
    assert said["v"] == 1
    (one,) = said["explanations"]
    assert {*one} == {"code", "slug", "category", "title", "text", "fails", "passes"}
    assert (one["code"], one["slug"], one["category"]) == ("E0412", "type_mismatch", "type")


def test_text_is_filled_to_the_terminal_and_code_is_not_broken():
    """A stretch of code stays on one line; programs are left as they are."""
    text = render(explanations()["E0102"], 40, color=False)
    assert "`(* ... *)`" in text
    filled = [line for line in text.splitlines()[1:] if not line.startswith("    ")]
    assert max(map(len, filled)) <= 40


def test_colours_are_added_and_nothing_else():
    """But for the backquotes, which they stand for."""
    import re

    for explanation in explanations().values():
        coloured = re.sub(r"\x1b\[[0-9;]*m", "", render(explanation, 80, color=True))
        assert coloured == render(explanation, 80, color=False).replace("`", "")
