"""The tools of an agent: what its model is told of them, and what its calls of them mean.

A provider takes names of letters, digits, ``_`` and ``-``; ours have dots. So a tool is told by the last part of its
name where that is enough, else by the whole with ``_`` for ``.``. A model that writes the name in another way that it
may have seen is understood, too.

Arguments are an object for every provider. Of a tool whose arguments are no record they are ``{"input": VALUE}``.
"""

from __future__ import annotations

__all__ = [
    "PIN",
    "RESULT_BYTES_MAX",
    "UNPIN",
    "ArgumentsRefused",
    "McpTool",
    "Toolbox",
    "read_mcp_tools",
    "read_pin",
    "read_result",
]

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from fabric.errors import ConfigError, ValueRejected
from fabric.wire.payload import Record, Type, decode_json, encode_json, json_schema, resolve, show, validator
from fabric.wire.spec import ToolSpec
from plumb_agent.messages import Tool, ToolUseBlock
from plumb_agent.pins import PINS_MAX, canonical_key

PIN, UNPIN = "pin", "unpin"

RESULT_BYTES_MAX = 1024 * 1024
"""A result that is longer is an error to the model: no model could read it."""

NAME_CHARS_MAX = 64
"""What every provider takes."""

DEPTH_TEXT = "values that are not nested so deeply"


class McpTool(msgspec.Struct, frozen=True):
    """A tool of an MCP server. ``name``: SERVER.TOOL; ``inputSchema`` is the server's JSON Schema of its arguments."""

    name: str
    description: str = ""
    inputSchema: dict[str, Any] = {}  # noqa: N815 - the protocol's word


class _McpTools(msgspec.Struct):
    tools: tuple[McpTool, ...]


def read_mcp_tools(text: bytes) -> tuple[McpTool, ...]:
    """Read the file that ``PLUMB_MCP_TOOLS`` names: ``{"tools": [{"name", "description", "inputSchema"}, ...]}``.

    Raises:
        ConfigError: it is something else.
    """
    try:
        tools = msgspec.json.decode(text, type=_McpTools).tools
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ConfigError(f"the file of PLUMB_MCP_TOOLS is no list of tools: {error}") from None
    for name, count in Counter(tool.name for tool in tools).items():
        if not name or count > 1:
            raise ConfigError(f"the file of PLUMB_MCP_TOOLS has {count} tools with the name {name!r}")
    for tool in tools:
        if tool.inputSchema.get("type", "object") != "object":
            raise ConfigError(f"the file of PLUMB_MCP_TOOLS: the inputSchema of {tool.name!r} is not that of an object")
    return tools


class ArgumentsRefused(ValueError):
    """A call that no tool can be given; the message is for the model."""


class _Known(msgspec.Struct, frozen=True):
    """A tool.

    Attributes:
        name: by which the coordinator knows it.
        shown: by which the model does.
        type: of its arguments; ``None``: whoever has the tool checks them.
    """

    name: str
    shown: str
    type: Type | None = None


class Toolbox:
    """What an agent may call.

    Args:
        tools: of the program.
        mcp_tools: of MCP servers. One with the name of a tool of the program is left out: whoever does the calls would
            take it for that.

    Attributes:
        offered: as a model is told of them, with ``pin`` and ``unpin``. An agent without tools has those, too, as the
            documentation of agents says: what it can be told does not depend on how it is wired.
    """

    def __init__(self, tools: Sequence[ToolSpec], mcp_tools: Sequence[McpTool] = ()) -> None:
        ours = {tool.name for tool in tools}
        mcp_tools = [tool for tool in mcp_tools if tool.name not in ours]
        shown = _shown_names([*(tool.name for tool in tools), *(tool.name for tool in mcp_tools)])
        self._spelled = _spellings(
            [
                *(_Known(tool.name, shown[tool.name], tool.arguments) for tool in tools),
                *(_Known(tool.name, shown[tool.name]) for tool in mcp_tools),
            ]
        )
        self.offered: tuple[Tool, ...] = (
            *(Tool(shown[tool.name], tool.description, _schema(tool.arguments)) for tool in tools),
            *(Tool(shown[t.name], t.description, {"type": "object", **t.inputSchema}) for t in mcp_tools),
            *_SYNTHETIC,
        )

    def find(self, name: str) -> _Known:
        """Return the tool that a model means.

        Raises:
            ArgumentsRefused: there is none.
        """
        known = self._spelled.get(name)
        if known is None:
            names = ", ".join(tool.name for tool in self.offered)
            raise ArgumentsRefused(f"there is no tool {name!r}; there are: {names}")
        return known

    def arguments(self, call: ToolUseBlock) -> tuple[str, Any]:
        """Return the tool's name and what it is given, as the coordinator takes them.

        Raises:
            ArgumentsRefused: there is no such tool, or these arguments do not have its type.
        """
        known = self.find(call.name)
        if known.type is None:
            return known.name, call.input
        value: Any = call.input
        try:
            if _is_wrapped(known.type):
                if value.keys() != {"input"}:
                    wanted = f'object {{"input": {show(known.type)}}}'
                    raise ValueRejected("$", wanted, f"object with {', '.join(map(repr, value)) or 'nothing'}")
                value = value["input"]
            return known.name, decode_json(validator(known.type).check(encode_json(value))[1])
        except (ValueRejected, RecursionError) as error:
            reason = error if isinstance(error, ValueRejected) else f"expected {DEPTH_TEXT}"
            raise ArgumentsRefused(f"the arguments of {known.shown!r} do not have its type: {reason}") from None

    def key_of(self, name: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any], str]:
        """Return the canonical form of a call, its arguments in that form, and the name by which the model knows it.

        Raises:
            ArgumentsRefused: there is no such tool, or the arguments are nested too deeply.
        """
        shown = self.find(name).shown
        try:
            return *canonical_key(shown, arguments), shown
        except RecursionError:
            raise ArgumentsRefused(f"expected {DEPTH_TEXT} in the arguments of {shown!r}") from None


