"""``.env``: what a line may be, and what it may not."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.errors import ConfigError
from fabric.settings import Variable, parse_dotenv, read_dotenv


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=b", "b"), ("export A=b", "b"), ("  A = b c  ", "b c"), ("A=", ""), ("A= # none", ""), ("A=b # c", "b"),
        ("A=b#c", "b#c"), ("A=#fff", "#fff"), ("A='b # c' # d", "b # c"), ("A='$B \\n'", "$B \\n"), ("A=$B", "$B"),
        (r'A="b\tc\n\"d\" \\ \$E \x"', 'b\tc\n"d" \\ $E \\x'), ('A="-----\nkey\n-----"', "-----\nkey\n-----"),
        ("A=b\r\n", "b"), ("\n# comment\n\nA=b", "b"), ("A=it's", "it's"), ("A=1\nA=2", "2"), ("A=''", ""),
    ],
)  # fmt: skip
def test_a_value_is_what_is_written(text: str, value: str):
    """Nothing is expanded."""
    assert {name: found.value for name, found in parse_dotenv(text, ".env").items()} == {"A": value}


@pytest.mark.parametrize(
    ("text", "line"),
    [("A", 1), ("A=1\nB C=2", 2), ("1A=2", 1), ("\n\nA='b", 3), ('A="b" c', 1), ("A=b\nexport B", 2), ("A-B=1", 1),
     ("A=1\nB='2\n3'\n= 4", 4), ("A='\0'", 1)],
)  # fmt: skip
def test_what_is_no_line_is_told_by_its_number_alone(text: str, line: int):
    """It may hold a secret."""
    wrong = "a variable cannot have a zero byte"
    with pytest.raises(ConfigError) as raised:
        parse_dotenv(text, ".env")
    if "\0" not in text:
        wrong = "expected NAME=value, with quotes that are closed, or a comment"
    assert str(raised.value) == f".env:{line}: {wrong}"


def test_every_variable_has_its_place():
    """Behind values of several lines, too."""
    found = parse_dotenv("A='1\n2'\n# no\nB=3\n", "x/.env")
    assert found == {"A": Variable("1\n2", "x/.env:1"), "B": Variable("3", "x/.env:4")}


@given(st.text(st.characters(exclude_characters="\0'\r", exclude_categories=["Cs"]), max_size=40))
def test_whatever_a_shell_quotes_is_read_back(value: str):
    """In single quotes; without them, if it needs none."""
    quoted = shlex.quote(value)
    assert parse_dotenv(f"export A={quoted} # end\n", ".env")["A"].value == value


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str):
    """With a ConfigError, and in no time."""
    try:
        found = parse_dotenv(text, ".env")
    except ConfigError:
        return
    assert all(name.isidentifier() for name in found)


def test_a_folder_of_that_name_and_no_file_say_nothing(tmp_path: Path):
    """Virtual environments are called so."""
    assert read_dotenv(tmp_path / ".env") == {}
    (tmp_path / ".env").mkdir()
    assert read_dotenv(tmp_path / ".env") == {}


def test_what_is_no_text_is_refused(tmp_path: Path):
    """With the byte where that shows."""
    (tmp_path / ".env").write_bytes(b"A=\xff")
    with pytest.raises(ConfigError, match="it is not UTF-8 text"):
        read_dotenv(tmp_path / ".env")
