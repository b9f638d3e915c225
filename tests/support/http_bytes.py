"""A server on a unix socket that answers with the bytes that it is told to: what no real peer can be brought to say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

HEAD_BYTES_MAX = 64 * 1024


class Cut(bytes):
    """An answer behind which the server hangs up."""


class Scripted:
    """What was asked, and what is answered.

    Attributes:
        asked: the first lines of the requests, in order.
        connections: how many there were.
        open: how many there are.
    """

    def __init__(self, answers: Sequence[bytes | None]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.connections = 0
        self.open = 0
        self.closed = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer each request with the next answer; behind one that is ``None`` hang up without a word, behind the
        last be silent.
        """
        self.connections += 1
        self.open += 1
        try:
            data = b""
            while True:
                while b"\r\n\r\n" not in data:
                    chunk = await stream.receive_some(HEAD_BYTES_MAX)
                    if not chunk:
                        return
                    data += chunk
                head, _, data = data.partition(b"\r\n\r\n")
                self.asked.append(head.decode().splitlines()[0])
                if not self.answers:
                    await stream.receive_some(1)
                    return
                answer = self.answers.pop(0)
                if answer is None:
                    return
                await stream.send_all(answer)
                if isinstance(answer, Cut):
                    return
        except trio.BrokenResourceError:
            return
        finally:
            self.open -= 1
            self.closed.set()
            await stream.aclose()


def answer(body: bytes, status: str = "200 OK") -> bytes:
    """Return an answer that keeps its connection."""
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


@asynccontextmanager
async def scripted_server(path: Path, answers: Sequence[bytes | None]) -> AsyncIterator[Scripted]:
    """Serve on a unix socket until the body ends."""
    scripted = Scripted(answers)
    listening = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    await listening.bind(str(path))
    listening.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, scripted.serve, [trio.SocketListener(listening)])
        yield scripted
        nursery.cancel_scope.cancel()
