"""The ``tojson`` of prompts: it knows models, records and dates, at any depth, and does not write for HTML."""

from __future__ import annotations

__all__ = ["as_json"]

import dataclasses
import json
from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel

INDENT_MAX: Final = 32
"""More is a mistake, and a deep value would have a text without an end."""


def as_json(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON. What ``json`` writes is written as ``json`` writes it.

    Args:
        value: anything made of data.
        indent: spaces for each level; ``None``: all in one line.

    Raises:
        TypeError: it is not made of data.
        ValueError: the levels are too far apart.
    """
    if indent is not None and indent > INDENT_MAX:
        raise ValueError(f"an indent of {indent}; at most {INDENT_MAX} is allowed")
    if isinstance(value, BaseModel):
        return value.model_dump_json(indent=indent)
    return json.dumps(value, indent=indent, ensure_ascii=False, default=_data)


def _data(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal | UUID | PurePath):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"a {type(value).__name__} has no JSON")
