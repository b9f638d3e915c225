"""An MCP server over streamable HTTP, made with the MCP library, on a listening socket that it inherits."""

import socket
import sys

import uvicorn
from mcp.server.mcpserver import MCPServer

server = MCPServer("test")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
async def shout(text: str) -> str:
    """Say it loudly."""
    return text.upper() + "!"


if __name__ == "__main__":
    listener = socket.socket(fileno=int(sys.argv[1]))
    app = server.streamable_http_app()
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
