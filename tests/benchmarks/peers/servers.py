"""Servers that peers need: started on a free loopback port, keeping nothing, stopped at the end."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

STARTED_WITHIN_S = 10.0


def nats_server():
    """Run nats-server; give its address."""
    return _serve("nats://127.0.0.1:{port}", "nats-server", "--addr", "127.0.0.1", "--port", "{port}")


def redis_server():
    """Run redis-server without persistence; give its address."""
    return _serve(
        "redis://127.0.0.1:{port}/0",
        *("redis-server", "--bind", "127.0.0.1", "--port", "{port}", "--save", "", "--appendonly", "no"),
    )


@contextmanager
def _serve(address: str, *command: str) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            [word.format(port=port) for word in command], cwd=directory, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            _wait_until_it_listens(server, port, command[0])
            yield address.format(port=port)
        finally:
            server.terminate()
            server.wait()


def _wait_until_it_listens(server: subprocess.Popen[bytes], port: int, name: str) -> None:
    give_up_s = time.monotonic() + STARTED_WITHIN_S
    while time.monotonic() < give_up_s and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            time.sleep(0.005)
        else:
            return
    sys.exit(f"{name} does not listen on port {port}")
