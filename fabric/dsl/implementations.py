"""What stands behind a binding: an agent, a tool, a Python function, a program."""

from __future__ import annotations

__all__ = ["Agent", "Config", "Configured", "Name", "Python", "Text", "Tool", "Worker"]

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal

from fabric.dsl.elements import PortRef
from fabric.dsl.expressions import scalar_of
from fabric.dsl.names import qname_at
from fabric.dsl.origin import HEIGHT_MAX, Immutable, fill, here
from fabric.dsl.printing import Printer
from fabric.dsl.raw import Raw, nodes_of
from fabric.errors import ConfigError
from fabric.lang import syntax
from fabric.lang.lexer import RESERVED
from fabric.lang.source import Span

_OF_NAMES = frozenset({"process", "tools"})
"""Keys whose texts are names of bindings."""


class Name(Immutable):
    """The name of a binding, as a value of a configuration."""

    __slots__ = ("name",)

    name: str

    def __init__(self, name: str) -> None:
        if name == "null":
            raise ConfigError("'null' cannot be the name of a binding here: write None")
        qname_at(name, "the name of a binding", here())
        fill(self, name=name)

    def __repr__(self) -> str:
        return f"Name({self.name!r})"


class Text(Immutable):
    """A text, also under a key whose texts are names otherwise."""

    __slots__ = ("text",)

    text: str

    def __init__(self, text: str) -> None:
        fill(self, text=text)

    def __repr__(self) -> str:
        return f"Text({self.text!r})"


class Config(Immutable):
    """``{ key: value }``, from pairs or a dict, which values may be as well.

    A value is a text, a number, a bool, None, a list, a dict, a path, ``Name`` or ``Raw``. Under ``process`` and
    ``tools`` of a binding itself a text is the name of a binding; further inside it is a text.

    Attributes:
        pairs: what it was made of.
        node: what the parser would make of it inside of another.
    """

    __slots__ = ("node", "pairs")

    pairs: tuple[tuple[str, object], ...]
    node: syntax.Config

    def __init__(self, entries: Mapping[str, object] | Iterable[tuple[str, object]] = (), /, **more: object) -> None:
        at = here()
        first = tuple(entries.items() if isinstance(entries, Mapping) else entries)
        _refuse_twice(first, more)
        pairs = tuple((key, tuple(of) if isinstance(of, list) else of) for key, of in (*first, *more.items()))
        fill(self, pairs=pairs, node=syntax.Config(_entries(pairs, at, 1), at))

    def of_binding(self) -> tuple[syntax.ConfigEntry, ...]:
        """Return its entries as those of a binding itself."""
        return _entries(self.pairs, self.node.span, 1, of_names=_OF_NAMES)

    def __repr__(self) -> str:
        return f"<Config {Printer().value(self.node)}>"


def _refuse_twice(first: Iterable[tuple[str, object]], more: Mapping[str, object]) -> None:
    """Refuse a key that is given as an argument and before it. Of one that stands twice in a text the checker tells."""
    for key, _ in first:
        if key in more:
            raise ConfigError(f"{key!r} is given twice, and nothing says which one counts: leave one out")


def _entries(
    pairs: Iterable[tuple[str, object]], at: Span, depth: int, of_names: frozenset[str] = frozenset()
) -> tuple[syntax.ConfigEntry, ...]:
    return tuple(syntax.ConfigEntry(_key(key, at), _value(key, of, at, depth, key in of_names)) for key, of in pairs)


def _key(key: object, at: Span) -> syntax.Name:
    if isinstance(key, str) and key in RESERVED:  # which may be keys
        return syntax.Name(key, at)
    name = qname_at(key, "a key", at)
    if name.module is not None:
        raise ConfigError(f"{key!r} cannot be a key: it has a dot")
    return name


def _value(key: str, value: object, at: Span, depth: int, is_name: bool) -> syntax.ConfigValue:
    if depth > HEIGHT_MAX:
        raise ConfigError(f"the configuration is nested more than {HEIGHT_MAX} levels deep")
    match value:
        case Config():
            return value.node
        case Raw():
            node: syntax.ConfigValue = nodes_of(value, "value")[0]
            return node
        case Name() | PortRef():
            return syntax.ConfigName(qname_at(value.name, "the name of a binding", at), at)
        case str() if is_name:
            return syntax.ConfigName(qname_at(value, f"the name of a binding, which '{key}' takes", at), at)
        case list() | tuple():
            return syntax.ConfigList(tuple(_value(key, item, at, depth + 1, is_name) for item in value), at)
        case Mapping():
            return syntax.Config(_entries(value.items(), at, depth + 1), at)
    plain = value.text if isinstance(value, Text) else os.fspath(value) if isinstance(value, os.PathLike) else value
    try:
        return syntax.ConfigScalar(scalar_of(plain), at)
    except TypeError:
        raise TypeError(f"'{key}' cannot be {type(value).__name__}: {value!r}") from None


class Configured(Immutable):
    """``agent { ... }`` and its like.

    Args:
        entries: the keys that cannot be written as arguments.
        config: key and value; see :class:`Config`.
    """

    __slots__ = ("node",)

    _kind: ClassVar[Literal["agent", "tool", "python", "worker", "handler"]]
    _example: ClassVar[str]
    node: syntax.ConfiguredImpl

    def __init__(
        self, entries: Config | Mapping[str, object] | Iterable[tuple[str, object]] = (), /, **config: object
    ) -> None:
        at = here()
        if isinstance(entries, (str, bytes)) or not isinstance(entries, (Config, Mapping, Iterable)):
            raise TypeError(f"{type(self).__name__} takes keys and values, as in {self._example}; got {entries!r}")
        first = entries if isinstance(entries, Config) else Config(entries)
        _refuse_twice(first.pairs, config)
        node = syntax.Config((*first.of_binding(), *Config(config).of_binding()), at)
        fill(self, node=syntax.ConfiguredImpl(self._kind, node, at))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {Printer().implementation(self.node)}>"


class Agent(Configured):
    """``agent { model: "...", prompt: "..." }``."""

    __slots__ = ()
    _kind = "agent"
    _example = "Agent(model='claude-haiku-4-5')"


class Tool(Configured):
    """``tool { process: name }`` or ``tool { builtin: "fs.read" }``. It takes and gives values, not streams."""

    __slots__ = ()
    _kind = "tool"
    _example = "Tool(process='name')"


class Python(Configured):
    """``python { call: "module:function" }``; ``call`` may be the function itself, if it can be imported."""

    __slots__ = ()
    _kind = "python"
    _example = "Python(call='module:function')"

    def __init__(
        self, entries: Config | Mapping[str, object] | Iterable[tuple[str, object]] = (), /, **config: object
    ) -> None:
        call = config.get("call")
        if callable(call):
            config["call"] = _path_of(call)
        super().__init__(entries, **config)


class Worker(Configured):
    """``worker { command: ["./program"] }``."""

    __slots__ = ()
    _kind = "worker"
    _example = "Worker(command=['./program'])"


class Handler(Configured):
    """``handler { command: ["python", "handler.py"] }``: a program that decides one step of its durable session."""

    __slots__ = ()
    _kind = "handler"
    _example = "Handler(command=['python', 'handler.py'])"


def _path_of(function: Callable[..., Any]) -> str:
    """Return ``package.module:function``."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "<nameless>")
    if module in (None, "__main__") or "<" in name:
        raise ConfigError(
            f"a worker cannot import {name}: put the function at the top of a module, or write 'module:name'"
        )
    return f"{module}:{name}"