def read_pin(call: ToolUseBlock) -> tuple[str, dict[str, Any]]:
    """Return tool and arguments of the call that is to be pinned or unpinned.

    Raises:
        ArgumentsRefused: they are not said.
    """
    tool, arguments = call.input.get("tool"), call.input.get("arguments")
    if not isinstance(tool, str) or not isinstance(arguments, dict) or len(call.input) != 2:
        raise ArgumentsRefused(f'{call.name} takes {{"tool": string, "arguments": object}}, as the tool was called')
    return tool, arguments


def read_result(content: Any) -> tuple[str, bool]:
    """Return a result as a model reads it, and whether it is an error."""
    text = content if isinstance(content, str) else encode_json(content).decode()
    size = len(text.encode(errors="replace"))
    if size > RESULT_BYTES_MAX:
        return f"the result has {size} bytes; {RESULT_BYTES_MAX} is the most: ask for less of it at a time", True
    return text, False


# --- Names --------------------------------------------------------------------------------------------------------


def _shown_names(names: Iterable[str]) -> dict[str, str]:
    """Return the names towards a model."""
    names = list(names)
    last = {name: _plain(name.rpartition(".")[2]) for name in names}
    often = Counter(last.values())
    taken = {PIN, UNPIN}
    shown: dict[str, str] = {}
    short = [name for name in names if often[last[name]] == 1 and last[name] not in taken]
    for name in (*short, *(name for name in names if name not in short)):
        wanted = last[name] if name in short else _plain(name)
        unique, number = wanted, 2
        while unique in taken:
            unique, number = f"{wanted[: NAME_CHARS_MAX - 4]}_{number}", number + 1
        taken.add(unique)
        shown[name] = unique
    return shown


def _plain(name: str) -> str:
    return re.sub("[^A-Za-z0-9_-]", "_", name)[:NAME_CHARS_MAX] or "_"


def _spellings(tools: Sequence[_Known]) -> dict[str, _Known]:
    """Return the tools by every name that a model may use. What it was told goes before what it may guess."""
    names = [
        *((tool.shown, tool) for tool in tools),
        *((tool.name, tool) for tool in tools),
        *((tool.name.replace(".", underscores), tool) for underscores in ("__", "_") for tool in tools),
    ]
    spelled = dict(reversed(names))
    for name in (PIN, UNPIN):
        spelled.pop(name, None)
    return spelled


# --- Schemas ------------------------------------------------------------------------------------------------------


def _is_wrapped(arguments: Type) -> bool:
    return not isinstance(resolve(arguments), Record)


def _schema(arguments: Type) -> dict[str, Any]:
    schema = json_schema(arguments)
    if not _is_wrapped(arguments):
        return schema
    return {"type": "object", "properties": {"input": schema}, "required": ["input"], "additionalProperties": False}


_CALL_SCHEMA = {
    "type": "object",
    "properties": {"tool": {"type": "string"}, "arguments": {"type": "object"}},
    "required": ["tool", "arguments"],
    "additionalProperties": False,
}

_SYNTHETIC = (
    Tool(
        PIN,
        "Keep the result of an earlier tool call in your context when the conversation is compacted. Give the name and "
        f"the arguments of that call. {PINS_MAX} results can be pinned; then the oldest makes room.",
        _CALL_SCHEMA,
    ),
    Tool(UNPIN, "Let go of the result of a tool call that you pinned. Give the name and the arguments.", _CALL_SCHEMA),
)
