"""A web server on this machine that says what a test wants, and remembers what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Said:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class WebServer:
    """``script``: answers in order, the last one again and again; or a function that gives the answer."""

    port: int
    script: list[Said]
    asked: list[Asked]
    answer: Callable[[Asked], Said] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def next(self, asked: Asked) -> Said:
        self.asked.append(asked)
        if self.answer is not None:
            return self.answer(asked)
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]


@contextmanager
def web_server() -> Iterator[WebServer]:
    """Run one."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def say(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            asked = Asked(self.command, self.path, {**self.headers}, self.rfile.read(length))
            said = shown.next(asked)
            self.send_response(said.status)
            for name, value in {"content-length": str(len(said.body)), **said.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said.body)

        def log_message(self, *arguments: object) -> None:
            pass

    for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
        setattr(Handler, f"do_{method}", Handler.say)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    shown = WebServer(server.server_port, [], [])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield shown
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
