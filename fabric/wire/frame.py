"""Frames: what one ZeroMQ message says, as data."""

from __future__ import annotations

__all__ = ["Data", "Decline", "Eof", "Frame", "Marker", "Provenance"]

from typing import TypeAlias

import msgspec


class Provenance(msgspec.Struct, frozen=True, gc=False):
    """Where a message comes from.

    Attributes:
        trace_id: 16 bytes; one per message that entered at the boundary.
        span_id: 8 bytes; this message.
        seq: 1, 2, … on this channel.
        parents: span ids of the messages that caused this one, 8 bytes each, joined: none at the boundary, one usually,
            n behind a barrier, at most 255.
        flags: bit 0: sampled. Other bits are ignored.
    """

    trace_id: bytes
    span_id: bytes
    seq: int
    parents: bytes = b""
    flags: int = 0


class Data(msgspec.Struct, frozen=True, gc=False):
    """A message: JSON text, with its provenance unless the sender writes bare JSON. ``topic`` names the producer."""

    topic: str
    payload: bytes
    provenance: Provenance | None = None


PROBE_PREFIX = "probe/"
"""How the ids of markers begin that are sent to see who is there; a connection to a worker begins with one."""


class Marker(msgspec.Struct, frozen=True, gc=False):
    """Forwarded by a worker, unchanged, behind the outputs of every input that came before it."""

    topic: str
    id: str


class Decline(msgspec.Struct, frozen=True, gc=False):
    """A worker that works for a tool cannot do the message it is at: JSON text of ``{"error": ..., "code": ...}``."""

    topic: str
    payload: bytes


class Eof(msgspec.Struct, frozen=True, gc=False):
    """Nothing more will come on this channel."""

    topic: str


Frame: TypeAlias = Data | Marker | Decline | Eof
