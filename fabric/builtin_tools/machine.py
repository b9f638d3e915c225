"""Tools for the machine and for the person at it."""

from __future__ import annotations

__all__ = ["execute", "notify"]

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import trio

from fabric.builtin_tools.files import Root
from fabric.builtin_tools.refused import Refused


async def execute(root: Root, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run a program in the document root, without a shell.

    It gets the environment of this worker, but for what makes a worker of it: its sockets and descriptors.
    """
    command = arguments["command"]
    if not command or not command[0]:
        raise Refused("command: expected the name of a program and its arguments")
    if any("\0" in word for word in command):
        raise Refused("command: a word of it has a zero byte")
    try:
        return await _run(root, command, arguments.get("stdin", "").encode())
    except OSError as error:
        raise Refused(f"{command[0]} cannot be started: {error.strerror}") from None


async def _run(root: Root, command: list[str], stdin: bytes) -> dict[str, Any]:
    outputs = {"stdout": bytearray(), "stderr": bytearray()}
    overfull = False
    pipe = subprocess.PIPE
    process = await trio.lowlevel.open_process(
        command,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        cwd=root.path,
        env=_environment(os.environ),
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None

    async def write(stream: trio.abc.SendStream) -> None:
        try:
            async with stream:
                await stream.send_all(stdin)
        except trio.BrokenResourceError:
            return  # it does not read all of it, which is its affair

    async def read(stream: trio.abc.ReceiveStream, into: bytearray) -> None:
        nonlocal overfull
        async with stream:
            async for chunk in stream:
                into += chunk
                if len(into) > root.limits.output_bytes:
                    overfull = True
                    _kill(process)
                    return

    with trio.move_on_after(root.limits.exec_s) as waiting:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(write, process.stdin)
                nursery.start_soon(read, process.stdout, outputs["stdout"])
                nursery.start_soon(read, process.stderr, outputs["stderr"])
                await process.wait()
                _kill(process)  # what it started and left behind would hold its pipes
        finally:
            if process.returncode is None:
                _kill(process)
            with trio.CancelScope(shield=True):
                await process.wait()
    if waiting.cancelled_caught:
        raise Refused(f"{command[0]} ran for {root.limits.exec_s:g} s and was ended")
    if overfull:
        raise Refused(f"{command[0]} wrote more than {root.limits.output_bytes} bytes and was ended")
    texts = {name: bytes(output).decode(errors="replace") for name, output in outputs.items()}
    return {"status": process.returncode, **texts}


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in ours.items() if not name.startswith(("PLUMB_ENDPOINT_", "FABRIC_"))}


def _kill(process: trio.Process) -> None:
    """End a program and all that it has started and that did not leave its process group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def notify(_root: Root, arguments: dict[str, Any]) -> None:
    """Show a line to whoever runs the session: what a worker writes to stderr is shown under its name."""
    sys.stderr.write(" ".join(arguments["text"].split()) + "\n")
    sys.stderr.flush()
