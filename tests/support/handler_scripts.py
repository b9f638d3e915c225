"""Handlers that do as they like, as scripts."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from fabric.handlers.invocation import Call


def python(script: str) -> list[str]:
    """Return a command that runs a script, without what a start usually loads."""
    return [sys.executable, "-I", "-S", "-c", script]


def call(given: bytes = b"", metadata: Mapping[str, str] | None = None) -> Call:
    """Return a call with this input."""
    return Call(session="s1", agent="a1", metadata=metadata or {}, id="s1:3", base=3, input=given)


SERVING = """
import http.server, os, socket, sys
def act(server, body): pass
{act}
class Handler(http.server.BaseHTTPRequestHandler):
    def say(self, status, body=b""):
        self.send_response(status); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def do_GET(self): self.say({health})
    def do_POST(self): act(self, self.rfile.read(int(self.headers["Content-Length"])))
    def log_message(self, *arguments): pass
there = socket.socket(fileno=int(os.environ["PUGMARK_RPC_URL"].removeprefix("fd://")))
server = http.server.HTTPServer(there.getsockname(), Handler, bind_and_activate=False)
server.socket.close(); server.socket = there
server.serve_forever()
"""


def serving(act: str, health: int = 200) -> list[str]:
    """Return a command that serves: ``act`` defines what is done with a request."""
    return python(SERVING.format(act=act, health=health))
