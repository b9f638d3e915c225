"""What prompts say of a model of pydantic: a line for each field."""

from __future__ import annotations

__all__ = ["model_to_schema_hint"]

import types
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

_INDENT = "    "
_PRIMITIVES: Mapping[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", None: "null"}


def model_to_schema_hint(model: object) -> str:
    """Return what a prompt says of a model; nothing for what is none, and for one without fields."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)) or not model.model_fields:
        return ""
    return "\n".join(["Return a JSON object with the following fields:", *_lines(model, "", ())])


def _lines(model: type[BaseModel], indent: str, above: tuple[type, ...]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        kinds, optional = _alternatives(field.annotation)
        text = " or ".join(_described(kind) for kind in kinds) or "null"
        said = field.alias or name
        need = " (required)" if field.is_required() else " or null" if optional else " (optional)"
        yield f'{indent}- "{said}": {text}{need}'
        if field.description:
            yield from (f"{indent}{_INDENT}{line}" for line in field.description.splitlines())
        for kind in kinds:
            inner = _record_in(kind)
            if inner is not None and inner is not model and inner not in above:
                yield from _lines(inner, indent + _INDENT, (*above, model))


def _alternatives(annotation: Any) -> tuple[list[Any], bool]:
    """Return the types that a value may have, and whether it may be null."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return kinds, len(kinds) < len(get_args(annotation))
    return [annotation], False


def _record_in(kind: Any) -> type[BaseModel] | None:
    while get_origin(kind) in (list, tuple, set, frozenset, dict, Annotated):
        kind = get_args(kind)[-1 if get_origin(kind) is dict else 0]
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _described(kind: Any) -> str:
    """Return a type in words."""
    kinds, optional = _alternatives(kind)
    if len(kinds) != 1 or optional:
        return " or ".join([*(_described(one) for one in kinds), *(["null"] if optional else [])])
    kind = kinds[0]
    origin, args = get_origin(kind), get_args(kind)
    if kind in _PRIMITIVES:
        return _PRIMITIVES[kind]
    if origin in (list, set, frozenset, tuple):
        inner = _described(args[0]) if args else "any value"
        return "array of objects" if inner == "object" else f"array of {inner}"
    if origin is dict:
        return f"object with {_described(args[-1])} values"
    if origin is Literal:
        return f"one of {', '.join(repr(value) for value in args)}"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"one of {', '.join(repr(value.value) for value in kind)}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "object"
    return "any value"
