"""stdin and stdout as one connection: a JSON-RPC message a line.

Not the SDK's own transport: that one reads a line of any length, and says nothing about one that it cannot read.
"""

from __future__ import annotations

__all__ = ["MESSAGE_BYTES_MAX", "MessageLines", "read_message", "serve_lines"]

import os
from collections.abc import Iterator
from typing import Any

import mcp_types as types
import trio
from mcp.server.lowlevel.server import Server
from mcp.shared._context_streams import create_context_streams
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from fabric.errors import ValueRejected
from fabric.runtime.gateway import write_all
from fabric.wire.payload import decode_json

MESSAGE_BYTES_MAX = 4 * 1024 * 1024
"""Of one message; the SDK has the same limit for HTTP."""

CHUNK_BYTES = 64 * 1024


class MessageLines:
    """Cuts a stream of bytes into lines; one that is too long is left out. Pure.

    Args:
        size_bytes_max: of a line.
    """

    def __init__(self, size_bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        self._size_bytes_max = size_bytes_max
        self._rest = bytearray()
        self._too_long = False

    def feed(self, chunk: bytes) -> Iterator[bytes | None]:
        """Yield the lines that this chunk completes, ``None`` for each that is too long. The last needs its end."""
        *whole, tail = chunk.split(b"\n")
        for piece in whole:
            self._add(piece)
            yield None if self._too_long else bytes(self._rest)
            self._rest, self._too_long = bytearray(), False
        self._add(tail)

    def _add(self, piece: bytes) -> None:
        self._too_long = self._too_long or len(self._rest) + len(piece) > self._size_bytes_max
        self._rest = bytearray() if self._too_long else self._rest + piece


async def serve_lines(server: Server[Any], stdin_fd: int, stdout_fd: int) -> None:
    """Serve until stdin ends; what is under way then is ended. A stdout that nobody reads is an end, too."""
    incoming, to_server = create_context_streams[SessionMessage | Exception](0)
    from_server, outgoing = create_context_streams[SessionMessage](0)

    writing = trio.Lock()

    async def say(message: types.JSONRPCMessage) -> None:
        data = message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
        async with writing:
            await trio.to_thread.run_sync(write_all, stdout_fd, data, abandon_on_cancel=True)

    async def read() -> None:
        lines = MessageLines()
        async with incoming:
            while chunk := await trio.to_thread.run_sync(os.read, stdin_fd, CHUNK_BYTES, abandon_on_cancel=True):
                for line in lines.feed(chunk):
                    message = read_message(line)
                    if isinstance(message, types.JSONRPCError) and message.id is None:
                        await say(message)
                    elif message is not None:
                        await incoming.send(SessionMessage(message))

    async def write() -> None:
        async for message in outgoing:
            await say(message.message)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(write)
            await server.run(to_server, from_server, server.create_initialization_options())
            nursery.cancel_scope.cancel()
    except* OSError:  # the client has left
        pass


def read_message(line: bytes | None) -> types.JSONRPCMessage | None:
    """Return the message of a line, the error without an id that answers one that is none, ``None`` for a blank one."""
    if line is None:
        return _error(types.INVALID_REQUEST, f"a message has at most {MESSAGE_BYTES_MAX} bytes")
    if not line.strip():
        return None
    try:
        plain = decode_json(line)
    except ValueRejected as error:
        return _error(types.PARSE_ERROR, f"expected a line of JSON: {error.got}")
    try:
        message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError:
        return _error(types.INVALID_REQUEST, "expected one JSON-RPC 2.0 message")
    if isinstance(message, types.JSONRPCNotification) and "id" in plain:  # the SDK overlooks an id that is none
        return _error(types.INVALID_REQUEST, "expected an id that is a string or a whole number")
    return message


def _error(code: int, message: str) -> types.JSONRPCError:
    return types.JSONRPCError(jsonrpc="2.0", id=None, error=types.ErrorData(code=code, message=message))
