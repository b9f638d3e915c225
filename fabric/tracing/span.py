"""A span, as data. What it means is told by who makes it, how it travels by ``exporter``."""

from __future__ import annotations

__all__ = ["CONTENT_CHARS_MAX", "Attributes", "Kind", "Span"]

from typing import Literal, TypeAlias

import msgspec

CONTENT_CHARS_MAX = 8_000
"""Of what is said to models and tools, where that is told at all."""

Attributes: TypeAlias = dict[str, str | int | float | bool | tuple[str, ...]]

Kind: TypeAlias = Literal["internal", "client"]


class Span(msgspec.Struct, frozen=True):
    """Something that was done, and is over.

    Attributes:
        trace_id: 16 bytes.
        span_id: 8 bytes.
        parent: the same of the span that it is a part of; empty: of none.
        start_s, end_s: by the clock of who tells.
        links: trace id and span id of other spans from which it follows.
        error: why it went wrong, in words; ``None``: it did not.
        service: of which worker it tells, if another than the one that tells.
    """

    name: str
    trace_id: bytes
    span_id: bytes
    parent: bytes
    start_s: float
    end_s: float
    kind: Kind = "internal"
    attributes: Attributes = {}
    links: tuple[tuple[bytes, bytes], ...] = ()
    error: str | None = None
    service: str = ""
