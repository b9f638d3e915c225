"""How long, and how often, objects are fetched that a decision names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trio

from fabric.errors import HandlerFailed
from fabric.handlers.fetching import Fetches

FOREVER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def trickle(stream: trio.SocketStream) -> None:
    """Answer a byte now and then, without an end."""
    try:
        await stream.receive_some()
        await stream.send_all(FOREVER)
        while True:
            await stream.send_all(b"1\r\nx\r\n")
            await trio.sleep(0.01)
    except trio.BrokenResourceError:
        pass


async def test_a_server_without_an_end_is_left() -> None:
    """Each byte comes in time; all of them would not. Nothing is left for another object of the same decision."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, trickle, [listener])
        uri = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/x?signature=hunter2"
        fetches = Fetches(("http",), total_s=0.2)
        for number in (1, 2):
            with pytest.raises(HandlerFailed, match=rf"/x\?\.\.\.: .* more than 0.2 s \(this is number {number}\)"):
                await fetches.fetch(uri)
        nursery.cancel_scope.cancel()


async def test_a_decision_names_so_many_and_no_more(tmp_path: Path) -> None:
    """The one after the last is refused, and not fetched."""
    (tmp_path / "x").write_bytes(b"there")
    fetches = Fetches((f"file:{tmp_path}",), at_most=2)
    uri = f"file://{tmp_path}/x"
    assert [(await fetches.fetch(uri)).body for _ in range(2)] == [b"there", b"there"]
    with pytest.raises(HandlerFailed, match="a decision may name 2 objects by uri"):
        await fetches.fetch(f"file://{tmp_path}/missing")


@pytest.mark.processes
def test_a_run_that_fetches_nothing_loads_no_client() -> None:
    """It takes a tenth of the time that a run needs to start."""
    script = "import sys, fabric.handlers.running; print('httpx2' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "False\n"
