"""What goes over tool_req and comes back on tool_resp, as JSON text."""

from __future__ import annotations

__all__ = ["call_text", "read_response", "settle_text"]

import msgspec
from msgspec import UNSET, UnsetType

from fabric.errors import ValueRejected
from fabric.wire.calls import SETTLE
from fabric.wire.payload import decode_json, encode_json
from plumb_agent.events import CallTool, Settle, ToolAnswered, ToolFailed


class _Response(msgspec.Struct):
    id: str
    content: msgspec.Raw | UnsetType = UNSET
    error: msgspec.Raw | UnsetType = UNSET


_decode = msgspec.json.Decoder(_Response).decode


def call_text(call: CallTool) -> bytes:
    """Return a call."""
    told = {"answers": call.answers} if call.answers else {}
    return encode_json({"id": call.id, "name": call.name, "arguments": call.arguments, **told})


def settle_text(settle: Settle) -> bytes:
    """Return what a call of the model has used."""
    return encode_json({"id": settle.id, "name": SETTLE, "arguments": settle.usage})


def read_response(payload: bytes) -> ToolAnswered | ToolFailed | None:
    """Read a response; ``None`` for what cannot be one of a call of ours, whose ids are strings."""
    try:
        response = _decode(payload)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    content, error = response.content, response.error
    if (content is UNSET) == (error is UNSET):
        return ToolFailed(response.id, "the tool's response has neither a content nor an error, or both")
    try:
        if not isinstance(content, UnsetType):
            return ToolAnswered(response.id, decode_json(bytes(content)))
        assert not isinstance(error, UnsetType)
        said = decode_json(bytes(error))
    except ValueRejected as refusal:  # a number that no computer has: the call failed, the agent has not
        return ToolFailed(response.id, f"the tool's response cannot be read: {refusal}")
    return ToolFailed(response.id, said if isinstance(said, str) else encode_json(said).decode())
