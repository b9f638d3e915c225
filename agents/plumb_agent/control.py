"""Control objects, read and checked.

======================  =================  =========================================================================
field                   type               effect
======================  =================  =========================================================================
``set_temp``            number or null     temperature of every call from now on; null: as configured
``set_model``           string or null     model of every call from now on; null: as configured
``pause``               bool               take no inputs; acknowledged at once
``get_memory``          bool               show the history; with ``"format": "openai"`` in that format
``set_memory``          array              replace the history
``resume``              bool               take inputs again; acknowledged at once
``stop``                bool               leave after the input that is being processed
======================  =================  =========================================================================

Several may be in one object; they take effect in the order of this table. Unknown fields are ignored. A field of the
wrong type is ignored with a complaint, and the rest of its object is not.
"""

from __future__ import annotations

__all__ = ["Control", "read_control"]

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from fabric.errors import ValueRejected
from fabric.wire.payload import decode_json
from plumb_agent.memory import Format, MemoryRefused, read_messages
from plumb_agent.messages import Message


class Control(msgspec.Struct, frozen=True):
    """What a control object asks for. ``UNSET`` and ``False``: nothing.

    Attributes:
        complaints: what was ignored and why.
    """

    set_temp: float | UnsetType | None = UNSET
    set_model: str | UnsetType | None = UNSET
    pause: bool = False
    resume: bool = False
    get_memory: bool = False
    format: Format = "anthropic"
    set_memory: tuple[Message, ...] | UnsetType = UNSET
    stop: bool = False
    complaints: tuple[str, ...] = ()


def read_control(payload: bytes) -> Control:
    """Read the JSON text of a control object. Never raises: a control channel must survive what is sent to it."""
    try:
        plain = decode_json(payload)
    except ValueRejected as error:
        return Control(complaints=(str(error),))
    if not isinstance(plain, dict):
        return Control(complaints=("a control message must be an object",))
    fields: dict[str, Any] = {}
    complaints: list[str] = []
    for name in ("pause", "resume", "get_memory", "stop"):
        value = plain.get(name, False)
        if isinstance(value, bool):
            fields[name] = value
        else:
            complaints.append(f"{name} must be true or false")
    if "set_temp" in plain:
        value = plain["set_temp"]
        if value is None or type(value) is float or (type(value) is int and abs(value) < 2**53):
            fields["set_temp"] = value if value is None else float(value)
        else:
            complaints.append("set_temp must be a number or null")
    if "set_model" in plain:
        value = plain["set_model"]
        if value is None or isinstance(value, str):
            fields["set_model"] = value
        else:
            complaints.append("set_model must be a string or null")
    if plain.get("format") == "openai":
        fields["format"] = "openai"
    if "set_memory" in plain:
        try:
            fields["set_memory"] = read_messages(plain["set_memory"])
        except MemoryRefused as error:
            complaints.append(f"set_memory refused: {error}")
    return Control(**fields, complaints=tuple(complaints))
