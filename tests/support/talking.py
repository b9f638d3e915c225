"""Words of tests that feed a conversation by hand."""

from __future__ import annotations

from random import Random
from typing import Any

from fabric.wire.frame import Provenance
from fabric.wire.payload import STRING, Alias, Field, Prim, Record, Type
from fabric.wire.spec import ToolSpec, WorkerSpec
from plumb_agent.config import read_config
from plumb_agent.conversation import Conversation
from plumb_agent.events import CallProvider, Command, ControlArrived, EmitTelemetry, InputArrived, Log, ReplyArrived
from plumb_agent.messages import Message, Reply, Request, TextBlock, ToolResultBlock, ToolUseBlock, Usage
from plumb_agent.toolbox import McpTool

ORIGIN = Provenance(b"t" * 16, b"s" * 8, 1)
VERDICT = Alias("Verdict", Record((Field("ok", Prim("bool")),)))
QUERY = Alias("Query", Record((Field("path", STRING),)))
READ = ToolSpec("Fs.read", QUERY, STRING, "Read a file.")
SHOUT = ToolSpec("shout", STRING, STRING, "Say it loudly.")
TIME = McpTool("time.now", "What time it is.", {"properties": {"zone": {"type": "string"}}})


def converse(
    *,
    input: Type = STRING,  # noqa: A002 - as in the spec
    output: Type = STRING,
    tools: tuple[ToolSpec, ...] = (),
    mcp_tools: tuple[McpTool, ...] = (),
    part_of: str = "",
    metered: bool = False,
    durable: bool = False,
    **config: Any,
) -> Conversation:
    """Return a conversation of the agent ``judge``."""
    config = {"provider": "p", "model": "m", "tools": [tool.name for tool in tools], **config}
    told = {"part_of": part_of, "metered": metered, "durable": durable}
    spec = WorkerSpec("judge", "agent", input, output, config, tools=tools, **told)  # type: ignore[arg-type]
    return Conversation(spec, read_config(spec), Random(0), mcp_tools)


def handle(conversation: Conversation, *events: Any) -> list[Command]:
    """Feed events; leave out debug lines."""
    commands = [command for event in events for command in conversation.handle(event, 0.0)]
    return [c for c in commands if not (isinstance(c, Log) and c.level == "debug")]


def untold(commands: list[Command]) -> list[Command]:
    """Leave telemetry out."""
    return [command for command in commands if not isinstance(command, EmitTelemetry)]


def told(commands: list[Command], kind: str) -> list[dict[str, Any]]:
    """Return the telemetry of one kind, without ``kind``."""
    events = [command.event for command in commands if isinstance(command, EmitTelemetry)]
    return [{k: v for k, v in event.items() if k != "kind"} for event in events if event["kind"] == kind]


def reply(text: str, **fields: Any) -> ReplyArrived:
    return ReplyArrived(Reply((TextBlock(text),), Usage(3, 2), **fields))


def use(id_: str, name: str, **arguments: Any) -> ToolUseBlock:
    return ToolUseBlock(id_, name, arguments)


def calling(*calls: ToolUseBlock, text: str = "") -> ReplyArrived:
    """Return a reply that calls tools."""
    blocks = ((TextBlock(text),) if text else ()) + calls
    return ReplyArrived(Reply(blocks, Usage(3, 2), "tool_use"))


def control(text: str) -> ControlArrived:
    return ControlArrived(text.encode())


def user(text: str) -> Message:
    return Message("user", text)


def assistant(*content: str | ToolUseBlock) -> Message:
    return Message("assistant", tuple(TextBlock(item) if isinstance(item, str) else item for item in content))


def results(*found: tuple[str, str] | tuple[str, str, bool]) -> Message:
    """Return the message with the results of a round."""
    return Message("user", tuple(ToolResultBlock(*result) for result in found))


def request_of(commands: list[Command]) -> Request:
    """Return the one call of the model among the commands."""
    (request,) = [command.request for command in commands if isinstance(command, CallProvider)]
    return request


def messages_of(commands: list[Command]) -> list[Message]:
    """Return the messages of the call among the commands."""
    return list(request_of(commands).messages)


def usage(origin: Provenance | None = None) -> EmitTelemetry:
    counts = {"prompt_tokens": 3, "completion_tokens": 2, "cache_read_tokens": 0, "cache_creation_tokens": 0}
    return EmitTelemetry({"kind": "usage", **counts, "model": "m"}, origin)


def output(content: Any, origin: Provenance | None = None) -> EmitTelemetry:
    return EmitTelemetry({"kind": "output", "content": content}, origin)


def answered(conversation: Conversation, *exchanges: tuple[str, str]) -> Conversation:
    for said, answer in exchanges:
        handle(conversation, InputArrived(said.encode()), reply(answer))
    return conversation
