"""What a result of an MCP tool is for the one who called it. Pure."""

from __future__ import annotations

__all__ = ["RESULT_BYTES_MAX", "ToolFailed", "content_of"]

from mcp_types import (
    AudioContent,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from fabric.errors import FabricError
from fabric.wire.payload import encode_json

RESULT_BYTES_MAX = 1024 * 1024
"""Of one result: more than the context of most models. A larger one is refused, not cut: who takes a part for the whole
is misled."""


class ToolFailed(FabricError):
    """A call gave no result that its caller could use. The message is for the caller."""

    code = "tool_failed"


def content_of(result: CallToolResult) -> bytes:
    """Return the content for the caller, as JSON text: text where there is any, else what is structured, else names.

    Raises:
        ToolFailed: the server says that the call went wrong, or the result is too large.
    """
    texts = [block.text for block in result.content if isinstance(block, TextContent)]
    if result.is_error:
        raise ToolFailed("\n".join(texts) or "the server says that it failed, and not why")
    if texts or (result.content and result.structured_content is None):
        content = encode_json("\n".join(map(_named, result.content)))
    else:
        content = encode_json(result.structured_content)
    if len(content) > RESULT_BYTES_MAX:
        raise ToolFailed(f"the result has {len(content)} bytes; at most {RESULT_BYTES_MAX}: ask for less")
    return content


def _named(block: ContentBlock) -> str:
    """Return text as it is, and the name of what is none: nobody who called could look at it."""
    match block:
        case TextContent():
            return block.text
        case ImageContent() | AudioContent():
            return f"[{block.type}, {block.mime_type}, {_size_bytes(block.data)} bytes]"
        case ResourceLink():
            return f"[{block.type}, {block.uri}]"
        case EmbeddedResource():
            resource = block.resource
            if isinstance(resource, TextResourceContents):
                return resource.text
            return f"[{block.type}, {resource.mime_type or 'of no type'}, {_size_bytes(resource.blob)} bytes]"
    return f"[{block.type}]"


def _size_bytes(base64: str) -> int:
    return len(base64.rstrip("=")) * 3 // 4
