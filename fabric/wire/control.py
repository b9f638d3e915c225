"""Messages of the control channels, as the coordinator writes and reads them: bare JSON on ctrl_in and ctrl_out."""

from __future__ import annotations

__all__ = [
    "AGENT_FEATURES",
    "ANNOUNCE",
    "BATCHES",
    "GET_MEMORY",
    "INCARNATION_BYTES",
    "LEFT_OVER",
    "MARK_ALL_PORTS",
    "MEMORY",
    "NUMBERED",
    "READY",
    "REPLIES_LATE",
    "RESUME",
    "STOP",
    "Ready",
    "kind_of",
    "messages_of",
    "parse_ready",
    "paused_by",
    "read_object",
    "ready",
    "replies_to",
    "wants_announcement",
]

from collections.abc import Mapping
from typing import Any

import msgspec

from fabric.errors import ValueRejected
from fabric.wire.payload import decode_json, encode_json

MARK_ALL_PORTS = "mark_all_ports"
"""The feature of a worker that forwards markers on telemetry and ctrl_out too, not only on data_out."""

BATCHES = "batches"
"""The feature of a worker that reads batches on data_in, and may write them on data_out."""

MEMORY = "memory"
"""The feature of a worker that answers ``get_memory`` and ``set_memory``: its memory survives a crash."""


NUMBERED = "numbered"
"""The feature of a worker whose traced messages have the numbers 1, 2, … on each port: none may be missing."""


class Ready(msgspec.Struct, frozen=True, omit_defaults=True):
    """``{"status": "ready"}``: all sockets are connected and bound; the first message on ctrl_out.

    Attributes:
        features: what the worker does beyond the documented minimum.
        incarnation: a number that the process has chosen at its start, by chance; absent: this is a new process.
    """

    status: str
    features: tuple[str, ...] = ()
    incarnation: int | None = None


INCARNATION_BYTES = 6
"""Of chance in the number of a process: JSON readers that know only doubles keep it exactly."""


def ready(*features: str, incarnation: int | None = None) -> bytes:
    """Return the announcement of a worker with these features, and of the process with this number."""
    return encode_json(Ready("ready", features, incarnation))


READY = ready(MARK_ALL_PORTS)
"""What a worker announces that forwards markers on every port."""

AGENT_FEATURES = (MARK_ALL_PORTS, MEMORY, NUMBERED)
"""Of our agents."""

ANNOUNCE = {"announce": True}
"""Asks a worker to announce itself once more: whoever heard it before may be gone."""

STOP = encode_json({"stop": True})
"""Ends a worker whose data_out is at its end."""

GET_MEMORY = {"get_memory": True}
"""Asks for the memory."""

RESUME = {"resume": True}
"""Ends a pause."""

_REPLIES = {"pause": "pause_ack", "get_memory": "memory", "set_memory": "memory_set", "resume": "resume_ack"}

REPLIES_LATE = frozenset({"memory", "memory_set"})
"""Kinds of replies that may wait for the end of the message that the worker is at."""


def read_object(payload: bytes) -> dict[str, Any]:
    """Return a control message's fields; none if it is no object."""
    try:
        plain = decode_json(payload)
    except ValueRejected:
        return {}
    return plain if isinstance(plain, dict) else {}


def replies_to(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the kinds of replies that a control message with these fields asks for."""
    asked = (name for name in _REPLIES if fields.get(name) is True or (name == "set_memory" and name in fields))
    return tuple(_REPLIES[name] for name in asked)


def kind_of(payload: bytes) -> str:
    """Return the kind of what a worker says on ctrl_out; none is the empty string."""
    try:
        return _decode_reply(payload).kind
    except (msgspec.DecodeError, ValueError, RecursionError):
        return ""


LEFT_OVER = "its connection was renewed when it had ended its output already; it has to be started again"
"""Why a worker ends that is asked to announce itself too late: nobody will end its ctrl_in."""


def wants_announcement(payload: bytes) -> bool:
    """Return whether a control message asks the worker to announce itself."""
    return b"announce" in payload and read_object(payload).get("announce") is True


def messages_of(payload: bytes) -> list[Any]:
    """Return the messages of a worker's memory, as it says them."""
    messages = read_object(payload).get("messages")
    return messages if isinstance(messages, list) else []


_decode = msgspec.json.Decoder(Ready).decode


def parse_ready(payload: bytes) -> Ready | None:
    """Return the announcement, or ``None`` if these bytes are something else."""
    try:
        ready = _decode(payload)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return ready if ready.status == "ready" else None


_ACKNOWLEDGED = {"pause_ack": True, "resume_ack": False}


class _Reply(msgspec.Struct):
    kind: str = ""


_decode_reply = msgspec.json.Decoder(_Reply).decode


def paused_by(payload: bytes, *, before: bool) -> bool:
    """Return whether a worker that says this on ctrl_out takes no messages for the time being.

    Args:
        payload: what it says.
        before: what held before; it still does unless this is the reply to a pause or a resume.
    """
    return _ACKNOWLEDGED.get(kind_of(payload), before)
