"""A model behind HTTP that counts its requests: what a budget is about, seen from the other side."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USAGE = {"prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100}


class PaidModel(ThreadingHTTPServer):
    """Chat completions. ``busy``: how many requests are refused with 503 before the first is answered."""

    daemon_threads = True

    def __init__(self, busy: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.busy = busy
        self.requests: list[Any] = []
        self.counting = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: PaidModel

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.counting:
            self.server.requests.append(body)
            number = len(self.server.requests)
        if number <= self.server.busy:
            self.send_response(503)
            self.send_header("content-length", "0")
            self.end_headers()
            return
        head = {"id": "c", "object": "chat.completion.chunk", "model": body["model"]}
        choices = ({"delta": {"content": '"well"'}, "finish_reason": None}, {"delta": {}, "finish_reason": "stop"})
        chunks = [head | {"choices": [{"index": 0, **choice}]} for choice in choices]
        chunks.append(head | {"choices": [], "usage": USAGE})
        stream = b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(stream)))
        self.end_headers()
        self.wfile.write(stream)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def paid_model(busy: int = 0) -> Iterator[PaidModel]:
    """Serve it as long as the body runs."""
    with PaidModel(busy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
