"""The JSON of the commands: read strictly, for nobody sees what was meant; written so that everybody can read it."""

from __future__ import annotations

__all__ = ["as_data", "read_object"]

import json
import logging
import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from fabric.errors import ConfigError

DEPTH_MAX = 200
"""Of an input. All that reads it calls itself for each level."""

_log = logging.getLogger("fabric.pipelines.cli")


def read_object(text: str, what: str, invalid: str) -> dict[str, Any]:
    """Return the object that a text is.

    Args:
        text: in JSON.
        what: the text is called.
        invalid: begins the message if it is no JSON.

    Raises:
        ConfigError: it is none; or says a key twice, or a number that JSON does not have; or is too deep.
    """
    too_deep = f"{invalid}: it is nested too deeply; at most {DEPTH_MAX} levels are read"
    try:
        data = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ConfigError(too_deep) from None
    except ValueError as error:
        raise ConfigError(f"{invalid}: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{what} is not a JSON object: it is {type(data).__name__}")
    if text.count("[") + text.count("{") > DEPTH_MAX and _is_deeper(data, DEPTH_MAX):
        raise ConfigError(too_deep)
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands there more than once")
    return found


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON; null says that there is none")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:40]} is larger than any number that can be read")
    return number


def _is_deeper(value: object, levels: int) -> bool:
    layer: list[object] = [value]
    for _ in range(levels):
        layer = [
            child
            for each in layer
            if isinstance(each, dict | list)
            for child in (each.values() if isinstance(each, dict) else each)
        ]
    return any(isinstance(each, dict | list) for each in layer)


def as_data(value: Any, what: str) -> Any:
    """Return a value as JSON has it; what JSON does not know as text, what it has no number for as ``None``.

    Args:
        value: any.
        what: it is called, in warnings.
    """
    nulls: list[float] = []
    try:
        data = _data(value, nulls)
    except Exception as error:  # noqa: BLE001 - its classes are the user's; RecursionError: it is without an end
        _log.warning("%s cannot be written as JSON: %s", what, type(error).__name__)
        return f"<{type(value).__qualname__}>"
    if nulls:
        _log.warning("%s: %s is written as null, JSON has no such number", what, nulls[0])
    return data


def _data(value: Any, nulls: list[float]) -> Any:
    match value:
        case float() if not math.isfinite(value):
            nulls.append(value)
            return None
        case None | bool() | int() | float() | str():
            return value
        case BaseModel():
            return _data(value.model_dump(mode="json"), nulls)
        case Mapping():
            return {str(key): _data(part, nulls) for key, part in value.items()}
        case list() | tuple():
            return [_data(part, nulls) for part in value]
    return str(value)
