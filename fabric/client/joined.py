"""A service that runs elsewhere, in the engine: messages and what comes of them go over its local socket.

It checks messages itself, and goes on when it has refused one. Whoever leaves it does not end it.
"""

from __future__ import annotations

__all__ = ["ServiceSession"]

from functools import partial

import msgspec
import trio

from fabric.client.engine import Engine
from fabric.client.exchange import Ending, Exchange
from fabric.client.preparing import as_json, choose_port, run_error
from fabric.client.running import run_to_end
from fabric.errors import FabricError, PipelineError, RunError, ValueRejected
from fabric.runtime.service_client import ANSWER_BYTES_MAX, ask
from fabric.runtime.service_protocol import Answer, Request, read_answer, write
from fabric.runtime.services import Record
from fabric.session.events import Output, Refuse
from fabric.wire.lines import LineSplitter

UNACCEPTED_MAX = 16
"""Messages that the service has not taken yet; it takes each when there is room for it."""


class ServiceSession:
    """One connection to a service.

    Args:
        record: of the service.
        exchange: where its callers are.

    Attributes:
        inputs, outputs: names of its ports, once it has said so.
        graph: nobody has told it.
    """

    def __init__(self, record: Record, exchange: Exchange) -> None:
        self.inputs: tuple[str, ...] = ()
        self.outputs: tuple[str, ...] = ()
        self.graph = None
        self._record = record
        self._exchange = exchange
        self._scope = trio.CancelScope()
        self._stirred: trio.Event
        self._engine: Engine
        self._accepted = 0
        self._sent = 0
        self._open: set[int] = set()

    # --- see fabric.client.pipeline.Link ---

    @property
    def name(self) -> str:
        """Of the service."""
        return f"service '{self._record.project}'"

    def read(self, message: object, port: str | None) -> tuple[str, bytes]:
        """Return the input that a message is for, and its JSON text. The type is the service's matter."""
        port, value = choose_port(self.inputs, message, port)
        return port, as_json(port, value)

    def force(self) -> None:
        """Leave."""
        self.stop()

    def stop(self) -> None:
        """Leave."""
        self._engine.stop(self)

    # --- see fabric.client.engine.Session ---

    def start(self, engine: Engine) -> None:
        """Connect, in that engine."""
        self._engine = engine
        engine.start(self)

    def cancel(self) -> None:
        """Leave."""
        self._scope.cancel()

    def refuse(self, error: Exception) -> None:
        """There is no connection, and will be none."""
        self._exchange.end(Ending(2, None, "", error))

    async def run(self, engine: Engine) -> None:
        """Talk until the service hangs up, or nobody wants to any more."""
        await run_to_end(self._exchange, partial(self._work, engine), _ending_of, Ending(1, (ENDED, "stopped")))

    async def _work(self, engine: Engine) -> Ending:
        with self._scope:
            await self._run(engine)
        return self._ending(left=self._scope.cancelled_caught)

    async def _run(self, engine: Engine) -> None:
        self._stirred = trio.Event()
        self._exchange.stir = lambda: engine.soon(self._stir)
        status = (await ask(self._record, Request(1, do="status"))).status
        assert status is not msgspec.UNSET
        self.inputs, self.outputs = tuple(status.inputs), tuple(status.outputs)
        try:
            stream = await trio.open_unix_socket(self._record.socket)
        except OSError as error:
            raise RunError(f"cannot reach '{self._record.project}': {error.strerror}", 7) from None
        async with stream, trio.open_nursery() as nursery:
            self._exchange.open()
            nursery.start_soon(self._write, stream)
            await self._read(stream)
            nursery.cancel_scope.cancel()

    def _ending(self, *, left: bool) -> Ending:
        missing = len(self._open)
        if not missing:
            return Ending(0)
        count = f"{missing} message{'s' * (missing != 1)}"
        if left:
            return Ending(1, (f"{count} had not been answered when the service was left", "left"))
        return Ending(1, (f"the service ended before it had answered {count}", "service_ended"))

    # --- the socket ---

    def _stir(self) -> None:
        self._stirred.set()

    async def _write(self, stream: trio.SocketStream) -> None:
        try:
            while True:
                while self._sent - self._accepted >= UNACCEPTED_MAX or not self._exchange.has_sent():
                    await self._stirred.wait()
                    self._stirred = trio.Event()
                messages = self._exchange.take_sent(1)
                if messages is None:
                    break
                for message in messages:
                    self._sent += 1
                    self._open.add(message.ticket)
                    request = Request(message.ticket, msgspec.Raw(message.payload), message.port)
                    await stream.send_all(write(request))
            await stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # the reader sees why

    async def _read(self, stream: trio.SocketStream) -> None:
        splitter = LineSplitter(ANSWER_BYTES_MAX)
        while True:
            try:
                chunk = await stream.receive_some()
            except trio.BrokenResourceError:
                return
            if not chunk:
                return  # a line that was cut is no answer
            for line in splitter.feed(bytes(chunk)):
                self._hear(read_answer(line))

    def _hear(self, answer: Answer) -> None:
        if answer.error:
            where = f" (at {answer.node})" if answer.node else ""
            detail = answer.error + where
            refusal = Refuse(answer.code, detail, answer.node, (answer.id,))
            self._exchange.refuse(refusal, PipelineError(detail, 0, code=answer.code), tell=True)
        elif answer.output is not msgspec.UNSET:
            self._exchange.deliver([Output(answer.port, bytes(answer.output), (answer.id,))])
        elif answer.settled:
            self._open.discard(answer.id)
            self._exchange.settle([answer.id])
        elif answer.accepted:
            self._accepted += 1
            self._stir()


ENDED = "the connection to the service was given up"


def _ending_of(error: BaseException) -> Ending:
    match error:
        case RunError():
            return Ending(error.exit_code, None, "", error)
        case ValueRejected():
            return Ending(1, (f"cannot read the answer of the service: {error}", "bad_answer"))
        case FabricError():
            return Ending(error.exit_code, None, "", run_error(error))
    return Ending(70, None, "", error)
