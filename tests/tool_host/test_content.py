"""What a result of an MCP tool is for the one who called it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mcp_types import CallToolResult

from fabric.tool_host.content import RESULT_BYTES_MAX, ToolFailed, content_of


def result(*content: Any, **more: Any) -> CallToolResult:
    return CallToolResult.model_validate({"content": content, **more})


TEXT = {"type": "text", "text": "one"}
PICTURE = {"type": "image", "data": "AAAAAA==", "mimeType": "image/png"}
LINK = {"type": "resource_link", "uri": "file:///x", "name": "x"}
BLOB = {"type": "resource", "resource": {"uri": "file:///x", "blob": "AAAA", "mimeType": "application/pdf"}}
PLAIN = {"type": "resource", "resource": {"uri": "file:///x", "text": "inside"}}


@pytest.mark.parametrize(
    ("given", "content"),
    [
        (result(TEXT, TEXT), "one\none"),
        (result(TEXT, PICTURE), "one\n[image, image/png, 4 bytes]"),
        (result(PICTURE), "[image, image/png, 4 bytes]"),
        (result({**PICTURE, "type": "audio", "mimeType": "audio/wav"}), "[audio, audio/wav, 4 bytes]"),
        (result(LINK), "[resource_link, file:///x]"),
        (result(BLOB), "[resource, application/pdf, 3 bytes]"),
        (result(PLAIN), "inside"),
        (result(TEXT, structuredContent={"a": 1}), "one"),
        (result(structuredContent={"a": 1}), {"a": 1}),
        (result(PICTURE, structuredContent={"a": 1}), {"a": 1}),
        (result(), None),
    ],
)
def test_text_comes_first_then_what_is_structured_then_names(given: CallToolResult, content: Any):
    """What a model cannot read is named, with its type and size."""
    assert json.loads(content_of(given)) == content


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (result(TEXT, isError=True), "^one$"),
        (result(isError=True), "^the server says that it failed, and not why$"),
        (result({"type": "text", "text": "x" * RESULT_BYTES_MAX}), "bytes; at most 1048576: ask for less"),
    ],
)
def test_what_went_wrong_or_is_too_large_is_an_error(given: CallToolResult, error: str):
    """It is not cut."""
    with pytest.raises(ToolFailed, match=error):
        content_of(given)
