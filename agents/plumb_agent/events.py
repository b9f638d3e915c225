"""What happens to a conversation, and what it wants done: the words between the machine and its shell.

A shell performs commands in the order in which they are returned, and feeds back what comes of them.
"""

from __future__ import annotations

__all__ = [
    "CallFailed",
    "CallProvider",
    "CallTool",
    "Command",
    "ControlArrived",
    "ControlEnded",
    "Decline",
    "Emit",
    "EmitTelemetry",
    "EndOutput",
    "Event",
    "Fail",
    "Finish",
    "ForwardMarker",
    "InputArrived",
    "InputEnded",
    "Log",
    "MarkerArrived",
    "ReplyArrived",
    "Respond",
    "Settle",
    "Started",
    "ToolAnswered",
    "ToolFailed",
    "ToolsEnded",
    "Wait",
    "Waited",
]

from typing import Any, Literal, TypeAlias

import msgspec

from fabric.wire.frame import Provenance
from fabric.wire.recall import ModelAnswer
from plumb_agent.messages import Reply, Request, Usage

# --- Events -------------------------------------------------------------------------------------------------------


class Started(msgspec.Struct, frozen=True, tag=True):
    """The shell is ready. Comes first."""


class InputArrived(msgspec.Struct, frozen=True, tag=True):
    """A message on the input: JSON text, and where it comes from, if the sender said so."""

    payload: bytes
    origin: Provenance | None = None


class MarkerArrived(msgspec.Struct, frozen=True, tag=True):
    """A marker on the input."""

    id: str


class InputEnded(msgspec.Struct, frozen=True, tag=True):
    """No more inputs and markers."""


class ControlArrived(msgspec.Struct, frozen=True, tag=True):
    """A message on ctrl_in."""

    payload: bytes


class ControlEnded(msgspec.Struct, frozen=True, tag=True):
    """No more control messages; also where there is no control channel at all."""


class ReplyArrived(msgspec.Struct, frozen=True, tag=True):
    """The call in progress gave a reply."""

    reply: Reply


class CallFailed(msgspec.Struct, frozen=True, tag=True):
    """The call in progress gave none.

    Attributes:
        code: a word for why; ``message`` says it.
        details: belong into the error line.
        transient: whether asking again may help.
        retry_after_s: how long the provider asks to wait before that.
        usage: what it cost all the same; ``None``: nothing, ``"all"``: nobody knows.
    """

    code: str
    message: str
    details: dict[str, str] = {}
    transient: bool = False
    retry_after_s: float | None = None
    usage: Usage | Literal["all"] | None = None


class Waited(msgspec.Struct, frozen=True, tag=True):
    """The time of a Wait is over."""


class ToolAnswered(msgspec.Struct, frozen=True, tag=True):
    """A call of a tool was done. ``content``: a plain JSON value."""

    id: str
    content: Any


class ToolFailed(msgspec.Struct, frozen=True, tag=True):
    """A call of a tool was not done. ``error``: why, in words."""

    id: str
    error: str


class ToolsEnded(msgspec.Struct, frozen=True, tag=True):
    """No more answers of tools."""


Event: TypeAlias = (
    Started
    | InputArrived
    | MarkerArrived
    | InputEnded
    | ControlArrived
    | ControlEnded
    | ReplyArrived
    | CallFailed
    | Waited
    | ToolAnswered
    | ToolFailed
    | ToolsEnded
)

# --- Commands -----------------------------------------------------------------------------------------------------


class CallProvider(msgspec.Struct, frozen=True, tag=True):
    """Call the model, and answer with ReplyArrived or CallFailed. One call at a time.

    ``origin`` is that of the input for which it is called.
    """

    request: Request
    origin: Provenance | None = None


class Wait(msgspec.Struct, frozen=True, tag=True):
    """Let so many seconds pass, and answer with Waited. No call is in progress meanwhile."""

    delay_s: float


class CallTool(msgspec.Struct, frozen=True, tag=True):
    """Write a call on tool_req, and answer with ToolAnswered or ToolFailed. There may be several at a time.

    Attributes:
        id: ours; no other call of this process has it. Of a durable run the same in each process that makes it.
        name: of the tool, as the coordinator knows it.
        arguments: a plain JSON value.
        origin: that of the input for which it is called.
        answers: of the model, that are to be told with it.
    """

    id: str
    name: str
    arguments: Any
    origin: Provenance | None = None
    answers: tuple[ModelAnswer, ...] = ()


class Settle(msgspec.Struct, frozen=True, tag=True):
    """Write on tool_req what a call of the model has used of its reservation. Nothing comes of it.

    Attributes:
        id: of the reservation.
        usage: ``None``: nothing but the attempt was used; ``"all"``: nobody knows.
    """

    id: str
    usage: Usage | Literal["all"] | None


class Emit(msgspec.Struct, frozen=True, tag=True):
    """Write an output; ``origin`` is that of the input that it answers."""

    payload: bytes
    origin: Provenance | None = None


class Decline(msgspec.Struct, frozen=True, tag=True):
    """Write, instead of an output, that the message cannot be done. The conversation goes on without it."""

    code: str
    message: str


class ForwardMarker(msgspec.Struct, frozen=True, tag=True):
    """Pass a marker on, behind everything written so far, on every output port."""

    id: str


class EmitTelemetry(msgspec.Struct, frozen=True, tag=True):
    """Write a telemetry event."""

    event: dict[str, Any]
    origin: Provenance | None = None


class Respond(msgspec.Struct, frozen=True, tag=True):
    """Write a message on ctrl_out."""

    message: dict[str, Any]


class Log(msgspec.Struct, frozen=True, tag=True):
    """Write a log line."""

    level: Literal["debug", "warning"]
    event: str
    fields: dict[str, Any]


class EndOutput(msgspec.Struct, frozen=True, tag=True):
    """Write the end of the output. Control and telemetry go on."""


class Finish(msgspec.Struct, frozen=True, tag=True):
    """End the other ports and leave with status 0. The last command."""


class Fail(msgspec.Struct, frozen=True, tag=True):
    """Write an error line and leave with this status. The last command."""

    code: str
    message: str
    exit_code: int = 1
    details: dict[str, str] = {}


Command: TypeAlias = (
    CallProvider
    | Wait
    | CallTool
    | Settle
    | Emit
    | Decline
    | ForwardMarker
    | EmitTelemetry
    | Respond
    | Log
    | EndOutput
    | Finish
    | Fail
)
