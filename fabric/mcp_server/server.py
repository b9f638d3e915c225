"""The two tools behind the SDK's server, which knows the protocol in all its versions."""

from __future__ import annotations

__all__ = ["make_server"]

from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError

from fabric import __version__
from fabric.mcp_server.tools import TOOLS, Tools

INSTRUCTIONS = "Plumb programs are typed graphs of agents. Check a program before you call it."


def make_server(tools: Tools) -> Server[Any]:
    """Return the server; any number of connections may use it."""

    async def list_tools(
        _context: ServerRequestContext[Any], _params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(
            tools=[
                types.Tool(name=name, description=description, input_schema=schema)
                for name, (description, schema) in TOOLS.items()
            ]
        )

    async def call_tool(
        _context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        if params.name not in TOOLS:
            raise MCPError(types.INVALID_PARAMS, f"there is no tool {params.name!r}; the tools are: {', '.join(TOOLS)}")
        answer = await tools.use(params.name, params.arguments or {})
        return types.CallToolResult(content=[types.TextContent(text=answer.text)], is_error=answer.failed)

    return Server(
        "fabric",
        version=__version__,
        title="fabric",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
