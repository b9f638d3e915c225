"""Commands that show sessions: what has happened in one, which there are, how one stands."""

from __future__ import annotations

__all__ = ["register"]

import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from fabric.cli.entry_lines import Row, render_row, row_fields, say_size
from fabric.cli.report import print_line
from fabric.cli.service import out
from fabric.cli.session_place import BucketUrl, Json, SessionId, Sessions, open_log, open_sessions, session_meant
from fabric.cli.session_table import SessionRow, render_sessions, row_of_json
from fabric.errors import ConfigError, OutputClosed
from fabric.store.log import Log, Placed
from fabric.wire.payload import encode_json

FOLLOW_S = 0.2
"""Between two looks at a log in a directory."""

FOLLOW_REMOTE_S = 2.0
"""At one in object storage, where each look is a request that is paid for."""


def register(group: typer.Typer) -> None:
    """Add the commands of this group."""
    group.command()(log)
    group.command("ls")(ls)
    group.command()(show)


# --- log --------------------------------------------------------------------------------------------------------------


def log(
    bucket: BucketUrl = None,
    session: SessionId = None,
    everything: Annotated[
        bool, typer.Option("--all", "-A", help="Also what is inherited, and the bodies: text as it is, others in short.")
    ] = False,
    control: Annotated[
        bool, typer.Option("--control", help="Also who committed what, having seen what, and attempts that failed.")
    ] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Print the log of a session, one entry a line: its place, what it is, its name and type, its size.

    With --json, bodies that -A asks for are whole: "text" if they are UTF-8, else "base64".

    Examples: fabric session log -A; fabric session log -s triage-7 --json -A | jq -r .text

    Exit codes: 0; 1 the log is damaged, or the bucket does not answer; 2 no session is meant; 7 there is no such
    session.
    """
