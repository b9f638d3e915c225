"""Commands about what is stored of sessions: to check it, to make it small, to take it elsewhere, to let it go."""

from __future__ import annotations

__all__ = ["register"]

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from fabric.cli.entry_lines import escape, say_size
from fabric.cli.report import count_of, print_error, print_line
from fabric.cli.service import out
from fabric.cli.session_place import (
    BucketUrl,
    DryRun,
    Json,
    SessionId,
    Sessions,
    open_in,
    open_log,
    open_sessions,
    session_meant,
)
from fabric.errors import ConfigError, LogDamaged, OutputClosed
from fabric.settings import forget_current, read_duration
from fabric.store.archive import read_archive, write_archive
from fabric.wire.payload import encode_json


def register(group: typer.Typer) -> None:
    """Add the commands of this group."""
    group.command()(compact)
    group.command()(verify)
    group.command()(export)
    group.command("import")(import_)
    group.command()(gc)
    group.command()(delete)
