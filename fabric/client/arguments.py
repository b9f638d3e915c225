"""What callers may give in several forms, in one."""

from __future__ import annotations

__all__ = ["environment_of", "folders_of", "labels_of", "refuse_text"]

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from fabric.errors import RunError

_TEXT = re.compile(r"\s*(let|type|use|protocol)\s+\w+\s*(:|=)|.*\n", re.DOTALL)


def refuse_text(spec: object) -> None:
    """Refuse the text of a program where its path is meant.

    Raises:
        RunError: it is one.
    """
    if isinstance(spec, str) and _TEXT.match(spec):
        first = spec.strip().partition("\n")[0]
        raise RunError(
            f"expected the path of a program, got its text: {first[:60]!r}; write it to a file, or use"
            " fabric.dsl.read(text).call_sync(...)"
        )


def folders_of(search_path: Iterable[str | Path] | None) -> tuple[Path, ...]:
    """Return the folders of a search path, which may be a single one."""
    return tuple(map(Path, [search_path] if isinstance(search_path, str | Path) else search_path or ()))


def labels_of(extra: Iterable[str]) -> tuple[str, ...]:
    """Return names of ports, which may be a single one."""
    return (extra,) if isinstance(extra, str) else tuple(extra)


def environment_of(env: Mapping[str, str] | None) -> dict[str, str]:
    """Return the environment of this process, with what is to differ from it.

    Raises:
        RunError: a variable is no text.
    """
    for name, value in (env or {}).items():
        if not isinstance(name, str):
            raise RunError(f"env: expected names of variables as str, got {name!r}")
        if not isinstance(value, str):
            raise RunError(f"env: {name}: expected str, got {value!r} ({type(value).__name__})")
    return {**os.environ, **(env or {})}
