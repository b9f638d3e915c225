"""``.env``: environment variables of a project, in a file that is not committed.

A line is ``NAME=value``; ``export`` may stand before it. A value without quotes ends at `` #`` or at the end of its
line; one in single quotes is what stands there; in double quotes a backslash may stand before ``n t " \\ $``. One in
quotes may have several lines. Nothing is expanded: a ``$`` is a ``$``.
"""

from __future__ import annotations

__all__ = ["Variable", "find_variables", "parse_dotenv", "read_dotenv", "with_dotenv"]

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fabric.errors import ConfigError
from fabric.settings.project import project_file

_LINE = re.compile(
    r"""
    [ \t]* (?: \#[^\n]* | (?: export [ \t]+ )? (?P<name> [A-Za-z_]\w* ) [ \t]* = [ \t]* (?:
        ' (?P<literal> [^']* ) ' [ \t]* (?: \#[^\n]* )?
      | " (?P<quoted> (?: [^"\\] | \\. )* ) " [ \t]* (?: \#[^\n]* )?
      | (?P<bare> (?: (?<![ \t])\# | [^'"\s\#] ) [^\n]*? )? (?: [ \t]+ \#[^\n]* | [ \t]* )
    ) )? [ \t\r]* (?: \n | \Z )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_OFF = ("", "0", "false", "f", "no", "n", "off")
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


class Variable(NamedTuple):
    """A value, and the file and line where it stands."""

    value: str
    place: str


def find_variables(here: Path, environment: Mapping[str, str]) -> dict[str, Variable]:
    """Return the variables that hold in a directory and that its environment does not have, by name.

    They come from the file that ``FABRIC_ENV_FILE`` names, or from ``.env`` beside the settings of the project; if it
    has none, in the directory itself. With ``FABRIC_NO_DOTENV`` there are no variables.

    Raises:
        ConfigError: the file is wrong, or was named and is not there.
    """
    named = environment.get("FABRIC_ENV_FILE")
    if environment.get("FABRIC_NO_DOTENV", "").lower() not in _OFF:
        if named:
            raise ConfigError("--env-file names a file, --no-dotenv wants none: give one of them")
        return {}
    if named and not (here / named).is_file():
        raise ConfigError(f"--env-file {named}: there is no such file")
    settings = None if named else project_file(here)
    path = here / named if named else (settings.parent if settings is not None else here) / ".env"
    return {name: variable for name, variable in read_dotenv(path).items() if name not in environment}


def with_dotenv(here: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment, and below it the variables that hold in a directory; see :func:`find_variables`."""
    return {name: variable.value for name, variable in find_variables(here, environment).items()} | {**environment}


def read_dotenv(path: Path) -> dict[str, Variable]:
    """Return the variables of a file, by name; none if it is not there, or is no file.

    Raises:
        ConfigError: it cannot be read, or has a line that is none of ours.
    """
    if not path.is_file():  # a virtual environment may have that name
        return {}
    try:
        return parse_dotenv(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read {path}: it is not UTF-8 text (byte {error.start})") from None


def parse_dotenv(text: str, name: str) -> dict[str, Variable]:
    """Return the variables of a text; of a name that comes twice the last.

    Args:
        text: lines.
        name: of the file.

    Raises:
        ConfigError: a line is none of ours. It is named by its number alone: it may hold a secret.
    """
    found = {}
    at, number = 0, 1
    while at < len(text):
        line = _LINE.match(text, at)
        if line is None:
            raise ConfigError(f"{name}:{number}: expected NAME=value, with quotes that are closed, or a comment")
        if line["name"] is not None:
            found[line["name"]] = Variable(_value(line), f"{name}:{number}")
            if "\0" in found[line["name"]].value:
                raise ConfigError(f"{name}:{number}: a variable cannot have a zero byte")
        number += text.count("\n", at, line.end())
        at = line.end()
    return found


def _value(line: re.Match[str]) -> str:
    if line["quoted"] is not None:
        return re.sub(r"(?s)\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[0]), line["quoted"])
    return line["literal"] or line["bare"] or ""
