"""Sessions written down: what one is told, and below each event what it answers. See tests/sessions/README.md.

.venv/bin/python tests/support/transcripts.py                 # write what the sessions answer now, to be reviewed
"""

from __future__ import annotations

__all__ = ["TRANSCRIPTS", "replayed"]

import json
import random
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from plans import plan_of

from fabric.session.events import Command, Note
from fabric.session.session import Session
from fabric.session.settings import Settings
from fabric.testing.transcript import read_event, written_command

TRANSCRIPTS = sorted((Path(__file__).parents[1] / "sessions").glob("*.txt"))

INDENT = "  "


def replayed(text: str) -> str:
    """Return a transcript with what the session answers now, instead of what stands there."""
    return "\n".join(_replayed(text.splitlines())) + "\n"


def _replayed(lines: list[str]) -> Iterator[str]:
    """Yield lines. Those that are indented below an event are the session's; all others are kept."""
    settings, program = Settings(), []
    session = None
    for line in lines:
        if session is None and line.startswith(INDENT):
            program.append(line)
        elif line.startswith(INDENT):
            continue
        elif line.startswith("settings "):
            settings = _settings(line)
        elif line and line[0].isdigit():
            if session is None:
                session = Session(plan_of("\n".join(program)), settings, random.Random(1))
            yield line
            now_s, event = read_event(line)
            welcome = session.wants_input
            yield from _shown(session.handle(event, now_s))
            if session.wants_input != welcome:
                yield f"{INDENT}input is {'not ' if welcome else ''}welcome"
            assert not session.has_work, f"it has not done all that follows from: {line}"
            continue
        yield line


def _settings(line: str) -> Settings:
    fields = {}
    for name, value in re.findall(r"(\w+)=(\S+)", line):
        fields[name] = json.loads(value)
    return msgspec.convert(fields, Settings)


def _shown(commands: Iterable[Command]) -> Iterator[str]:
    """Yield commands; what only somebody who looks for a bug wants to see is left out."""
    for command in commands:
        if not (isinstance(command, Note) and command.level == "debug"):
            yield INDENT + written_command(command)


if __name__ == "__main__":
    for path in TRANSCRIPTS:
        before = path.read_text(encoding="utf-8")
        after = replayed(before)
        if before != after:
            path.write_text(after, encoding="utf-8")
            sys.stdout.write(f"rewritten: {path}\n")
