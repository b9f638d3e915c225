"""``plumb-agent`` as a process of one's own, on lines or on sockets, behind one interface."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from fabric.transport.sockets import open_sockets
from fabric.wire.codec import decode, encode
from fabric.wire.frame import Data, Eof
from fabric.wire.payload import encode_json

COMMAND = (sys.executable, "-m", "plumb_agent")
PORTS_IN = ("input", "ctrl_in", "tool_resp")
PORTS_OUT = ("output", "ctrl_out", "telemetry", "tool_req")
MODES = ("lines", "sockets")
TIMEOUT_S = 60


class Hand:
    """One side of a worker's ports. What it wrote is read port by port; what is behind it stays for later."""

    def __init__(self, process: trio.Process, senders: Mapping[str, Any] | None = None) -> None:
        self.process = process
        self.errors: list[Any] = []
        self._arrived: dict[str, Any] = {port: trio.open_memory_channel[Any](1000) for port in PORTS_OUT}
        self._senders = senders or {}

    async def write(self, port: str, *values: Any) -> None:
        """Write values on a port of the worker."""
        for value in values:
            if self._senders:
                self._senders[port].send_nowait(encode(Data("hand", encode_json(value))))
            else:
                line = value if port == "input" else {"__port": port, "msg": value}
                assert self.process.stdin is not None
                await self.process.stdin.send_all(encode_json(line) + b"\n")

    async def read(self, port: str) -> Any:
        """Return the next value that the worker wrote on a port; the announcement is none."""
        with trio.fail_after(TIMEOUT_S):
            return await self._arrived[port][1].receive()

    async def ask(self, control: Any) -> Any:
        """Write a control object, and return its reply."""
        await self.write("ctrl_in", control)
        return await self.read("ctrl_out")

    async def end(self, *ports: str) -> int:
        """End the worker's inputs, or some of them, and return its exit status."""
        if self._senders:
            for port in ports or PORTS_IN:
                self._senders[port].send_nowait(encode(Eof("")))
        else:
            assert self.process.stdin is not None
            await self.process.stdin.aclose()
        return await self.leave()

    async def leave(self) -> int:
        """Return the exit status."""
        with trio.fail_after(TIMEOUT_S):
            return await self.process.wait()

    def arrived(self, port: str, value: Any) -> None:
        self._arrived[port][0].send_nowait(value)

    def rest(self, port: str) -> list[Any]:
        """Return what was written on a port and not read."""
        values = []
        while True:
            try:
                values.append(self._arrived[port][1].receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                return values

    async def read_lines(self) -> None:
        async for line in lines_of(self.process.stdout):
            plain = json.loads(line)
            if isinstance(plain, dict) and plain.keys() == {"__port", "msg"}:
                self.arrived(plain["__port"], plain["msg"])
            else:
                self.arrived("output", plain)
        self.close()

    def close(self) -> None:
        """Nothing more comes: who waits for it is told so."""
        for sender, _ in self._arrived.values():
            sender.close()

    async def read_errors(self) -> None:
        async for line in lines_of(self.process.stderr):
            self.errors.append(json.loads(line))

    async def read_port(self, port: str, receiver: Any) -> None:
        while True:
            for raw in await receiver.receive():
                match decode(raw):
                    case Data(_, payload) if payload.startswith(b'{"status"'):
                        pass
                    case Data(_, payload):
                        self.arrived(port, json.loads(payload))
                    case Eof():
                        self._arrived[port][0].close()
                        return


async def lines_of(stream: Any) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in stream:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line
    assert not rest


@asynccontextmanager
async def by_hand(mode: str, program: Path, **environment: str) -> AsyncIterator[Hand]:
    """Run the one agent of a program. At the end its streams are read to their end."""
    environment = {"PATH": "/usr/bin:/bin", **environment}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    async with trio.open_nursery() as nursery:
        if mode == "lines":
            process = await trio.lowlevel.open_process([*COMMAND, str(program)], env=environment, **pipes)
            hand = Hand(process)
            nursery.start_soon(hand.read_lines)
            nursery.start_soon(hand.read_errors)
            yield hand
            return
        addresses = {port: f"ipc://{program.parent}/{port}" for port in (*PORTS_IN, *PORTS_OUT)}
        environment |= {f"PLUMB_ENDPOINT_{port.upper()}": address for port, address in addresses.items()}
        async with open_sockets() as transport:
            senders = {port: transport.sender(addresses[port], bind=True) for port in PORTS_IN}
            receivers = {port: transport.receiver(addresses[port], bind=False) for port in PORTS_OUT}
            process = await trio.lowlevel.open_process([*COMMAND, str(program)], env=environment, **pipes)
            hand = Hand(process, senders)
            nursery.start_soon(hand.read_errors)
            async with trio.open_nursery() as readers:
                for port, receiver in receivers.items():
                    readers.start_soon(hand.read_port, port, receiver)
                yield hand
                if process.returncode != 0:
                    readers.cancel_scope.cancel()
