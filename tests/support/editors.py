"""An editor that speaks to the real `fabric lsp` over its pipes."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager


class Editor:
    """Sends requests and reads answers, one at a time; what the server says unasked is kept.

    Attributes:
        process: the server.
        said: notifications that nobody has looked at yet: method and params.
    """

    def __init__(self, process):
        self.process = process
        self.said = []
        self._ids = 0

    def send(self, message):
        """Write a message as it is."""
        content = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(content), content))

    def notify(self, method, **params):
        """Tell the server something."""
        self.send({"method": method, "params": params})

    async def ask(self, method, **params):
        """Send a request and return its result."""
        self._ids += 1
        message = {"id": self._ids, "method": method}
        self.send(message | ({"params": params} if params else {}))
        while True:
            answer = await self._read()
            if answer.get("id") == self._ids:
                assert "error" not in answer, answer
                return answer["result"]
            self.said.append((answer["method"], answer["params"]))

    async def diagnostics(self, uri):
        """Return the next diagnostics of a file."""
        while True:
            for number, (method, params) in enumerate(self.said):
                if method == "textDocument/publishDiagnostics" and params["uri"] == uri:
                    del self.said[number]
                    return params["diagnostics"]
            message = await self._read()
            self.said.append((message["method"], message["params"]))

    async def start(self, encodings=()):
        """Shake hands, with the encodings that this editor can do if it says so; return what the server can do."""
        capabilities = {"general": {"positionEncodings": list(encodings)}} if encodings else {}
        result = await self.ask("initialize", processId=None, rootUri=None, capabilities=capabilities)
        self.notify("initialized")
        return result["capabilities"]

    def open(self, uri, text):
        """Open a text."""
        document = {"uri": uri, "languageId": "plumb", "version": 1, "text": text}
        self.notify("textDocument/didOpen", textDocument=document)

    def change(self, uri, version, *changes):
        """Change a text: pieces of (start, end, new), or a whole text."""
        self.notify(
            "textDocument/didChange",
            textDocument={"uri": uri, "version": version},
            contentChanges=[
                {"text": change}
                if isinstance(change, str)
                else {"range": {"start": place(change[0]), "end": place(change[1])}, "text": change[2]}
                for change in changes
            ],
        )

    async def at(self, question, uri, line, column):
        """Ask about a place: hover, definition or completion."""
        return await self.ask(f"textDocument/{question}", textDocument={"uri": uri}, position=place((line, column)))

    async def end(self):
        """Take leave, and return the exit code."""
        await self.ask("shutdown")
        self.send({"method": "exit"})
        return await self.process.wait()

    async def _read(self):
        headers = await self.process.stdout.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in headers.split(b"\r\n") if line.startswith(b"Content-Length:"))
        return json.loads(await self.process.stdout.readexactly(length))


def place(position):
    """Return line and column as the protocol writes them."""
    return {"line": position[0], "character": position[1]}


@asynccontextmanager
async def editor():
    """Start a server, and see that none is left."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "fabric.cli", "lsp", stdin=pipe, stdout=pipe)
    try:
        yield Editor(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        process._transport.close()
