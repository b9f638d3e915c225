"""What a coordinator and its tool host say to each other: one JSON object a line, told apart by ``say``.

-> {"say":"open","server":{...},"environment":{...},"ready_timeout_s":30.0}      once for each server, at the start
<- {"say":"opened","server":KEY,"tools":[{"name":...,"description":...,"inputSchema":{...}}]}
<- {"say":"not_opened","server":KEY,"error":TEXT}
-> {"say":"call","call":-3,"server":KEY,"tool":NAME,"arguments":{...}}
<- {"say":"done","call":-3,"content":VALUE}    or    {"say":"failed","call":-3,"error":TEXT}
-> {"say":"cancel","call":-3}                    there may be an answer all the same, if it was on its way
<- {"say":"wrote","server":KEY,"line":TEXT}      on its stderr

Each call gets one answer, unless it is cancelled. Calls of one server run beside each other.
"""

from __future__ import annotations

__all__ = [
    "LINE_BYTES_MAX",
    "Call",
    "Cancel",
    "Done",
    "Failed",
    "FromHost",
    "NotOpened",
    "Open",
    "Opened",
    "ToHost",
    "ToolListing",
    "Wrote",
    "read_from_host",
    "read_to_host",
    "write",
]

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from fabric.errors import ValueRejected
from fabric.plan.plan import ServerPlan
from fabric.wire.codec import PAYLOAD_BYTES_MAX
from fabric.wire.lines import one_line

LINE_BYTES_MAX = 2 * PAYLOAD_BYTES_MAX
"""Of one line: a call's arguments, a result, or the descriptions of all tools of a server, and what is around it."""


class _Said(msgspec.Struct, frozen=True, tag_field="say"):
    pass


class Open(_Said, frozen=True, tag="open"):
    """Start a server, and read what tools it has.

    Attributes:
        environment: all that it gets.
        ready_timeout_s: how long that may take; also whenever it is started again.
    """

    server: ServerPlan
    environment: dict[str, str]
    ready_timeout_s: float


class Call(_Said, frozen=True, tag="call"):
    """Call a tool; ``arguments`` is any JSON, and only an object will do.

    Attributes:
        traceparent: the call's span, for the server; empty: there is none.
        key: by which the server may know that it gets the call once more; empty: it never will.
    """

    call: int
    server: str
    tool: str
    arguments: msgspec.Raw
    traceparent: str = ""
    key: str = ""


class Cancel(_Said, frozen=True, tag="cancel"):
    """Nobody waits for a call any more."""

    call: int


class ToolListing(msgspec.Struct, frozen=True, rename={"input_schema": "inputSchema"}):
    """A tool, as its server describes it. ``repeatable``: to call it once more with the same arguments does nothing."""

    name: str
    description: str
    input_schema: msgspec.Raw
    repeatable: bool = False


class Opened(_Said, frozen=True, tag="opened"):
    """A server runs, and has these tools."""

    server: str
    tools: list[ToolListing]


class NotOpened(_Said, frozen=True, tag="not_opened"):
    """A server could not be started, or does not speak as it should."""

    server: str
    error: str


class Done(_Said, frozen=True, tag="done"):
    """What a call gave."""

    call: int
    content: msgspec.Raw


class Failed(_Said, frozen=True, tag="failed"):
    """Why a call gave nothing."""

    call: int
    error: str


class Wrote(_Said, frozen=True, tag="wrote"):
    """A server wrote a line on its stderr."""

    server: str
    line: str


ToHost: TypeAlias = Open | Call | Cancel
FromHost: TypeAlias = Opened | NotOpened | Done | Failed | Wrote

_encode = msgspec.json.Encoder().encode
_decode_to: Callable[[bytes], ToHost] = msgspec.json.Decoder(ToHost).decode
_decode_from: Callable[[bytes], FromHost] = msgspec.json.Decoder(FromHost).decode


def write(message: ToHost | FromHost) -> bytes:
    """Return the line, with its end."""
    return one_line(_encode(message)) + b"\n"


def read_to_host(line: bytes) -> ToHost:
    """Read a line of the coordinator. Raises ValueRejected: it is none."""
    try:
        return _decode_to(line)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ValueRejected("$", "a line of the coordinator", str(error)) from None


def read_from_host(line: bytes) -> FromHost:
    """Read a line of the host. Raises ValueRejected: it is none."""
    try:
        return _decode_from(line)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ValueRejected("$", "a line of the tool host", str(error)) from None
