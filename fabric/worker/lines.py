"""The worker on stdin and stdout: ``transport: "stdio"``, or by hand at a terminal. A JSON value is a line.

Lines are frames in other words (``PROTOCOL.md`` §8), so both sides of a worker are those of :mod:`fabric.worker.data`
and :mod:`fabric.worker.control`, on ports that read and write lines. A program that is sent no markers answers each
line with one. Then, and by hand, a marker is made here for each line, to tell when it is done, and goes no further.
"""

from __future__ import annotations

__all__ = ["serve_lines"]

import os
import select
import sys

import trio

from fabric.errors import FabricError, OutputClosed, ValueRejected
from fabric.wire.codec import decode, encode, split
from fabric.wire.frame import Data, Decline, Eof, Marker
from fabric.wire.lines import DATA, DECLINE, MARKER, LineSplitter, read_line, write_line
from fabric.wire.payload import STRING, encode_json, validator
from fabric.wire.spec import WorkerSpec
from fabric.worker.control import Control, obey_control
from fabric.worker.data import run_data
from fabric.worker.failure import FunctionFailed
from fabric.worker.function import Function

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_CHUNK_BYTES = 64 * 1024

CHUNKS_MAX = 256
"""Chunks of lines that are read ahead. A pause lets some pile up: 64 lines of a fabric, and by hand nobody pauses."""

_LINE_DONE = "line"
"""The marker that is made here."""


class InputClosed(FabricError):
    """Our stdin cannot be read."""

    code = "input_closed"


async def serve_lines(spec: WorkerSpec, function: Function, asked_by_fabric: bool) -> None:
    """Answer the lines of stdin on stdout until they end. What else is printed there goes to stderr.

    Args:
        spec: of the worker.
        function: what answers.
        asked_by_fabric: whether the other side counts answers; by hand there may be any number.

    Raises:
        FunctionFailed: as :func:`fabric.worker.data.run_data` does; or a line had no answer or several, where that
            would put all others out.
        OutputClosed: nobody reads.
    """
    stdout = os.dup(_STDOUT)
    sys.stdout.flush()
    os.dup2(_STDERR, _STDOUT)  # a print() of the function's would be taken for an answer
    try:
        writer = _Writer(stdout, spec.name)
        data_in, ctrl_in = _Reader(), _Reader()
        control = Control()
        outputs = _Outputs(writer, strict=asked_by_fabric)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read, data_in, ctrl_in, outputs)
            nursery.start_soon(obey_control, ctrl_in, _Port(writer, "ctrl_out"), spec.name, control)
            await run_data(spec, function, data_in, outputs, control, telemetry=_Port(writer, "telemetry"))
            nursery.cancel_scope.cancel()
    finally:
        sys.stdout.flush()
        os.dup2(stdout, _STDOUT)  # whoever called serve() may go on
        os.close(stdout)


class _Reader:
    """A receiver of frames that were lines."""

    def __init__(self) -> None:
        self._sender, self._receiver = trio.open_memory_channel[list[bytes]](CHUNKS_MAX)

    async def give(self, frames: list[bytes]) -> None:
        if frames:
            await self._sender.send(frames)

    async def receive(self) -> list[bytes]:
        return await self._receiver.receive()

    @property
    def renewed(self) -> bool:
        return False

    async def wait_broken(self) -> None:
        await trio.sleep_forever()

    def close(self) -> None:
        self._receiver.close()


