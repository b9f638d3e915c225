"""What a model is told of its tools."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.errors import ConfigError
from fabric.wire.payload import JSON, STRING, Alias, Field, ListOf, Prim, Record, Sum, Type
from fabric.wire.spec import ToolSpec
from plumb_agent.messages import ToolUseBlock
from plumb_agent.toolbox import ArgumentsRefused, McpTool, Toolbox, read_mcp_tools

QUERY = Record((Field("path", STRING), Field("limit", Prim("int"), optional=True)))


def names(*tools: str, mcp: tuple[str, ...] = ()) -> list[str]:
    """Return the names towards a model, without pin and unpin."""
    box = Toolbox([ToolSpec(name, STRING, STRING) for name in tools], [McpTool(name) for name in mcp])
    shown = [tool.name for tool in box.offered]
    assert shown[-2:] == ["pin", "unpin"]
    return shown[:-2]


def test_a_tool_is_shown_by_its_last_part_where_that_is_enough():
    """Else by all parts; never by the name of another, or of pin."""
    assert names("Fs.read", "words", mcp=("time.now",)) == ["read", "words", "now"]
    assert names("Fs.read", "Web.read", "read") == ["Fs_read", "Web_read", "read"]
    assert names("A.b.c", "Z.c") == ["A_b_c", "Z_c"]
    assert names("pin", "My.unpin") == ["pin_2", "My_unpin"]
    assert names("A.x", "B.x", "A_x") == ["A_x_2", "B_x", "A_x"]
    assert names("größe", mcp=("s." + "n" * 80,)) == ["gr__e", "n" * 64]


def test_a_tool_of_the_program_goes_before_one_of_a_server_with_the_same_name():
    """The coordinator takes the name for that one, too; and no provider takes a name twice."""
    assert names("Time.now", "words", mcp=("Time.now", "Time.zone")) == ["now", "words", "zone"]


tool_names = st.lists(st.text("aZ.ä_- ", min_size=1, max_size=70), unique=True, max_size=6)


@given(tool_names, tool_names)
def test_any_names_become_different_ones_that_providers_take(ours: list[str], foreign: list[str]):
    """And each is understood."""
    box = Toolbox([ToolSpec(name, JSON, JSON) for name in ours], [McpTool(name) for name in foreign])
    shown = [tool.name for tool in box.offered]
    assert len(set(shown)) == len(shown)
    assert all(re.fullmatch("[A-Za-z0-9_-]{1,64}", name) for name in shown)
    for name, real in zip(shown, [*ours, *(name for name in foreign if name not in ours)], strict=False):
        assert box.arguments(ToolUseBlock("x", name, {"input": 1}))[0] == real


@pytest.mark.parametrize(
    ("type_", "wrapped"),
    [
        (QUERY, False),
        (Alias("Query", QUERY), False),
        (STRING, True),
        (JSON, True),
        (ListOf(QUERY), True),
        (Sum((QUERY, Prim("unit"))), True),
    ],
)
def test_arguments_that_are_no_record_are_wrapped(type_: Type, wrapped: bool):
    """Providers take the schema of an object only."""
    (tool, *_) = Toolbox([ToolSpec("t", type_, STRING, "Does it.")]).offered
    assert (tool.name, tool.description, tool.input_schema["type"]) == ("t", "Does it.", "object")
    assert (list(tool.input_schema["properties"]) == ["input"]) is wrapped


def test_arguments_leave_as_their_type_says():
    """3.0 is an int, and goes on as 3."""
    box = Toolbox([ToolSpec("t", QUERY, STRING), ToolSpec("u", Prim("int"), STRING)], [McpTool("s.v")])
    assert box.arguments(ToolUseBlock("x", "t", {"path": "a", "limit": 3.0})) == ("t", {"path": "a", "limit": 3})
    assert repr(box.arguments(ToolUseBlock("x", "u", {"input": 3.0}))) == "('u', 3)"
    assert box.arguments(ToolUseBlock("x", "v", {"any": [1.0]})) == ("s.v", {"any": [1.0]})


def test_arguments_that_are_nested_too_deeply_are_refused():
    """Not a crash."""
    deep: object = 1
    for _ in range(100_000):
        deep = [deep]
    box = Toolbox([ToolSpec("t", JSON, STRING)])
    with pytest.raises(ArgumentsRefused, match="nested"):
        box.key_of("t", {"input": deep})
    with pytest.raises(ArgumentsRefused, match="nested"):
        box.arguments(ToolUseBlock("x", "t", {"input": deep}))


def test_the_tools_of_servers_are_read_from_their_file():
    """What else is there is not looked at."""
    text = (
        b'{"tools":[{"name":"time.now","description":"d","inputSchema":{"type":"object"},"title":"x"},{"name":"a.b"}]}'
    )
    assert read_mcp_tools(text) == (McpTool("time.now", "d", {"type": "object"}), McpTool("a.b"))
    assert Toolbox((), read_mcp_tools(text)).offered[1].input_schema == {"type": "object"}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"tools":{}}',
        b'{"tools":[{}]}',
        b'{"tools":[{"name":1}]}',
        b'{"tools":[{"name":""}]}',
        b'{"tools":[{"name":"a.b"},{"name":"a.b"}]}',
        b'{"tools":[{"name":"a.b","inputSchema":{"type":"string"}}]}',
        b'{"tools":[{"name":"a.b","inputSchema":"x"}]}',
        b"\xff",
    ],
)
def test_a_malformed_file_of_tools_is_a_wrong_configuration(text: bytes):
    """The error names the variable."""
    with pytest.raises(ConfigError, match="PLUMB_MCP_TOOLS"):
        read_mcp_tools(text)
