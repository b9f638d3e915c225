"""A pipeline's file as a drawing: what stands in it, with variables put in, without importing or checking anything.

A file is drawn also where its functions and schemas cannot be imported. Of an expression or a template that cannot be
read, what it reads is not known: that is a note.
"""

from __future__ import annotations

__all__ = ["Drawn", "drawn_steps"]

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fabric.pipelines.errors import PipelineLoadError
from fabric.pipelines.expressions.expression import StepRead, bind, parse_expression
from fabric.pipelines.loading.document import is_file
from fabric.pipelines.prompt import load_prompt, parse_prompt

_EXPRESSIONS = ("condition", "if")
_VALUES = ("inputs", "vars", "url", "method", "headers", "params", "body")
_TEMPLATES = ("prompt", "system", "error_template")


class Drawn(msgspec.Struct, frozen=True):
    """A step.

    Attributes:
        name, kind: as the file says them; a member of an ensemble is named ``ens.member``.
        notes: a line each: its model, its schema, its function.
        reads: of itself, not of the steps in it.
        rows: the steps in it: one row for a parallel step; ``then`` and ``else`` for a condition; members and judge.
        unread: why something that it reads is not known, a line each.
    """

    name: str
    kind: str
    notes: tuple[str, ...] = ()
    reads: tuple[StepRead, ...] = ()
    rows: tuple[tuple[str, tuple[Drawn, ...]], ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def inner(self) -> Iterator[Drawn]:
        """The steps in it, and in those."""
        for _label, row in self.rows:
            for step in row:
                yield step
                yield from step.inner


def drawn_steps(data: Any, root: Path) -> tuple[Drawn, ...]:
    """Return the steps of a file.

    Args:
        data: what the file has.
        root: its directory.

    Raises:
        PipelineLoadError: these are no steps.
    """
    if data is None:
        return ()
    if not isinstance(data, Mapping):
        raise PipelineLoadError("a pipeline is a map")
    return _row(data.get("steps"), root, "steps")


def _row(data: Any, root: Path, key_path: str) -> tuple[Drawn, ...]:
    if data is None:
        return ()
    items = data if isinstance(data, list) else [data]
    for number, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise PipelineLoadError("a step is a map", key_path=f"{key_path}[{number}]")
    return tuple(_step(item, root, f"{key_path}[{number}]") for number, item in enumerate(items))


def _step(data: Mapping[str, Any], root: Path, key_path: str) -> Drawn:
    name, kind = str(data.get("name", "?")), str(data.get("type", "llm"))
    reads, unread = _reads(data, root)
    rows: tuple[tuple[str, tuple[Drawn, ...]], ...] = ()
    if kind == "parallel":
        rows = (("", _row(data.get("steps"), root, f"{key_path}.steps")),)
    elif kind == "condition":
        rows = tuple((key, _row(data.get(key), root, f"{key_path}.{key}")) for key in ("then", "else"))
    elif kind == "ensemble":
        rows = _asked(name, data, root)
    return Drawn(name, kind, tuple(_notes(data)), reads, rows, unread)


def _asked(name: str, data: Mapping[str, Any], root: Path) -> tuple[tuple[str, tuple[Drawn, ...]], ...]:
    """Return the members of an ensemble and its judge."""
    members = [member for member in _as_list(data.get("members")) if isinstance(member, Mapping)]
    rows = [("members", tuple(_asking(name, member, root) for member in members))]
    if isinstance(judge := data.get("judge"), Mapping):
        rows.append(("judge", (_asking(name, {**judge, "name": "_judge", "condition": None}, root),)))
    return tuple(rows)


def _asking(ensemble: str, data: Mapping[str, Any], root: Path) -> Drawn:
    reads, unread = _reads(data, root)
    name = data.get("name", data.get("model", "?"))
    return Drawn(f"{ensemble}.{name}", "llm", tuple(_notes(data)), reads, (), unread)


def _as_list(data: Any) -> Sequence[Any]:
    return data if isinstance(data, list) else ()


def _notes(data: Mapping[str, Any]) -> Iterator[str]:
    for key, shown in (("model", "model"), ("schema", "schema"), ("fn", "fn")):
        value = data.get(key)
        if isinstance(value, Mapping):
            yield f"{shown}: {value.get('$ref', 'inline')}"
        elif value is not None:
            yield f"{shown}: {str(value).rpartition(':')[2] if key != 'model' else value}"


def _reads(data: Mapping[str, Any], root: Path) -> tuple[tuple[StepRead, ...], tuple[str, ...]]:
    reads: list[StepRead] = []
    unread: list[str] = []
    for key in (*_EXPRESSIONS, *_VALUES, *_TEMPLATES):
        try:
            reads.extend(_read(key, data.get(key), root))
        except PipelineLoadError as error:
            unread.append(f"{key}: {error.message}")
    return tuple(reads), tuple(unread)


def _read(key: str, value: Any, root: Path) -> Sequence[StepRead]:
    if value is None:
        return ()
    if key in _EXPRESSIONS:
        return parse_expression(str(value)).reads
    if key in _VALUES:
        return bind(value).reads
    text = str(value)
    if key == "system" and ("\n" in text or not is_file(root / text)):
        return parse_prompt(text, root).reads
    if not is_file(root / text):
        raise PipelineLoadError(f"template {text!r} is not there")
    place = root / text
    below = place.resolve().is_relative_to(root.resolve())
    return load_prompt(place, root if below else place.parent).reads
