"""What a worker writes for people, line by line."""

from __future__ import annotations

__all__ = ["STDERR_LINE_BYTES_MAX", "read_lines"]

from collections.abc import AsyncIterator

import trio

STDERR_LINE_BYTES_MAX = 1024 * 1024
"""What is longer of a line on stderr is left out: a program that never ends its line must not fill the memory."""


async def read_lines(stream: trio.lowlevel.FdStream) -> AsyncIterator[str]:
    """Give the lines of a pipe, without line ends, until its end; close it."""
    line = bytearray()
    async with stream:
        async for chunk in stream:
            *ends, rest = chunk.split(b"\n")
            for end in ends:
                yield (line + end)[:STDERR_LINE_BYTES_MAX].decode(errors="replace")
                line.clear()
            line += rest
            del line[STDERR_LINE_BYTES_MAX:]
        if line:
            yield line.decode(errors="replace")
