"""A server that speaks S3, in a process of its own, and a wire in front of it that breaks."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager

_SERVE = """
import sys
import threading
from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer

put, one_at_a_time = S3Response._key_response_put, threading.Lock()

def put_alone(*args):  # moto looks for the object and then writes it, in two steps; S3 does it in one
    with one_at_a_time:
        return put(*args)

S3Response._key_response_put = put_alone
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""

BUCKET = "fabric-tests"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "the-very-secret", "AWS_REGION": "us-east-1"}


def environment(port: int) -> dict[str, str]:
    """Return the variables by which a process finds a server at a port of this machine."""
    return {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ALLOW_HTTP": "true", **CREDENTIALS}


@contextmanager
def serve_s3() -> Iterator[int]:
    """Start a server with one bucket; yield its port."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = int(process.stdout.readline())
        made = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
        with urllib.request.urlopen(made) as answer:
            assert answer.status == 200
        yield port
        process.stdin.close()


class BreakingWire:
    """Passes connections on to a server. While ``losses`` is not 0, a put comes through, and its answer does not.

    Attributes:
        port: where it listens.
        losses: how many more answers are lost; each takes one off.
    """

    def __init__(self, server: int) -> None:
        self.losses = 0
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections. May be called twice."""
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # it is closed
                return
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._server))
        with closing(client), closing(server):
            lost = threading.Event()
            answers = threading.Thread(target=self._answer, args=(server, client, lost), daemon=True)
            answers.start()
            while request := _received(client):
                if request.startswith(b"PUT ") and self.losses > 0:
                    self.losses -= 1
                    lost.set()
                server.sendall(request)
            answers.join()

    def _answer(self, server: socket.socket, client: socket.socket, lost: threading.Event) -> None:
        """Pass answers on. One that is lost was given all the same: the server has done what it was asked."""
        while answer := _received(server):
            if lost.is_set():
                break
            client.sendall(answer)
        for side in (client, server):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


def _received(side: socket.socket) -> bytes:
    try:
        return side.recv(65_536)
    except OSError:
        return b""
