"""Messages of the control channels, as the coordinator writes and reads them: bare JSON on ctrl_in and ctrl_out."""

from __future__ import annotations

__all__ = ["BATCHES", "MARK_ALL_PORTS", "NUMBERED", "READY", "STOP", "Ready", "parse_ready", "paused_by", "ready"]

import msgspec

from fabric.wire.payload import encode_json

MARK_ALL_PORTS = "mark_all_ports"
"""The feature of a worker that forwards markers on telemetry and ctrl_out too, not only on data_out."""

BATCHES = "batches"
"""The feature of a worker that reads batches on data_in, and may write them on data_out."""


NUMBERED = "numbered"
"""The feature of a worker whose traced messages have the numbers 1, 2, … on each port: none may be missing."""


class Ready(msgspec.Struct, frozen=True, omit_defaults=True):
    """``{"status": "ready"}``: all sockets are connected and bound; the first message on ctrl_out.

    Attributes:
        features: what the worker does beyond the documented minimum.
        incarnation: a nonce of an external worker that was started again; absent: a new one.
    """

    status: str
    features: tuple[str, ...] = ()
    incarnation: int | None = None


def ready(*features: str) -> bytes:
    """Return the announcement of a worker with these features."""
    return encode_json(Ready("ready", features))


READY = ready(MARK_ALL_PORTS, NUMBERED)
"""What our agents announce."""

STOP = encode_json({"stop": True})
"""Ends a worker whose data_out is at its end."""

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
    try:
        return _ACKNOWLEDGED.get(_decode_reply(payload).kind, before)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return before
