"""Exceptions on their way from a worker: of the same class where it is known here, with the same text anywhere."""

from __future__ import annotations

__all__ = ["pack_error", "unpack_error"]

import traceback
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from fabric.pipelines.errors import StepExecutionError
from fabric.pipelines.remote.packing import Packing, Unpackable
from fabric.pipelines.runs.dumping import text_of

CAUSES_MAX = 8
"""Of causes of causes; the rest is not told."""

TRACE_CHARS_MAX = 4_000
"""Of the traceback, from its end."""


def pack_error(error: BaseException, packing: Packing, depth: int = CAUSES_MAX) -> dict[str, Any]:
    """Return an exception as plain JSON values."""
    packed: dict[str, Any] = {
        "type": packing.name_of(type(error)),
        "text": packing.pack(text_of(error)),
        "trace": packing.pack_end("".join(traceback.format_exception(error, chain=False)), TRACE_CHARS_MAX),
    }
    if isinstance(error, ValidationError):
        packed["invalid"] = _pack_invalid(error, packing)
    else:
        packed["args"] = _packed(packing, _args_of(error))
        packed["fields"] = _pack_fields(vars(error), packing, depth)
    if error.__cause__ is not None and depth:
        packed["cause"] = pack_error(error.__cause__, packing, depth - 1)
    return packed


def _args_of(error: BaseException) -> Any:
    """Return what an exception is made of again. Those of the system leave the name of a file out of ``args``."""
    try:
        made = error.__reduce__()
    except Exception:  # noqa: BLE001 - the class is the user's
        return error.args
    own = isinstance(made, tuple) and len(made) > 1 and made[0] is type(error)
    return made[1] if own else error.args


def unpack_error(packed: Mapping[str, Any], packing: Packing) -> Exception:
    """Return the exception. What has no class here is a StepExecutionError that is called the same."""
    text = packing.unpack(packed["text"])
    error = _rebuilt(packed, text, packing) or _named(packed["type"], text)
    if "cause" in packed:
        error.__cause__ = unpack_error(packed["cause"], packing)
    error.add_note(f"in a worker:\n{packing.unpack(packed['trace'])}")
    return error


def _rebuilt(packed: Mapping[str, Any], text: str, packing: Packing) -> Exception | None:
    if "invalid" in packed:
        return _unpack_invalid(packed["invalid"], text, packing)
    class_ = packing.find_class(packed["type"])
    if not (isinstance(class_, type) and issubclass(class_, Exception)) or packed["args"] is None:
        return None
    args = packing.unpack(packed["args"])
    fields = {name: _unpack_field(field, packing) for name, field in packed["fields"].items()}
    for make in (_call, _allocate):
        try:
            error = make(class_, args)
            error.__dict__.update(fields)
            if str(error) == text:
                return error
        except Exception:  # noqa: BLE001, S112 - a class of the user's may do anything; the next way is tried
            continue
    return None


def _call(class_: type[Exception], args: Any) -> Exception:
    return class_(*args)


def _allocate(class_: type[Exception], args: Any) -> Exception:
    """Make one whose ``__init__`` takes something else than what it has kept."""
    return class_.__new__(class_, *args)


def _named(name: str, text: str) -> Exception:
    module, _, path = name.partition(":")
    class_ = type(path.rpartition(".")[2], (StepExecutionError,), {"__module__": module, "__qualname__": path})
    error = class_(text)
    assert isinstance(error, Exception)
    return error


def _packed(packing: Packing, value: Any) -> Any:
    try:
        return packing.pack(value)
    except Unpackable:
        return None


def _pack_fields(fields: Mapping[str, Any], packing: Packing, depth: int) -> dict[str, Any]:
    """Pack what an exception knows, as far as it can be said."""
    packed: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, BaseException):
            if depth:
                packed[name] = {"error": pack_error(value, packing, depth - 1)}
            continue
        try:
            packed[name] = {"value": packing.pack(value)}
        except Unpackable:
            continue
    packed.pop("__notes__", None)
    return packed


def _unpack_field(packed: Mapping[str, Any], packing: Packing) -> Any:
    return unpack_error(packed["error"], packing) if "error" in packed else packing.unpack(packed["value"])


def _pack_invalid(error: ValidationError, packing: Packing) -> dict[str, Any]:
    lines = [
        {
            "type": line["type"],
            "loc": packing.pack(line["loc"]),
            "msg": packing.pack(line["msg"]),
            "input": _packed(packing, line["input"]),
            "ctx": _packed(packing, {name: _plain(value) for name, value in line.get("ctx", {}).items()}),
        }
        for line in error.errors(include_url=False)
    ]
    return {"title": packing.pack(error.title), "lines": lines}


def _plain(value: Any) -> Any:
    return {"raised": text_of(value)} if isinstance(value, Exception) else value


def _unpack_invalid(packed: Mapping[str, Any], text: str, packing: Packing) -> Exception | None:
    """Return what pydantic said: with its own types of errors if that gives the same text."""
    title = packing.unpack(packed["title"])
    lines = packing.unpack(packed["lines"])
    error: ValidationError | None = None
    for details in (_own_details, _said_details):
        try:
            error = ValidationError.from_exception_data(title, [details(line) for line in lines])
        except Exception:  # noqa: BLE001, S112 - pydantic refuses details in ways of its own
            continue
        if str(error) == text:
            break
    return error


def _own_details(line: Mapping[str, Any]) -> InitErrorDetails:
    ctx = {
        name: ValueError(value["raised"]) if isinstance(value, dict) and value.keys() == {"raised"} else value
        for name, value in (line["ctx"] or {}).items()
    }
    return InitErrorDetails(type=line["type"], loc=line["loc"], input=line["input"], ctx=ctx)


def _said_details(line: Mapping[str, Any]) -> InitErrorDetails:
    said = PydanticCustomError(line["type"], "{said}", {"said": line["msg"]})
    return InitErrorDetails(type=said, loc=line["loc"], input=line["input"])
