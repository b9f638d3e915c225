"""What stands behind a binding: an agent, a tool, a Python function, a program."""

from __future__ import annotations

__all__ = ["Agent", "Config", "Configured", "Name", "Python", "Text", "Tool", "Worker"]

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal

from fabric.dsl.elements import PortRef
from fabric.dsl.expressions import scalar_of
from fabric.dsl.names import qname_at
from fabric.dsl.origin import HEIGHT_MAX, Immutable, Origin, fill, here
from fabric.dsl.printing import Printer
from fabric.dsl.raw import Raw, nodes_of
from fabric.errors import ConfigError
from fabric.lang import syntax
from fabric.lang.lexer import RESERVED

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
    ``tools`` a text is the name of a binding.
    """

    __slots__ = ("node",)

    node: syntax.Config

    def __init__(self, entries: Mapping[str, object] | Iterable[tuple[str, object]] = (), /, **more: object) -> None:
        at = here()
        pairs = [*(entries.items() if isinstance(entries, Mapping) else entries), *more.items()]
        made = tuple(syntax.ConfigEntry(_key(key, at), _value(key, value, at, 1)) for key, value in pairs)
        fill(self, node=syntax.Config(made, at))

    def __repr__(self) -> str:
        return f"<Config {Printer().value(self.node)}>"


def _key(key: object, at: Origin) -> syntax.Name:
    if isinstance(key, str) and key in RESERVED:  # which may be keys
        return syntax.Name(key, at)
    name = qname_at(key, "a key", at)
    if name.module is not None:
        raise ConfigError(f"{key!r} cannot be a key: it has a dot")
    return name


def _value(key: str, value: object, at: Origin, depth: int) -> syntax.ConfigValue:
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
        case Text():
            return syntax.ConfigScalar(value.text, at)
        case str() if key in _OF_NAMES:
            return syntax.ConfigName(qname_at(value, f"the name of a binding, which '{key}' takes", at), at)
        case list() | tuple():
            return syntax.ConfigList(tuple(_value(key, item, at, depth + 1) for item in value), at)
        case Mapping():
            entries = (syntax.ConfigEntry(_key(k, at), _value(k, v, at, depth + 1)) for k, v in value.items())
            return syntax.Config(tuple(entries), at)
        case os.PathLike():
            return syntax.ConfigScalar(os.fspath(value), at)
    try:
        return syntax.ConfigScalar(scalar_of(value), at)
    except TypeError:
        raise TypeError(f"'{key}' cannot be {type(value).__name__}: {value!r}") from None


class Configured(Immutable):
    """``agent { ... }`` and its like.

    Args:
        entries: the keys that cannot be written as arguments.
        config: key and value; see :class:`Config`.
    """

    __slots__ = ("node",)

    _kind: ClassVar[Literal["agent", "tool", "python", "worker"]]
    node: syntax.ConfiguredImpl

    def __init__(
        self, entries: Config | Mapping[str, object] | Iterable[tuple[str, object]] = (), /, **config: object
    ) -> None:
        at = here()
        first = entries if isinstance(entries, Config) else Config(entries)
        node = syntax.Config((*first.node.entries, *Config(config).node.entries), at)
        fill(self, node=syntax.ConfiguredImpl(self._kind, node, at))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {Printer().implementation(self.node)}>"


class Agent(Configured):
    """``agent { model: "...", prompt: "..." }``."""

    __slots__ = ()
    _kind = "agent"


class Tool(Configured):
    """``tool { process: name }`` or ``tool { builtin: "fs.read" }``. It takes and gives values, not streams."""

    __slots__ = ()
    _kind = "tool"


class Python(Configured):
    """``python { call: "module:function" }``; ``call`` may be the function itself, if it can be imported."""

    __slots__ = ()
    _kind = "python"

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


def _path_of(function: Callable[..., Any]) -> str:
    """Return ``package.module:function``."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "<nameless>")
    if module in (None, "__main__") or "<" in name:
        raise ConfigError(
            f"a worker cannot import {name}: put the function at the top of a module, or write 'module:name'"
        )
    return f"{module}:{name}"
