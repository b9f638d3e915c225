"""Find what a program names, and make of it what a worker calls."""

from __future__ import annotations

__all__ = ["Function", "load_function", "make_function", "to_plain"]

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import msgspec

from fabric.builtin_tools import builtin
from fabric.errors import ConfigError
from fabric.wire.payload import decode_json
from fabric.wire.spec import WorkerSpec
from fabric.worker.annotations import argument_reader, check_result, pydantic_hook


class Function(msgspec.Struct, frozen=True):
    """What a worker calls.

    Attributes:
        call: with a value; what comes is as :mod:`fabric.worker` says.
        read: makes the value of JSON text; raises ValueRejected.
        close: at the end; what it returns may have to be awaited.
    """

    call: Callable[[Any], Any]
    read: Callable[[bytes], Any] = decode_json
    close: Callable[[], Any] = lambda: None


def load_function(spec: WorkerSpec) -> Function:
    """Import what a spec names, and make an instance of it if it is a class.

    The module is looked for beside the program's file first, then where Python looks, the working directory included.

    Raises:
        ConfigError: there is no such module or function, importing it failed, or its annotations are of other types
            than the program declares.
    """
    if "builtin" in spec.config:
        return Function(builtin(spec.config))
    name = spec.config["call"]
    module_name, _, path = name.partition(":")
    sys.path[:0] = [spec.directory, os.getcwd()]
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise ConfigError(
                f"worker '{spec.name}': there is no module {error.name!r} for call: \"{name}\"; looked beside the"
                f" program in {spec.directory}, in {os.getcwd()} and where Python is installed"
            ) from None
        raise ConfigError(f"worker '{spec.name}': importing {module_name!r} failed: {error}") from error
    except Exception as error:
        traceback.print_exc()
        raise ConfigError(
            f"worker '{spec.name}': importing {module_name!r} failed: {type(error).__name__}: {error}"
        ) from error
    owner = None
    for part in path.split("."):
        owner, found = found, getattr(found, part, None)
        if found is None:
            raise ConfigError(f"worker '{spec.name}': module {module_name!r} has no {path!r}")
    if not callable(found):
        raise ConfigError(f"worker '{spec.name}': {name!r} is a {type(found).__name__}, not a function")
    if isinstance(owner, type) and inspect.isfunction(inspect.getattr_static(owner, part)):
        owner = _instance(owner, spec)
        return make_function(getattr(owner, part), spec, owner)
    return make_function(found, spec)


def make_function(found: Callable[[Any], Any], spec: WorkerSpec, owner: object = None) -> Function:
    """Return what a worker calls.

    Args:
        found: a function, a callable object, or a class with ``__call__``.
        spec: of the worker; the types in it are compared with the annotations.
        owner: whose method it is; it is closed at the end.

    Raises:
        ConfigError: as above.
    """
    if isinstance(found, type) and any("__call__" in vars(class_) for class_ in found.__mro__):
        found = owner = _instance(found, spec)
    elif owner is None and not inspect.isroutine(found):
        owner = found
    read = argument_reader(found, spec)
    check_result(found, spec)
    close = getattr(owner, "close", None)
    return Function(found, read, close) if callable(close) else Function(found, read)


def _instance(class_: type, spec: WorkerSpec) -> Any:
    try:
        return class_()
    except Exception as error:
        traceback.print_exc()
        raise ConfigError(
            f"worker '{spec.name}': {spec.config['call']}: making the one {class_.__name__}() failed:"
            f" {type(error).__name__}: {error}"
        ) from error


def to_plain(value: Any) -> Any:
    """Return a result as plain JSON values. Raises TypeError: there is something in it that JSON cannot say."""
    return msgspec.to_builtins(value, enc_hook=pydantic_hook)
