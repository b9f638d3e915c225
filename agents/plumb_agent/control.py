"""Control objects, read and checked.

======================  =================  =========================================================================
field                   type               effect
======================  =================  =========================================================================
``set_temp``            0 to 2 or null     temperature of every call from now on; null: as configured
``set_model``           string or null     model of every call from now on; null: as configured
``pause``               bool               take no inputs; acknowledged at once
``get_memory``          bool               show the history; with ``"format": "openai"`` in that format
``set_memory``          array              replace the history
``resume``              bool               take inputs again; acknowledged at once
``stop``                bool               leave after the input that is being processed
======================  =================  =========================================================================

Several may be in one object; they take effect in the order of this table. Unknown fields are ignored. An object in
which a field of these has a wrong value is refused whole: half of what its sender meant may be worse than nothing.
"""

from __future__ import annotations

__all__ = ["Control", "read_control"]

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from fabric.errors import ValueRejected
from fabric.wire.payload import decode_json
from plumb_agent.memory import Format, read_messages
from plumb_agent.messages import Message


class Control(msgspec.Struct, frozen=True):
    """What a control object asks for. ``UNSET`` and ``False``: nothing.

    Attributes:
        complaint: why the object was refused, with every field that is wrong; then nothing is asked for.
    """

    set_temp: float | UnsetType | None = UNSET
    set_model: str | UnsetType | None = UNSET
    pause: bool = False
    resume: bool = False
    get_memory: bool = False
    format: Format = "anthropic"
    set_memory: tuple[Message, ...] | UnsetType = UNSET
    stop: bool = False
    complaint: str = ""


TEMPERATURE_MAX = 2.0
"""The most that any provider takes. One that takes less says so when it is called."""


def read_control(payload: bytes) -> Control:
    """Read the JSON text of a control object. Never raises: a control channel must survive what is sent to it."""
    try:
        plain = decode_json(payload)
    except ValueRejected as error:
        return Control(complaint=str(error))
    if not isinstance(plain, dict):
        return Control(complaint="a control message must be an object")
    fields: dict[str, Any] = {}
    complaints: list[str] = []
    for name, read in _FIELDS.items():
        if name in plain:
            try:
                fields[name] = read(plain[name])
            except ValueError as error:
                complaints.append(f"{name}: {error}")
    return Control(complaint="; ".join(complaints)) if complaints else Control(**fields)


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _temperature(value: Any) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value <= TEMPERATURE_MAX:
        raise ValueError("must be a number from 0 to 2, or null")
    return float(value)


def _model(value: Any) -> str | None:
    if value is not None and not (isinstance(value, str) and value):
        raise ValueError("must be a name or null")
    return value


def _format(value: Any) -> Format:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return "openai" if value == "openai" else "anthropic"


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "set_temp": _temperature,
    "set_model": _model,
    "pause": _bool,
    "get_memory": _bool,
    "format": _format,
    "set_memory": read_messages,
    "resume": _bool,
    "stop": _bool,
}