async def _read(data_in: _Reader, ctrl_in: _Reader, outputs: _Outputs) -> None:
    """Read stdin to its end."""
    lines = LineSplitter()
    chunk = b"-"
    while chunk:
        # In a thread: it may be a file, a pipe or a terminal, and must stay in blocking mode, for others share it.
        chunk = await trio.to_thread.run_sync(_read_some, abandon_on_cancel=True)
        frames: list[bytes] = []
        control: list[bytes] = []
        for line in lines.feed(chunk):
            port, payload = read_line(line)
            if port == MARKER:
                outputs.marked = True
                frames.append(encode(Marker("", validator(STRING).decode(payload))))
            elif port == "ctrl_in":
                control.append(encode(Data("", payload)))
            elif port == DATA and payload:
                frames.append(encode(Data("", payload)))
                if not outputs.marked:
                    frames.append(encode(Marker("", _LINE_DONE)))
            elif payload:
                raise ValueRejected("$", 'a line on the port "data", "ctrl_in" or "marker"', f"one on {port!r}")
        if not chunk:
            frames.append(encode(Eof("")))
            control.append(encode(Eof("")))
        await ctrl_in.give(control)
        await data_in.give(frames)


def _read_some() -> bytes:
    while True:
        try:
            return os.read(_STDIN, _CHUNK_BYTES)
        except BlockingIOError:  # as with stdout
            select.select([_STDIN], [], [])
        except OSError as error:
            raise InputClosed(f"cannot read the input: {error.strerror}") from None


class _Writer:
    """Writes lines. Waits while the reader is slow: what is not read must not pile up here."""

    def __init__(self, stdout: int, worker: str) -> None:
        self._stdout = stdout
        self.worker = worker

    def write(self, text: bytes) -> None:
        left = memoryview(text)
        while left:
            try:
                left = left[os.write(self._stdout, left) :]
            except BlockingIOError:  # somebody who shares the descriptor made it non-blocking
                select.select([], [self._stdout], [])
            except OSError as error:
                raise OutputClosed(f"cannot write the output: {error.strerror}") from None


class _Port:
    """A sender of frames as lines on a port. Its end, and markers, go without saying: stdout is one channel."""

    def __init__(self, writer: _Writer, port: str) -> None:
        self._writer = writer
        self._port = port

    def send_nowait(self, raw: bytes) -> None:
        match decode(raw):
            case Data(_, payload):
                self._writer.write(write_line(self._port, payload))

    async def wait_sent(self) -> None: ...

    async def wait_peer(self) -> None:
        await trio.sleep_forever()  # nobody waits for who reads our stdout

    async def wait_stranger(self) -> None:
        await trio.sleep_forever()

    @property
    def renewed(self) -> bool:
        return False

    async def wait_broken(self) -> None:
        await trio.sleep_forever()

    def close(self) -> None: ...


class _Outputs(_Port):
    """The sender of answers.

    Args:
        writer: of lines.
        strict: whether each line has to have one answer while there are no markers.

    Attributes:
        marked: whether the other side sends markers.
    """

    def __init__(self, writer: _Writer, *, strict: bool) -> None:
        super().__init__(writer, DATA)
        self._strict = strict
        self._answers = 0
        self.marked = False

    def send_nowait(self, raw: bytes) -> None:
        lines: list[bytes] = []
        try:
            for part in split(raw):
                self._write(part, lines)
        finally:
            self._writer.write(b"".join(lines))

    def _write(self, frame: bytes, lines: list[bytes]) -> None:
        match decode(frame):
            case Data(_, payload):
                self._answers += 1
                self._check(self._answers <= 1)
                lines.append(write_line(DATA, payload))
            case Decline(_, payload):
                self._answers += 1
                lines.append(write_line(DECLINE, payload))
            case Marker(_, marker) if marker == _LINE_DONE and not self.marked:
                self._check(self._answers == 1)
                self._answers = 0
            case Marker(_, marker):
                self._answers = 0
                lines.append(write_line(MARKER, encode_json(marker)))

    def _check(self, is_one: bool) -> None:
        if self._strict and not self.marked and not is_one:
            how_many = "several answers" if self._answers else "no answer"
            raise FunctionFailed(
                f"worker '{self._writer.worker}': a line was given {how_many}, and without markers it is one for each:"
                ' add  markers: true  to the binding, or leave out  transport: "stdio"'
            )
