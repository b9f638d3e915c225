"""Messages of the tool channels: bare JSON on tool_req and tool_resp, and why a message is declined.

A worker whose spec says ``metered`` asks here for each call of a model, too. It reserves what the call may use at most,
waits for the response, calls, and settles what it did use:

    {"id": "m1", "name": "fabric.reserve", "arguments": {"provider", "model", "prompt_tokens", "max_tokens"}}
    {"id": "m1", "content": {"max_tokens": 8192}}       so many it may ask for: perhaps fewer than it wanted
    {"id": "m1", "error": "..."}                        the budget does not have it: no call, now or later
    {"id": "m1", "name": "fabric.settle", "arguments": {"prompt_tokens", "completion_tokens", ...} | null | "all"}

``null``: nothing but the attempt was used; ``"all"``: nobody knows, so all that was reserved counts. There is no
response to that. A worker that is gone has settled with ``"all"``.

A worker whose spec says ``durable`` tells with its calls what models have answered (:mod:`fabric.wire.recall`), and
asks before it begins a message what is known of that:

    {"id": "c1", "name": "fabric.recall"}               of the message that the frame's parent names
    {"id": "c1", "content": [{"n": 1, ...}, ...]}       these need not be paid for again: none, as a rule
"""

from __future__ import annotations

__all__ = [
    "BUDGET_EXHAUSTED",
    "RECALL",
    "RESERVE",
    "SETTLE",
    "Request",
    "code_of",
    "decline",
    "failed",
    "parse_request",
    "reason_of",
    "result",
    "with_id",
]

import msgspec

from fabric.errors import ValueRejected
from fabric.wire.payload import encode_json

RESERVE = "fabric.reserve"
SETTLE = "fabric.settle"
RECALL = "fabric.recall"
"""Names that no tool can have: a module's begins with a capital letter, and no MCP server may be called ``fabric``."""

BUDGET_EXHAUSTED = "budget_exhausted"
"""The code with which a worker declines a message for which the budget has no call any more."""

ERROR_CHARS_MAX = 4_000
"""Of the words that a caller is told; a model reads them, and pays for each."""


class Request(msgspec.Struct, frozen=True):
    """``{"id": ..., "name": ..., "arguments": ...}``.

    Attributes:
        id: of the caller's choice, JSON text; the response repeats it.
        name: of the tool.
        arguments: JSON text, not validated.
        answers: what models said that led to it, and was not told before: JSON text, not validated.
    """

    id: bytes
    name: str
    arguments: bytes
    answers: bytes = b"null"


class _Wire(msgspec.Struct):
    id: str | int
    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"null")
    answers: msgspec.Raw = msgspec.Raw(b"null")


class _Response(msgspec.Struct, omit_defaults=True):
    id: msgspec.Raw
    content: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Decline(msgspec.Struct):
    error: str
    code: str = ""


_decode = msgspec.json.Decoder(_Wire).decode
_decode_response = msgspec.json.Decoder(_Response).decode
_decode_decline = msgspec.json.Decoder(_Decline).decode


def parse_request(payload: bytes) -> Request:
    """Read what a worker sent on tool_req.

    Raises:
        ValueRejected: it is something else.
    """
    try:
        wire = _decode(payload)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        wanted = '{"id": string or int, "name": string, "arguments": ...}'
        raise ValueRejected("$", wanted, f"something else ({error})") from None
    return Request(encode_json(wire.id), wire.name, bytes(wire.arguments), bytes(wire.answers))


def result(id_: bytes, content: bytes) -> bytes:
    """Return the response to a call that was done. ``content``: JSON text."""
    return b'{"id":%b,"content":%b}' % (id_, content)


def failed(id_: bytes, error: str) -> bytes:
    """Return the response to a call that was not. ``error``: why, in words."""
    return b'{"id":%b,"error":%b}' % (id_, encode_json(_words(error)))


def with_id(response: bytes, id_: bytes) -> bytes:
    """Return a response, one that :func:`result` or :func:`failed` has made, as that to another call."""
    said = _decode_response(response)
    return encode_json(_Response(msgspec.Raw(id_), said.content, said.error))


def decline(code: str, error: str) -> bytes:
    """Return what a worker says that declines a message: JSON text. ``code``: a word; ``error``: why, in words."""
    return encode_json({"error": _words(error), "code": code})


def reason_of(payload: bytes) -> str:
    """Return why a worker declines a message; if it does not say so as it should, what it says."""
    try:
        return _decode_decline(payload).error
    except (msgspec.DecodeError, ValueError, RecursionError):
        return payload[:ERROR_CHARS_MAX].decode(errors="replace")


def code_of(payload: bytes) -> str:
    """Return the code of a decline; empty if it has none."""
    try:
        return _decode_decline(payload).code
    except (msgspec.DecodeError, ValueError, RecursionError):
        return ""


def _words(text: str) -> str:
    """Return text that JSON can say, and that is not too long."""
    return text[:ERROR_CHARS_MAX].encode(errors="replace").decode()
