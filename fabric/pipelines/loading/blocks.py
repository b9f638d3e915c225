"""A map of the file, read by the list of the keys that it may have."""

from __future__ import annotations

__all__ = ["Block", "shape"]

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from fabric.pipelines.errors import PipelineLoadError
from fabric.pipelines.loading.keys import Key
from fabric.pipelines.loading.nodes import Fields, Items, Node, Scalar, plain
from fabric.pipelines.loading.problems import Problems, near
from fabric.pipelines.spec import Mark

_POWER = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")
_SHAPES = {Fields: "a map", Items: "a list"}


def shape(node: Node) -> str:
    """Return what a value is, in words; one with variables put in as it is written, for these may be secrets."""
    if not isinstance(node, Scalar):
        return _SHAPES[type(node)]
    value = node.text if node.expanded else node.value
    if value is None:
        return "nothing"
    if isinstance(value, str):
        shown = value if len(value) <= 40 else f"{value[:40]}…"
        return f"the text {shown!r}"
    return f"{str(value).lower()}" if isinstance(value, bool) else f"{value}"


class Block:
    """A map with keys that are known. Whatever is wrong with it by itself is told to ``problems`` when it is made.

    Args:
        fields: the map.
        keys: that it may have.
        what: it is, for messages: ``step 'extract'``.
        path: of it, as keys: ``steps[2](extract)``.
        kind: class of its errors.
        strict: whether other keys are warned of.
        hint: says of another key where it belongs; ``None``: nowhere.
    """

    def __init__(
        self,
        problems: Problems,
        fields: Fields,
        keys: Sequence[Key],
        what: str,
        path: str,
        kind: type[PipelineLoadError] = PipelineLoadError,
        *,
        strict: bool = True,
        hint: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        self.problems = problems
        self.fields = fields
        self.what = what
        self.path = path
        self.kind = kind
        self._values: dict[str, Any] = {}
        known = {key.name: key for key in keys}
        self._check_names(known, strict, hint)
        for key in keys:
            self._read(key)

    def node(self, name: str) -> Node | None:
        """Return the value as it stands in the file; ``None`` if there is none, or nothing."""
        entry = self.fields.entries.get(name)
        if entry is None or (isinstance(entry.value, Scalar) and entry.value.value is None):
            return None
        return entry.value

    def value(self, name: str, default: Any = None) -> Any:
        """Return the value; the default if there is none, or a wrong one."""
        return self._values.get(name, default)

    def data(self, name: str) -> Mapping[str, Any]:
        """Return a map as Python has it; an empty one if there is none."""
        fields = self.value(name)
        return MappingProxyType({} if fields is None else plain(fields))

    def mark(self, name: str | None = None) -> Mark:
        """Return the place of a value, or of the block."""
        node = None if name is None else self.node(name)
        return self.problems.mark(node or self.fields, self.path if name is None else self.under(name))

    def under(self, name: str) -> str:
        """Return the path of a key."""
        return f"{self.path}.{name}" if self.path else name

    def error(
        self,
        message: str,
        name: str | None = None,
        kind: type[PipelineLoadError] | None = None,
        suggestion: str | None = None,
    ) -> None:
        """Tell an error of a value, or of the block."""
        place = (None if name is None else self.node(name)) or self.fields
        path = self.path if name is None else self.under(name)
        self.problems.error(kind or self.kind, message, place, path, suggestion)

    def warn(self, message: str, name: str | None = None, suggestion: str | None = None) -> None:
        """Tell a warning of a value, or of the block."""
        place = (None if name is None else self.node(name)) or self.fields
        self.problems.warn(message, place, self.path if name is None else self.under(name), suggestion)

    def _check_names(self, known: dict[str, Key], strict: bool, hint: Callable[[str], str | None]) -> None:
        for name, entry in self.fields.entries.items():
            if not isinstance(name, str):
                self.problems.error(
                    self.kind,
                    f"{self.what}: the key {entry.key.text} is read as {shape(entry.key)}: put it in quotes",
                    entry.key,
                    self.path,
                )
            elif name not in known and strict and not name.startswith("x-") and not entry.value.anchored:
                belongs = hint(name)
                said = f"{self.what} has an unknown key {name!r}, which does nothing"
                close = None if belongs else near(name, known)
                self.problems.warn(f"{said}: {belongs}" if belongs else said, entry.key, self.under(name), close)

    def _read(self, key: Key) -> None:
        node = self.node(key.name)
        if node is None:
            if key.required:
                self.error(f"{self.what} is missing required field {key.name!r}")
            return
        try:
            self._values[key.name] = _READERS[key.kind](key, node)
        except _WrongError as wrong:
            self.error(f"{self.what}: {self._shown(key)} {wrong}", key.name, suggestion=wrong.suggestion)

    def _shown(self, key: Key) -> str:
        # Users of nested blocks look for the whole name: outputs.dir, judge.condition.
        outer = self.path.rpartition(".")[2].partition("[")[0]
        return f"{outer}.{key.name}" if outer in {"outputs", "judge", "execution", "cache", "pricing"} else key.name


class _WrongError(Exception):
    def __init__(self, message: str, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.suggestion = suggestion


def _text(key: Key, node: Node) -> str:
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        suggestion = f'"{node.text}"' if isinstance(node, Scalar) and node.text else None
        raise _WrongError(f"must be a text; it is {shape(node)}", suggestion)
    if key.choices and node.value not in key.choices:
        said = node.text if node.expanded else node.value
        raise _WrongError(f"must be one of {', '.join(key.choices)}; it is {said!r}", near(said, key.choices))
    if key.required and not node.value.strip():
        raise _WrongError("must not be empty")
    return node.value


def _words(key: Key, node: Node) -> tuple[str, ...]:
    if not isinstance(node, Items):
        raise _WrongError(f"must be a list of texts; it is {shape(node)}")
    return tuple(_text(key, item) for item in node.items)


def _number(key: Key, node: Node) -> float:
    value = node.value if isinstance(node, Scalar) else None
    if isinstance(node, Scalar) and node.expanded and isinstance(value, str):
        value = _read_number(value)
    elif isinstance(node, Scalar) and isinstance(value, str) and not node.style and _POWER.fullmatch(value):
        value = float(value)  # 1e3 is a text in YAML 1.1, and a number everywhere else
        value = int(value) if key.kind.startswith("integer") and value.is_integer() else value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise _WrongError(f"must be a number; it is {shape(node)}")
    if key.least is not None and (value < key.least or (key.above and value == key.least)):
        raise _WrongError(f"must be {'above' if key.above else 'at least'} {key.least:g}; it is {shape(node)}")
    return value


def _read_number(text: str) -> float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def _integer(key: Key, node: Node) -> int:
    value = _number(key, node)
    if not isinstance(value, int):
        raise _WrongError(f"must be a whole number; it is {shape(node)}")
    return value


def _integers(key: Key, node: Node) -> tuple[int, ...]:
    if not isinstance(node, Items):
        raise _WrongError(f"must be a list of whole numbers; it is {shape(node)}")
    return tuple(_integer(key, item) for item in node.items)


def _flag(key: Key, node: Node) -> bool:
    value = node.value if isinstance(node, Scalar) else None
    if isinstance(node, Scalar) and node.expanded and isinstance(value, str):
        value = {"true": True, "false": False}.get(value.lower())
    if not isinstance(value, bool):
        raise _WrongError(f"must be true or false; it is {shape(node)}")
    return value


def _map(key: Key, node: Node) -> Fields:
    if not isinstance(node, Fields):
        raise _WrongError(f"must be a map; it is {shape(node)}")
    return node


def _list(key: Key, node: Node) -> Items:
    if not isinstance(node, Items):
        raise _WrongError(f"must be a list; it is {shape(node)}")
    return node


def _steps(key: Key, node: Node) -> Items:
    if isinstance(node, Fields):
        return Items((node,), node.line, node.column)
    return _list(key, node)


def _expression(key: Key, node: Node) -> str:
    # `condition: true` and `condition: 1` are expressions as good as any.
    if isinstance(node, Scalar) and not isinstance(node.value, str):
        return str(node.value)
    return _text(key, node)


def _schema(key: Key, node: Node) -> Node:
    if isinstance(node, Fields) or (isinstance(node, Scalar) and isinstance(node.value, str)):
        return node
    raise _WrongError(f"must be module:Class or a map of fields; it is {shape(node)}")


def _any(key: Key, node: Node) -> Any:
    return plain(node)


_READERS: dict[str, Callable[[Key, Node], Any]] = {
    "text": _text,
    "file": _text,
    "reference": _text,
    "words": _words,
    "integer": _integer,
    "integers": _integers,
    "number": _number,
    "flag": _flag,
    "map": _map,
    "list": _list,
    "steps": _steps,
    "expression": _expression,
    "schema": _schema,
    "any": _any,
}
