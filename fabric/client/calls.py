"""The functions by which a program is called."""

from __future__ import annotations

__all__ = ["call", "call_sync", "connect", "run"]

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fabric.client.pipeline import Pipeline
from fabric.client.results import Spec


async def call(
    spec: Spec,
    input: Any,  # noqa: A002
    auto_approve: bool = False,
    search_path: Iterable[str | Path] | None = None,
    binary: str | None = None,
    env: Mapping[str, str] | None = None,
) -> list[Any]:
    """Run a program on one message and return all outputs."""
    raise NotImplementedError


def call_sync(
    spec: Spec,
    input: Any,  # noqa: A002
    auto_approve: bool = False,
    search_path: Iterable[str | Path] | None = None,
    binary: str | None = None,
    env: Mapping[str, str] | None = None,
) -> list[Any]:
    """Do as :func:`call`, and wait for it."""
    raise NotImplementedError


async def run(
    spec: Spec,
    auto_approve: bool = False,
    verbose: bool = True,
    search_path: Iterable[str | Path] | None = None,
    binary: str | None = None,
    env: Mapping[str, str] | None = None,
    *,
    extra: Iterable[str] = (),
) -> Pipeline:
    """Start a program and return it, ready to be sent messages."""
    raise NotImplementedError


async def connect(project: str | None = None) -> Pipeline:
    """Join a running service."""
    raise NotImplementedError
