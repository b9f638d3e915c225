"""A project's settings: ``fabric.toml``, or ``[tool.fabric]`` in ``pyproject.toml``.

What a flag or an environment variable says wins over them, and they win over the defaults.
"""

from __future__ import annotations

__all__ = ["ProjectSettings", "read_settings"]

import difflib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from fabric.errors import ConfigError


class ProjectSettings(msgspec.Struct, frozen=True):
    """What a project says. ``None`` is what it does not say.

    Attributes:
        spec: its program.
        launch: how Python workers are started: forked from a preloaded process (``zygote``), or one by one (``spawn``).
        provider, model: for agents that do not say theirs.
        ready_timeout_s: until every worker has to be ready.
        grace_s: of silence, before a worker that should end is ended.
    """

    spec: Path | None = None
    launch: Literal["zygote", "spawn"] = "zygote"
    provider: str | None = None
    model: str | None = None
    ready_timeout_s: float | None = None
    grace_s: float | None = None

    def choose_model(self, provider: str | None, model: str | None) -> tuple[str | None, str | None]:
        """Return provider and model of agents that do not say theirs.

        Args:
            provider, model: what a flag or a variable says, which wins. The project's model belongs to its provider, if
                it names one: it is not combined with another.
        """
        if provider and self.provider not in (None, provider):
            return provider, model
        return provider or self.provider, model or self.model


class _Defaults(msgspec.Struct):
    provider: Annotated[str, Meta(min_length=1)] | None = None
    model: Annotated[str, Meta(min_length=1)] | None = None


class _Run(msgspec.Struct):
    launch: Literal["zygote", "spawn"] | None = None
    ready_timeout: Annotated[float, Meta(ge=0.1)] | None = None
    grace: Annotated[float, Meta(ge=0)] | None = None


class _File(msgspec.Struct):
    """The keys, as written."""

    spec: Annotated[str, Meta(min_length=1)] | None = None
    launch: Literal["zygote", "spawn"] | None = None
    defaults: _Defaults = msgspec.field(default_factory=_Defaults)
    run: _Run = msgspec.field(default_factory=_Run)


_TABLES: dict[str, type[msgspec.Struct]] = {"": _File, "defaults": _Defaults, "run": _Run}


def read_settings(here: Path) -> ProjectSettings:
    """Return the settings of the project that a directory belongs to: of the nearest file in it or above it.

    In one directory ``fabric.toml`` wins over ``pyproject.toml``.

    Raises:
        ConfigError: the file cannot be read, or says what cannot be meant.
    """
    for directory in (here, *here.parents):
        for name in ("fabric.toml", "pyproject.toml"):
            found = _read(directory / name)
            if found is not None:
                return found
    return ProjectSettings()


def _read(path: Path) -> ProjectSettings | None:
    """Return what a file says; ``None`` if there is none, or it is a ``pyproject.toml`` that does not speak of us."""
    try:
        text = path.read_text(encoding="utf-8")
        said: Any = tomllib.loads(text)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # ValueError: it is no UTF-8, or no TOML
        if path.name == "pyproject.toml":  # other tools complain of it
            return None
        raise ConfigError(_complaint(path, error)) from None
    prefix = ""
    if path.name == "pyproject.toml":
        prefix = "tool.fabric."
        for key in ("tool", "tool.fabric"):
            said = said.get(key.removeprefix("tool."))
            if said is None:
                return None
            if not isinstance(said, dict):
                raise ConfigError(f"{_place(path, text, key)}: {key}: expected object, got {type(said).__name__}")
    for key, message in _unknown(said):
        raise ConfigError(f"{_place(path, text, prefix + key)}: {message}")
    try:
        file = msgspec.convert(said, _File)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$.")
        key = where.rstrip("`")
        if message.startswith("Invalid enum value"):
            message = f'expected "zygote" or "spawn", got{message.removeprefix("Invalid enum value")}'
        message = message.replace("Expected", "expected").replace(" | null", "").replace("`", "")
        raise ConfigError(f"{_place(path, text, prefix + key)}: {prefix}{key}: {message}") from None
    if file.launch is not None and file.run.launch is not None:
        raise ConfigError(f"{_place(path, text, prefix + 'run.launch')}: launch is given twice, here and at the top")
    return ProjectSettings(
        spec=path.parent / file.spec if file.spec is not None else None,
        launch=file.launch or file.run.launch or "zygote",
        provider=file.defaults.provider,
        model=file.defaults.model,
        ready_timeout_s=file.run.ready_timeout,
        grace_s=file.run.grace,
    )


def _complaint(path: Path, error: OSError | ValueError) -> str:
    match error:
        case OSError():
            return f"cannot read {path}: {error.strerror}"
        case UnicodeDecodeError():
            return f"cannot read {path}: it is not UTF-8 text (byte {error.start})"
    return f"{path}: {error}"


def _unknown(said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each key that is none of ours, dotted, and what is to be said of it."""
    for table, struct in _TABLES.items():
        keys = said if table == "" else said.get(table)
        known = struct.__struct_fields__
        for key in keys if isinstance(keys, dict) else ():
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(known)}"
                yield f"{table}.{key}".removeprefix("."), f"unknown key {key!r}; {hint}"


def _place(path: Path, text: str, key: str) -> str:
    """Say where a key is: file and line; the file alone if it is not written plainly.

    The reader of TOML does not tell, so the lines are looked through for the table and then for the key.
    """
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line)
        if header:
            table = header[1]
            if table == key:
                return f"{path}:{number}"
        named = re.match(r"\s*([\w.\-\"']+)\s*=", line)
        if named and ".".join(filter(None, [table, named[1].strip("\"'")])) == key:
            return f"{path}:{number}"
    return str(path)
