"""Ids of spans, as they follow from the ids in frames. Whoever has a frame can name the spans that belong to it.

    trace id                              that of the frame
    an input, from outside until nothing of it is left
                                          the span id of the message that came in
    what worker w does with message m     derived(m's span id, w)
    a barrier b that joins m1, m2, …      derived(m1's span id, b)
    a call c that worker w makes          derived(span id of c's frame on tool_req, w)

    derived(id, name) = the first 8 bytes of SHA-256(8 bytes of id | name in UTF-8); 00…01 if they are all zero

``w`` is the name with which the worker signs what it sends, the topic of its frames. So the span from which a message
comes has the id derived(its first parent, its topic): whoever made it, a worker or a barrier. A message without parents
comes from outside, from the span that has its own id.

SHA-256, since every language has it at hand.
"""

from __future__ import annotations

__all__ = ["MADE_BY_NOBODY", "derived", "maker", "read_traceparent", "traceparent"]

import re
from hashlib import sha256

MADE_BY_NOBODY = b""
"""Instead of the id of a parent, of a span that has none."""

_NEVER_ZERO = b"\0\0\0\0\0\0\0\1"

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


def derived(span_id: bytes, name: str) -> bytes:
    """Return the id of the span of what somebody of this name makes of the message with this span id."""
    made = sha256(span_id + name.encode()).digest()[:8]
    return made if any(made) else _NEVER_ZERO


def maker(span_id: bytes, parents: bytes, topic: str) -> bytes:
    """Return the id of the span from which a message comes that somebody sent.

    Args:
        span_id, parents, topic: of its frame.
    """
    return derived(parents[:8], topic) if parents else span_id


def traceparent(trace_id: bytes, span_id: bytes) -> str:
    """Return a span as the header ``traceparent`` of W3C names it."""
    return f"00-{trace_id.hex()}-{span_id.hex()}-01"


def read_traceparent(text: str) -> tuple[bytes, bytes] | None:
    """Return trace id and span id of a header ``traceparent``; ``None`` if it is none."""
    found = _TRACEPARENT.fullmatch(text.strip())
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    trace_id, span_id = bytes.fromhex(found[2]), bytes.fromhex(found[3])
    return (trace_id, span_id) if any(trace_id) and any(span_id) else None
